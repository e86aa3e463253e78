"""The user's terminal in raw mode, and back in the mode it was in whatever happens."""

from __future__ import annotations

import os
import signal
import termios
import tty
from contextlib import suppress
from types import FrameType
from typing import Any, Self

#: What a guest that ended in mid-screen leaves behind, undone: attributes, a hidden cursor,
#: bracketed paste (xterm control sequences, DECSET 25 and 2004).
_UNDO = b"\x1b[0m\x1b[?25h\x1b[?2004l"


def is_foreground_terminal(descriptor: int) -> bool:
    """Whether `descriptor` is a terminal whose keyboard is this process's to read now.

    A background job has a terminal too, but would be stopped for touching it (POSIX.1-2017
    section 11.1.4).
    """
    try:
        return os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp()
    except OSError:
        return False


class RawTerminal:
    """A context in which every key reaches the program, Ctrl-C included.

    `keyboard` and `screen` are descriptors; a screen that is no terminal is left alone. Leaving
    the context, by an exception or not, restores the mode that was found on entry. After a stop
    and SIGCONT the raw mode is set again, since the shell has put its own in between.
    """

    def __init__(self, keyboard: int = 0, screen: int = 1) -> None:
        self._keyboard = keyboard
        self._screen = screen
        self._found: list[Any] = []
        self._on_continue: Any = None

    def __enter__(self) -> Self:
        self._found = termios.tcgetattr(self._keyboard)
        self._on_continue = signal.signal(signal.SIGCONT, self._continue)
        self._set_raw()
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGCONT, self._on_continue or signal.SIG_DFL)
        # An error means that the terminal is gone, and with it the mode.
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._found)
        with suppress(OSError):
            if os.isatty(self._screen):
                os.write(self._screen, _UNDO)

    @property
    def screen(self) -> int | None:
        """A descriptor of the terminal to draw on: the output, or else the errors; or none."""
        return next((fd for fd in (self._screen, 2) if _is_terminal(fd)), None)

    def size(self) -> tuple[int, int]:
        """Rows and columns of the window now."""
        columns, rows = os.get_terminal_size(self._keyboard)
        return rows, columns

    def _set_raw(self) -> None:
        tty.setraw(self._keyboard, termios.TCSANOW)

    def _continue(self, number: int, frame: FrameType | None) -> None:
        self._set_raw()


def _is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False
