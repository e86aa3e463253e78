"""benches/wardian_guest.py: what an engine counted between two rows."""

from __future__ import annotations

import pytest

from benches.wardian_guest import Intervals


def test_an_interval_holds_the_growth_of_each_counter() -> None:
    intervals = Intervals()
    intervals.end("start", 10.0, {"instructions": 100, "halts": 2, "exits": 0})
    intervals.end("crc32", 12.5, {"instructions": 160, "halts": 2, "exits": 1})
    assert list(intervals.by_row) == ["start", "crc32"]
    assert intervals.by_row["crc32"] == pytest.approx(
        {"seconds": 2.5, "instructions": 60, "exits": 1}
    )
    assert "exits" not in intervals.by_row["start"]
