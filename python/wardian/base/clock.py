"""Time as an argument, so that tests decide what time it is."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What Wardian asks of a clock. Both readings may be taken from any thread."""

    def monotonic_ns(self) -> int:
        """Return nanoseconds since an arbitrary start; never goes back."""
        ...

    def wall_s(self) -> float:
        """Return seconds since 1970-01-01 00:00:00 UTC; may be set back by an administrator."""
        ...


class SystemClock:
    """The host's clocks."""

    def monotonic_ns(self) -> int:
        """Return the host's CLOCK_MONOTONIC in nanoseconds."""
        return time.monotonic_ns()

    def wall_s(self) -> float:
        """Return the host's CLOCK_REALTIME in seconds."""
        return time.time()


class ManualClock:
    """A clock that moves only when told to, for deterministic tests."""

    def __init__(self, monotonic_ns: int = 0, wall_s: float = 0.0) -> None:
        self._monotonic_ns = monotonic_ns
        self._wall_s = wall_s

    def monotonic_ns(self) -> int:
        """Return the nanoseconds the clock started at plus all advances."""
        return self._monotonic_ns

    def wall_s(self) -> float:
        """Return the seconds the clock started at plus all advances."""
        return self._wall_s

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`, which is not negative."""
        self._monotonic_ns += round(seconds * 1_000_000_000)
        self._wall_s += seconds
