"""benches/measure.py: rows, reports and failures of one run, with a script for a guest."""

from __future__ import annotations

import sys

import pytest

from benches.measure import Run, measure
from benches.rows import Row
from tools.errors import ToolError


def run(script: str, *, limit_s: float = 60) -> tuple[Run, list[Row]]:
    seen: list[Row] = []
    command = [sys.executable, "-uc", script]
    measured = measure(command, "abc", ram_bytes=1 << 60, limit_s=limit_s, on_row=seen.append)
    return measured, seen


def test_rows_and_reports_are_collected() -> None:
    measured, seen = run(
        "print('@wardian ready abc'); print('start 0 s'); print('crc32 100 MiB/s', end='');"
        "print('\\r'); print('elapsed 2.5 s'); print('@wardian exit abc 0')"
    )
    assert measured.rows == {"start": 0, "crc32": 100, "elapsed": 2.5}
    assert [row.name for row in seen] == ["start", "crc32", "elapsed"]
    assert measured.printed_s["start"] <= measured.printed_s["crc32"]
    assert measured.boot_s is not None
    assert measured.resident_bytes is not None


def test_a_guest_that_dies_shows_its_last_lines() -> None:
    with pytest.raises(ToolError, match=r"(?s)did not finish.*Kernel panic.*no such device"):
        run("import sys; print('Kernel panic'); sys.exit('no such device')")


def test_a_guest_that_hangs_is_ended() -> None:
    with pytest.raises(ToolError, match="did not finish"):
        run("import time; print('start 0 s'); time.sleep(1000)", limit_s=0.5)
