"""The console's reader side and writer side, without a machine."""

from __future__ import annotations

import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.machine.console import Console, ConsoleClosed, ConsoleTimeout, WhenFull


def test_output_is_read_once() -> None:
    console = Console()
    console.put(b"one ")
    console.put(b"two")
    assert console.read_bytes() == b"one two"
    assert console.read_bytes(timeout=0) == b""


def test_a_reader_waits_for_output() -> None:
    console = Console()
    writer = threading.Timer(0.01, console.put, [b"late"])
    writer.start()
    assert console.read(timeout=10) == "late"
    writer.join()


def test_reads_end_with_the_machine() -> None:
    console = Console()
    console.put(b"last words")
    console.close()
    assert console.read() == "last words"
    assert console.read() == ""
    assert list(console) == []


def test_a_character_is_never_cut() -> None:
    console = Console()
    letter = "€".encode()
    console.put(b"a" + letter[:2])
    assert console.read(timeout=0) == "a"
    console.put(letter[2:])
    assert console.read(timeout=0) == "€"


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    console = Console()
    console.put(b"\xff\x80ok\xe2\x82")
    console.close()
    assert console.read() == "\ufffd\ufffdok\ufffd\ufffd"


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=4))
def test_text_does_not_depend_on_how_bytes_arrive(data: bytes, cuts: list[int]) -> None:
    console = Console()
    text, start = "", 0
    for end in [*sorted(cuts), len(data)]:
        console.put(data[start:end])
        text += console.read(timeout=0)
        start = max(start, end)
    console.close()
    text += console.read(timeout=0)
    expected = data.decode(errors="surrogateescape")
    assert len(text) == len(expected)
    assert all(a == b or a == "\ufffd" for a, b in zip(text, expected, strict=True))


def test_expect_takes_what_it_matched_and_leaves_the_rest() -> None:
    console = Console()
    console.put("boot… \xff login: root".encode("latin-1", "replace"))
    found = console.expect(r"(log)in: ")
    assert found[1] == "log"
    assert console.read_bytes() == b"root"


def test_expect_counts_bytes_and_not_characters() -> None:
    console = Console()
    console.put("ä€😀 \udcff>rest".encode(errors="surrogateescape"))
    assert console.expect(">").start() == 5
    assert console.read_bytes() == b"rest"


def test_expect_waits_for_a_match_that_comes_in_pieces() -> None:
    console = Console()
    console.put(b"log")
    writer = threading.Timer(0.02, console.put, [b"in: "])
    writer.start()
    assert console.expect(re.compile("login: "), timeout=10)
    writer.join()


def test_expect_gives_up_and_takes_nothing() -> None:
    console = Console()
    console.put(b"no such thing")
    with pytest.raises(ConsoleTimeout, match="no such thing") as caught:
        console.expect("login", timeout=0.01)
    assert caught.value.code == "CONSOLE_TIMEOUT"
    assert console.read() == "no such thing"


def test_expect_says_that_the_machine_ended() -> None:
    console = Console()
    console.put(b"halted")
    console.close()
    with pytest.raises(ConsoleClosed, match="halted"):
        console.expect("login", timeout=60)
    assert console.expect("halt", timeout=0), "what was printed can still be matched"


def test_lines() -> None:
    console = Console()
    console.put(b"one\r\ntwo\n\nrest")
    console.close()
    assert list(console.lines()) == ["one", "two", "", "rest"]


def test_output_nobody_reads_is_bounded_and_its_loss_counted() -> None:
    console = Console(capacity=8)
    for _ in range(10):
        console.put(b"0123")
    assert console.read_bytes() == b"01230123"
    assert console.discarded == 32


def test_a_console_that_waits_loses_nothing() -> None:
    console = Console(capacity=8, when_full=WhenFull.WAIT)
    console.connect(lambda typed: None, lambda: 0)
    console.put(b"0123456789")
    was_full = console.full
    waiter = threading.Thread(target=console.wait_for_room, args=[lambda: False])
    waiter.start()
    assert console.read_bytes() == b"0123456789"
    waiter.join(timeout=10)
    assert not waiter.is_alive()
    assert (was_full, console.full, console.discarded) == (True, False, 0)


def test_disconnecting_frees_whoever_waits_for_room() -> None:
    console = Console(capacity=1, when_full=WhenFull.WAIT)
    console.connect(lambda typed: None, lambda: 0)
    console.put(b"0123")
    waiter = threading.Thread(target=console.wait_for_room, args=[lambda: False])
    waiter.start()
    console.disconnect()
    waiter.join(timeout=10)
    assert not waiter.is_alive()


def test_typing_reaches_the_port_and_waits_while_there_is_none() -> None:
    console = Console()
    typed: list[bytes] = []
    console.write("early ")
    assert console.typed == 6
    console.connect(typed.append, lambda: 3)
    console.write(b"now")
    assert console.typed == 3
    console.disconnect()
    console.write("later")
    assert typed == [b"early ", b"now"]
    console.connect(typed.append, lambda: 0)
    assert typed[2:] == [b"later"]


def test_listeners_hear_of_the_first_byte_and_of_the_end() -> None:
    console = Console()
    calls: list[str] = []
    console.notify(lambda: calls.append("call"))
    console.put(b"a")
    console.put(b"b")
    assert len(calls) == 1
    console.read_bytes()
    console.put(b"c")
    console.close()
    assert len(calls) == 3
    console.notify(None)
    console.put(b"d")
    late: list[str] = []
    console.notify(lambda: late.append("call"))
    assert late, "output that is there already is announced at once"


def test_expect_wakes_for_output_that_replaces_the_oldest() -> None:
    console = Console(capacity=8)
    console.put(b"xxxxxxxx")
    # Longer than the test waits: a buffer that stays full has news nevertheless.
    reader = threading.Thread(target=console.expect, args=["login: ", 1e6], daemon=True)
    reader.start()
    writer = threading.Timer(0.05, console.put, [b"login: "])
    writer.start()
    reader.join(10)
    assert not reader.is_alive()
    writer.join()


def test_a_vcpu_that_waits_for_room_can_be_called_away() -> None:
    console = Console(capacity=1, when_full=WhenFull.WAIT)
    console.connect(lambda data: None, lambda: 0)
    console.put(b"ab")
    wanted = threading.Event()
    waiter = threading.Thread(target=console.wait_for_room, args=[wanted.is_set])
    waiter.start()
    wanted.set()
    console.look_again()
    waiter.join(10)
    assert not waiter.is_alive()
    assert console.full


def test_a_line_that_never_ends_is_cut() -> None:
    console = Console()
    console.put(b"x" * 140_000)
    console.close()
    assert [len(line) for line in console.lines()] == [65_536, 65_536, 140_000 - 2 * 65_536]
