"""Signals that end the program, handed on instead of raised.

An exception out of a signal handler can strike inside any clean-up. Here a handler only reports,
and whoever waits for it goes on to an orderly end.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndingSignals:
    """A context in which SIGINT, SIGTERM and SIGHUP call `report` with their number.

    One that was ignored on entry (nohup, a background job) stays ignored. The handlers that were
    found come back on exit.
    """

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report
        self._found: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDING:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._found[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._found.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._report(number)
