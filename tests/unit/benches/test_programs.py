"""benches/*.c: what the programs print is what benches/rows.py reads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from benches.rows import PROGRAM_ROWS, parse_row
from tools.assets.programs import static_c_program

BENCHES = Path(__file__).parents[3] / "benches"


def rows_of(source: str, *arguments: str) -> list[str]:
    program = static_c_program(BENCHES / source)
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    rows = [parse_row(line) for line in done.stdout.splitlines()]
    assert None not in rows, done.stdout
    return [row.name for row in rows if row is not None]


def test_guestbench_prints_every_row_in_order() -> None:
    expected = ["start", *PROGRAM_ROWS, "elapsed"]
    assert rows_of("guestbench.c", "0.0001", "/bin/true") == expected


@pytest.mark.parametrize(
    ("named", "printed"),
    [
        (["fork+exec", "crc32"], ["crc32", "fork+exec"]),
        (["fork"], ["fork"]),
        (["start"], []),
    ],
)
def test_guestbench_prints_the_rows_that_were_named(named: list[str], printed: list[str]) -> None:
    rows = rows_of("guestbench.c", "0.0001", "/bin/true", *named)
    assert rows == ["start", *printed, "elapsed"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="it needs two CPUs")
def test_twoloops_prints_one_loop_and_two() -> None:
    assert rows_of("twoloops.c", "0.01") == ["start", "one-loop", "two-loops", "elapsed"]
