"""benches/notes.py: memory, rates, doubtful clocks and who is absent, a line each."""

from __future__ import annotations

from benches.measure import Run
from benches.notes import render_notes
from benches.session import Results


def a_run(**intervals: dict[str, float]) -> Run:
    return Run(
        rows={"start": 0.0, "crc32": 1.0, "elapsed": 10.0},
        printed_s={"start": 1.0, "elapsed": 11.0},
        intervals=intervals,
    )


def test_notes_tell_rates_doubtful_clocks_and_who_is_absent() -> None:
    run = a_run(
        start={"seconds": 9.0, "instructions": 5},
        crc32={"seconds": 2.0, "instructions": 120_000_000},
    )
    run.printed_s["elapsed"] = 21.0
    run.resident_bytes = 50 << 20
    results = Results({"A": [{"rows": run}]}, {"B": "not installed"})
    assert render_notes(results).splitlines() == [
        "A: 50 MiB resident beyond guest RAM",
        "A: 60.0 M guest instructions/s in crc32",
        "A: the guest's clock is off by 50%; its rows are doubtful",
        "B: left out: not installed",
    ]


def test_a_translator_tells_its_rate_instead_of_instructions_that_it_does_not_count() -> None:
    run = a_run(
        start={"seconds": 9.0, "instructions": 5, "translated_bytes": 3e6, "translation_ns": 2e9},
        crc32={"seconds": 2.0, "instructions": 7},
    )
    notes = render_notes(Results({"A": [{"rows": run}]}))
    assert notes == "A: 1.50 MB of guest code translated a second"


def test_a_quiet_session_has_nothing_to_note() -> None:
    assert render_notes(Results({"A": [{"rows": a_run()}, {}]})) == ""
