"""The escape key, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.cli.escape import ESCAPE, KEYS, MENU, Command, EscapeKeys

ESC = bytes([ESCAPE])


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (b"ls\r", [b"ls\r"]),
        (b"", []),
        (ESC + b"q", [Command.QUIT]),
        (b"a" + ESC + b"pb", [b"a", Command.POWER_BUTTON, b"b"]),
        (ESC + ESC, [ESC]),
        (b"x" + ESC + ESC + b"y", [b"x" + ESC + b"y"]),
        (ESC + b"zrest", [b"rest"]),
        (ESC + b"\x11", [Command.QUIT]),
        (ESC + b"Q", [Command.QUIT]),
        (ESC + b"1", []),
        (b"".join(ESC + bytes([digit]) for digit in b"0123456789") + b"a", [b"a"]),
        (b"\x03\x1b[A", [b"\x03\x1b[A"]),
    ],
)
def test_keys_are_sorted(typed: bytes, parts: list[bytes | Command]) -> None:
    assert EscapeKeys().feed(typed) == parts


@pytest.mark.parametrize(("key", "command"), KEYS.items())
def test_every_command_has_its_key_and_its_line_in_the_menu(key: int, command: Command) -> None:
    assert EscapeKeys().feed(ESC + bytes([key])) == [command]
    assert command.value in MENU


@given(st.lists(st.sampled_from([b"a", b"q", b"?", ESC, b"\0", b"\xff"])), st.integers(1, 5))
def test_the_pieces_keystrokes_come_in_do_not_matter(keys: list[bytes], piece: int) -> None:
    typed = b"".join(keys)
    at_once, in_pieces = EscapeKeys(), EscapeKeys()
    whole = at_once.feed(typed)
    parts: list[bytes | Command] = []
    for start in range(0, len(typed), piece):
        parts += in_pieces.feed(typed[start : start + piece])
    assert joined(parts) == joined(whole)


def joined(parts: list[bytes | Command]) -> list[bytes | Command]:
    """The same parts with neighbouring bytes as one."""
    result: list[bytes | Command] = []
    for part in parts:
        last = result[-1] if result else None
        if isinstance(part, bytes) and isinstance(last, bytes):
            result[-1] = last + part
        else:
            result.append(part)
    return result
