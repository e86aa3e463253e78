"""Clocks: the host's and the one that tests move."""

from __future__ import annotations

import time

from wardian.base.clock import Clock, ManualClock, SystemClock


def test_the_manual_clock_moves_only_when_told() -> None:
    clock: Clock = (manual := ManualClock(monotonic_ns=5, wall_s=100.0))
    assert (clock.monotonic_ns(), clock.wall_s()) == (5, 100.0)
    manual.advance(1.5)
    assert (clock.monotonic_ns(), clock.wall_s()) == (1_500_000_005, 101.5)


def test_the_system_clock_is_the_hosts() -> None:
    clock: Clock = SystemClock()
    before = time.monotonic_ns()
    assert before <= clock.monotonic_ns() <= time.monotonic_ns()
    assert abs(clock.wall_s() - time.time()) < 60
