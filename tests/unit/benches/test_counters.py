"""benches/counters.py: what engines counted, in whole runs and in each row."""

from __future__ import annotations

from benches.counters import render_by_row, render_totals
from benches.measure import Run
from benches.session import Results, Turn


def a_turn(exits: float) -> Turn:
    intervals = {
        "start": {"seconds": 2.0, "exits": exits, "fills": 1},
        "crc32": {"seconds": 1.0, "fills": 2},
        "elapsed": {"seconds": 0.1, "fills": 4},
    }
    return {"rows": Run(intervals=intervals)}


RESULTS = Results({"native": [{"rows": Run()}], "A": [a_turn(10), a_turn(30), a_turn(20), {}]})


def test_totals_are_medians_of_whole_runs() -> None:
    assert render_totals(RESULTS) == "A: exits 20, fills 7"


def test_each_row_has_a_column_and_each_counter_a_line() -> None:
    lines = [line.split() for line in render_by_row(RESULTS).splitlines()]
    assert lines == [
        ["A", "boot", "crc32"],
        ["seconds", "2", "1"],
        ["exits", "20", "-"],
        ["fills", "1", "2"],
    ]


def test_where_nobody_counted_there_is_nothing() -> None:
    assert render_by_row(Results({"native": [{"rows": Run()}]})) == ""
    assert render_totals(Results({"native": [{}]})) == ""
