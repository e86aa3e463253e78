"""benches/: what guestbench prints is read back, and ratios point the right way."""

from __future__ import annotations

import os

import pytest

from benches.measure import Run
from benches.resident import resident_beyond_ram
from benches.rows import PROGRAM_ROWS, Row, parse_row, slowdown
from benches.table import medians, render, render_notes


@pytest.mark.parametrize(
    ("line", "row"),
    [
        ("crc32 128.5 MiB/s", Row("crc32", 128.5, "MiB/s")),
        ("fork+exec 2.46e+04 us\r", Row("fork+exec", 24600.0, "us")),
        ("start 0 s", Row("start", 0.0, "s")),
        ("crc32 128.5 us", None),
        ("speed 128.5 MiB/s", None),
        ("crc32 fast MiB/s", None),
        ("crc32 inf MiB/s", None),
        ("", None),
    ],
)
def test_parse_row(line: str, row: Row | None) -> None:
    assert parse_row(line) == row


def test_slower_is_above_one_for_rates_and_for_times() -> None:
    assert slowdown("MiB/s", 50, 100) == 2
    assert slowdown("us", 100, 50) == 2


def a_run(value: float, boot_s: float | None = None, **counts: tuple[float, int]) -> Run:
    rows = {**dict.fromkeys(PROGRAM_ROWS, value), "start": 0.0, "elapsed": 10.0}
    printed_s = {"start": 1.0, "elapsed": 11.0}
    return Run(rows=rows, printed_s=printed_s, boot_s=boot_s, counts=counts)


def test_medians() -> None:
    runs = [a_run(1, 5.0), a_run(100, 7.0), a_run(3, 6.0)]
    assert medians(runs)["crc32"] == 3
    assert medians(runs)["boot to /init"] == 6.0
    assert "boot to /init" not in medians([a_run(1)])


def test_the_table_has_a_line_per_row_and_a_column_per_subject_that_ran() -> None:
    table = render({"native": [a_run(8)], "A": [a_run(2, 3.0)], "B": [a_run(4, 1.0)]}, "B", "A")
    head, *lines = table.splitlines()
    assert head.split() == ["row", "unit", "native", "A", "B", "A", "/", "B"]
    assert [line.split()[0] for line in lines[:-1]] == list(PROGRAM_ROWS)
    assert lines[0].split() == ["crc32", "MiB/s", "8", "2", "(4.0x)", "4", "(2.0x)", "2.00x"]
    assert lines[-1].split() == ["boot", "to", "/init", "s", "-", "3", "1", "3.00x"]


def test_without_the_peer_there_is_no_comparison() -> None:
    head = render({"native": [a_run(8)], "A": [a_run(2, 3.0)]}, "B", "A").splitlines()[0]
    assert "/" not in head


def test_notes_tell_rates_doubtful_clocks_and_who_is_absent() -> None:
    run = a_run(1, 1.0, start=(10.0, 1_000_000), crc32=(12.0, 121_000_000))
    run.printed_s["elapsed"] = 21.0
    run.resident_bytes = 50 << 20
    notes = render_notes({"A": [run]}, {"B": "not installed"})
    assert notes.splitlines() == [
        "A: 50 MiB resident beyond guest RAM",
        "A: 60.0 M guest instructions/s in crc32",
        "A: the guest's clock is off by 50%; its rows are doubtful",
        "B: did not run: not installed",
    ]


def test_resident_memory_leaves_out_the_mapping_of_ram_size() -> None:
    resident = resident_beyond_ram(os.getpid(), 1 << 60)
    assert resident is not None and resident > 1 << 20
    # No process has this number: the kernel's limit is 2^22 (proc_sys_kernel(5), pid_max).
    assert resident_beyond_ram(1 << 22, 0) is None
