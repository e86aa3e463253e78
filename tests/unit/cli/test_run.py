"""`wardian run` between pipes and in a terminal, with guests that are scripts."""

from __future__ import annotations

import os
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from tests.unit.cli.terminal import LIMIT_S, Terminal, open_terminal


@pytest.fixture(autouse=True)
def _interrupts_arrive() -> Iterator[None]:
    """Shells start background jobs with SIGINT ignored, and their children inherit it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


ESC = b"\x1d"


# ---- between pipes


def piped(command: list[str], guest: str, typed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*command, guest], input=typed, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert b"left:" not in done.stderr
    assert b"Traceback" not in done.stderr
    return done


def test_pipes_carry_bytes_unchanged(command: list[str]) -> None:
    typed = bytes(range(256)).replace(b".", b"") * 40 + b"."
    done = piped(command, "talk", typed)
    assert done.returncode == 0
    assert done.stdout == b"ready\r\n" + typed
    assert done.stderr == b""


def test_the_end_of_the_input_is_not_the_end_of_the_machine(command: list[str]) -> None:
    process = subprocess.Popen([*command, "hang"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"ready\r\n"
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(LIMIT_S) == 130
    process.stdout.close()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_the_machine(command: list[str], number: int, status: int) -> None:
    process = subprocess.Popen(
        [*command, "flood"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline()
    # Nobody reads the output any more: the pipe fills up, and the guest waits.
    process.send_signal(number)
    assert process.wait(LIMIT_S) == status
    process.stdout.close()


def test_output_that_nobody_reads_ends_the_machine(command: list[str]) -> None:
    process = subprocess.Popen(
        [*command, "flood"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(LIMIT_S) == 141


def test_the_guests_own_status(command: list[str]) -> None:
    assert piped(command, "debug").returncode == 33


def test_a_triple_fault_is_one_line_and_status_1(command: list[str]) -> None:
    done = piped(command, "crash")
    assert done.returncode == 1
    assert done.stdout == b"going down\r\n"
    assert done.stderr.startswith(b"wardian: error[GUEST_TRIPLE_FAULT]: vCPU 0 triple-faulted")
    assert b"rip=0x" in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_reset_that_ends_the_machine_is_no_error(command: list[str]) -> None:
    assert piped(command, "reset").returncode == 0


def test_statistics_at_the_end(command: list[str]) -> None:
    done = piped(command, "power_off")
    assert done.returncode == 0
    assert b"instructions" in done.stderr
    assert b"acpi pm" in done.stderr
    assert done.stdout == b""


def test_closed_standard_input(command: list[str]) -> None:
    done = subprocess.run(
        ["bash", "-c", '"$@" <&-', "bash", *command, "reset"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


# ---- in a terminal


def test_a_terminal_is_raw_while_the_guest_runs(
    terminals: list[Terminal], command: list[str]
) -> None:
    terminal = open_terminal(terminals, command, "talk")
    terminal.expect(b"Ctrl-] q quits")
    terminal.expect(b"ready\r\n")
    terminal.type(b"a\x03\x1a\x04b")
    terminal.expect(b"a\x03\x1a\x04b")
    terminal.type(ESC + ESC)
    terminal.expect(ESC)
    terminal.type(b".")
    assert terminal.wait() == 0


def test_the_escape_menu(terminals: list[Terminal], command: list[str]) -> None:
    terminal = open_terminal(terminals, command, "talk")
    terminal.expect(b"ready\r\n")
    terminal.type(ESC + b"?")
    terminal.expect(b"press the power button")
    terminal.type(ESC + b"s")
    terminal.expect(b"instructions")
    terminal.type(ESC + b"w")
    terminal.expect(b" stty rows 33 cols 101\r")
    terminal.type(ESC + b"q")
    terminal.expect(b"switched off")
    assert terminal.wait() == 0


def test_the_power_button(terminals: list[Terminal], command: list[str]) -> None:
    terminal = open_terminal(terminals, command, "button")
    terminal.expect(b"ready\r\n")
    terminal.type(ESC + b"p")
    terminal.expect(b"pressed the power button")
    assert terminal.wait() == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_leave_the_terminal_as_it_was(
    terminals: list[Terminal], command: list[str], number: int, status: int
) -> None:
    terminal = open_terminal(terminals, command, "hang")
    terminal.expect(b"ready\r\n")
    assert termios.tcgetattr(terminal.inside) != terminal.mode
    terminal.process.send_signal(number)
    assert terminal.wait() == status


def test_a_crash_of_the_guest_leaves_the_terminal_as_it_was(
    terminals: list[Terminal], command: list[str]
) -> None:
    terminal = open_terminal(terminals, command, "crash")
    assert terminal.wait() == 1
    assert b"error[GUEST_TRIPLE_FAULT]" in terminal.screen


def test_a_new_window_size_is_no_event_for_the_machine(
    terminals: list[Terminal], command: list[str]
) -> None:
    terminal = open_terminal(terminals, command, "talk")
    terminal.expect(b"ready\r\n")
    termios.tcsetwinsize(terminal.keyboard, (50, 200))
    terminal.type(ESC + b"w")
    terminal.expect(b"rows 50 cols 200")
    terminal.type(b".")
    assert terminal.wait() == 0


def test_raw_mode_comes_back_after_a_stop(terminals: list[Terminal], command: list[str]) -> None:
    terminal = open_terminal(terminals, command, "talk")
    terminal.expect(b"ready\r\n")
    raw = termios.tcgetattr(terminal.inside)
    os.kill(terminal.process.pid, signal.SIGSTOP)
    termios.tcsetattr(terminal.inside, termios.TCSANOW, terminal.mode)
    os.kill(terminal.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + LIMIT_S
    while termios.tcgetattr(terminal.inside) != raw:
        assert time.monotonic() < deadline
    terminal.type(b".")
    assert terminal.wait() == 0
