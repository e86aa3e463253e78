"""benches/cpu_time.py: CPU seconds between rows, compared."""

from __future__ import annotations

from benches.cpu_time import cpu_times, render_cpu_times
from benches.measure import Run


def a_run(**cpu_s: float) -> Run:
    return Run(cpu_s=cpu_s)


def test_a_row_took_what_was_used_since_the_row_before() -> None:
    run = a_run(start=2.0, crc32=5.0, fork=5.5)
    assert cpu_times(run) == {"boot": 2.0, "crc32": 3.0, "fork": 0.5}


def test_ours_are_compared_with_the_best_peer() -> None:
    turns = {
        "native": [{"rows": a_run(start=0.1)}],
        "A": [{"rows": a_run(start=2.0, crc32=4.0)}, {}],
        "P": [{"rows": a_run(start=1.0, crc32=9.0)}],
        "Q": [{"rows": a_run(start=3.0, crc32=9.0)}],
    }
    head, crc32, boot = render_cpu_times(turns, ["A"], ["P", "Q"]).splitlines()
    assert head.split() == ["CPU", "seconds", "A", "P", "Q", "A", ":", "TCG"]
    assert crc32.split() == ["crc32", "2", "8", "6", "3.00x"]
    assert boot.split() == ["boot", "2", "1", "3", "0.50x"]
