"""The view of the hottest guest blocks that refreshes itself, as top(1) does for processes.

It knows a function that reads a profile, and no machine: a view of a machine in another process is
this one with another function.
"""

from __future__ import annotations

import os
import selectors
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from wardian.profile.profile import Profile
from wardian.profile.table import live_lines

_REFRESH_S: Final = 1.0
#: The order is by the samples of this many refreshes: by those of one it would jump about.
_WINDOW: Final = 3

#: xterm's control sequences: another screen and back (DECSET 1049), the cursor off and on, home,
#: clear to the end of the line and of the screen, bold, reverse, normal.
_ENTER: Final = "\x1b[?1049h\x1b[?25l"
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
_BOLD, _REVERSE, _NORMAL = "\x1b[1m", "\x1b[7m", "\x1b[0m"


class TopView:
    """Shows what `read` gives on the terminal `screen` until a key is pressed on `keyboard`.

    `title` is asked for the first line each time. `wake` is a descriptor that becomes readable
    when there may be another reason to leave, and `over` says whether there is one.
    """

    def __init__(
        self,
        read: Callable[[], Profile],
        title: Callable[[], str],
        keyboard: int,
        screen: int,
        wake: int,
        over: Callable[[], bool],
    ) -> None:
        self._read = read
        self._title = title
        self._keyboard = keyboard
        self._screen = screen
        self._wake = wake
        self._over = over
        self._window: deque[Profile] = deque(maxlen=_WINDOW + 1)

    def run(self) -> None:
        """Returns when a key was pressed, which is the view's alone, or when it is over.

        The screen is then what it was. Errors: `OSError` of a terminal that has gone, and those
        of `read`.
        """
        with _other_screen(self._screen), selectors.PollSelector() as selector:
            for descriptor in (self._keyboard, self._wake):
                selector.register(descriptor, selectors.EVENT_READ)
            while not self._over():
                self._draw()
                ready = {key.fd for key, _ in selector.select(_REFRESH_S)}
                if self._keyboard in ready:
                    os.read(self._keyboard, 4096)
                    return
                if self._wake in ready:
                    os.eventfd_read(self._wake)

    def _draw(self) -> None:
        whole = self._read()
        self._window.append(whole)
        oldest = self._window[0]
        recent = whole if oldest is whole else whole.since(oldest)
        columns, rows = os.get_terminal_size(self._screen)
        lines = live_lines(self._title(), recent, whole, rows, columns)
        _write(self._screen, _HOME + "\r\n".join(_dressed(lines, columns)) + _CLEAR_REST)


def _dressed(lines: list[str], columns: int) -> Iterator[str]:
    """The title in bold and the table's heading, behind the empty line, in reverse."""
    before = "-"
    for number, line in enumerate(lines):
        if number == 0:
            yield f"{_BOLD}{line}{_NORMAL}{_CLEAR_LINE}"
        elif not before:
            yield f"{_REVERSE}{line:<{columns}}{_NORMAL}"
        else:
            yield f"{line}{_CLEAR_LINE}"
        before = line


@contextmanager
def _other_screen(screen: int) -> Iterator[None]:
    _write(screen, _ENTER)
    try:
        yield
    finally:
        _write(screen, _LEAVE)


def _write(screen: int, text: str) -> None:
    data = memoryview(text.encode())
    while data:
        data = data[os.write(screen, data) :]
