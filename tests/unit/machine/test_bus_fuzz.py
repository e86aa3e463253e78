"""A slice of the bus fuzzer: the real devices behind the real engine, accessed by a guest."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")

from fuzz.bus.accesses import draw
from fuzz.bus.run import run
from wardian.devices.device import Range, RangeKind


def test_a_bounded_slice_of_the_fuzzer() -> None:
    result = run(seed=2026, cases=30)
    assert result.cases == 30
    for route in ("pio_native", "pio_python", "mmio_native", "mmio_python", "mmio_unclaimed"):
        assert result.counts[f"route {route}"] > 100, route


def test_a_seed_brings_its_cases_back() -> None:
    ranges = [Range(RangeKind.PIO, 0x70, 2, "clock")]
    first, second = (random.Random(7) for _ in range(2))
    assert [draw(first, ranges) for _ in range(50)] == [draw(second, ranges) for _ in range(50)]
