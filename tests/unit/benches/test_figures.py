"""benches/figures.py: one turn becomes figures, and several turns their medians."""

from __future__ import annotations

import pytest

from benches.figures import RATE, counters, figures, medians, medians_by_subject
from benches.measure import Run
from benches.rows import BOOT, TWO_VCPUS
from benches.session import Turn


def test_a_turn_gives_its_rows_the_boot_and_the_gain_of_the_second_cpu() -> None:
    rows = Run(rows={"start": 0, "crc32": 8, "fork": 2, "elapsed": 9}, boot_s=3.0)
    pair = Run(rows={"start": 0, "one-loop": 4, "two-loops": 6, "elapsed": 9}, boot_s=5.0)
    found = figures({"rows": rows, "two-vcpus": pair})
    assert found == {"crc32": 8, "fork": 2, BOOT: 3.0, TWO_VCPUS: 1.5}


def test_a_scenario_that_did_not_run_leaves_no_figures() -> None:
    assert figures({}) == {}
    assert figures({"rows": Run(rows={"crc32": 8})}) == {"crc32": 8}


def test_translation_rate_is_of_the_whole_run_in_megabytes_a_second() -> None:
    intervals = {
        "start": {"seconds": 2.0, "translated_bytes": 3_000_000, "translation_ns": 500_000_000},
        "crc32": {"seconds": 1.0, "translated_bytes": 1_000_000, "translation_ns": 500_000_000},
    }
    run = Run(rows={"crc32": 8}, intervals=intervals)
    assert figures({"rows": run})[RATE] == pytest.approx(4)
    assert counters(run) == {"translated_bytes": 4_000_000, "translation_ns": 1_000_000_000}


def test_without_translation_there_is_no_rate() -> None:
    run = Run(rows={"crc32": 8}, intervals={"start": {"seconds": 2.0, "instructions": 5}})
    assert RATE not in figures({"rows": run})


def test_medians_are_over_the_turns_that_have_the_figure() -> None:
    some = [{"crc32": 1.0, BOOT: 5.0}, {"crc32": 100.0}, {"crc32": 3.0, BOOT: 7.0}]
    assert medians(some) == {"crc32": 3.0, BOOT: 6.0}


def test_a_subject_without_a_figure_is_no_column() -> None:
    turns: dict[str, list[Turn]] = {"A": [{"rows": Run(rows={"crc32": 2})}], "B": [{}, {}]}
    assert medians_by_subject(turns) == {"A": {"crc32": 2}}
