"""benches/table.py: a line for each row, a column for each subject that ran."""

from __future__ import annotations

from benches.figures import Figures
from benches.rows import PROGRAM_ROWS
from benches.table import render, render_targets
from benches.targets import judge


def rows(value: float, **others: float) -> Figures:
    return {**dict.fromkeys(PROGRAM_ROWS, value), **others}


def test_the_table_has_a_line_per_row_and_a_column_per_subject_that_ran() -> None:
    columns = {"native": rows(8), "A": rows(2, boot=3.0), "B": rows(4, boot=1.0)}
    head, *lines, _legend = render(columns, ["A"], ["B"]).splitlines()
    assert head.split() == ["row", "unit", "native", "A", "B", "A", ":", "TCG"]
    assert [line.split()[0] for line in lines] == [*PROGRAM_ROWS, "boot"]
    assert lines[0].split() == ["crc32", "MiB/s", "8", "2", "(4.0x)", "4", "(2.0x)", "0.50x"]
    assert lines[-1].split() == ["boot", "s", "-", "3", "1", "0.33x"]


def test_each_of_ours_is_compared_with_the_fastest_peer() -> None:
    columns = {"A": {"crc32": 6.0}, "B": {"crc32": 3.0}, "P": {"crc32": 1.0}, "Q": {"crc32": 2.0}}
    _head, line, legend = render(columns, ["A", "B"], ["P", "Q"]).splitlines()
    assert line.split() == ["crc32", "MiB/s", "6", "3", "1", "2", "3.00x", "1.50x"]
    assert "A, B : TCG" in legend


def test_without_the_peer_there_is_no_comparison() -> None:
    head, *_lines = render({"native": rows(8), "A": rows(2)}, ["A"], ["B"]).splitlines()
    assert ":" not in head


def test_rows_that_nobody_has_are_left_out() -> None:
    lines = render({"native": {"fork": 2.0}, "A": {"fork": 3.0}}, ["A"], []).splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["fork"]


def test_targets_are_one_line_each() -> None:
    ours, peer, native = rows(100, boot=1.0), rows(40, boot=1.0), rows(200)
    head, *lines = render_targets(judge([ours], [[peer]], [native])).splitlines()
    assert head.split() == ["target", "wanted", "measured", "rounds", "to", "native", "verdict"]
    qsort = next(line for line in lines if line.startswith("qsort"))
    assert " ".join(qsort.split()) == "qsort, times its speed >= 2 2.5 2.5 to 2.5 0.5 met"
    fork = next(line for line in lines if line.startswith("fork+exec"))
    assert " ".join(fork.split()) == "fork+exec, of its time <= 0.8 2.5 2.5 to 2.5 0.5 short"
    assert lines[-1].split()[-2:] == ["not", "measured"]
