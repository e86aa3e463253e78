"""benches/rows.py: what the guest programs print is read back, and ratios point the right way."""

from __future__ import annotations

import pytest

from benches.rows import Row, parse_row, slowdown, speedup


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("crc32 128.5 MiB/s", Row("crc32", 128.5, "MiB/s")),
        ("fork+exec 2.46e+04 us\r", Row("fork+exec", 24600.0, "us")),
        ("start 0 s", Row("start", 0.0, "s")),
        ("two-loops 12.5 Mstep/s", Row("two-loops", 12.5, "Mstep/s")),
        ("crc32 128.5 us", None),
        ("speed 128.5 MiB/s", None),
        ("boot 1.5 s", None),
        ("crc32 fast MiB/s", None),
        ("crc32 inf MiB/s", None),
        ("", None),
    ],
)
def test_parse_row(line: str, row: Row | None) -> None:
    assert parse_row(line) == row


def test_slower_is_above_one_for_rates_and_for_times() -> None:
    assert slowdown("crc32", 50, 100) == 2
    assert slowdown("fork", 100, 50) == 2
    assert slowdown("boot", 3, 2) == 1.5


def test_faster_is_above_one_for_rates_and_for_times() -> None:
    assert speedup("crc32", 100, 50) == 2
    assert speedup("chase", 50, 100) == 2
