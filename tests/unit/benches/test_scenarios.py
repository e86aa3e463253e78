"""benches/scenarios.py: which programs run, with which arguments, for the rows that are wanted."""

from __future__ import annotations

from pathlib import Path

from benches.rows import TABLE_ROWS
from benches.scenarios import scenarios


def guest_commands(*rows: str) -> list[str]:
    return [scenario.guest_command() for scenario in scenarios(rows, 0.5)]


def test_all_rows_need_no_names() -> None:
    assert guest_commands(*TABLE_ROWS) == ["guestbench 0.5 /bin/busybox", "twoloops"]
    assert [scenario.cpus for scenario in scenarios(TABLE_ROWS, 1)] == [1, 2]


def test_rows_are_named_in_the_programs_order() -> None:
    assert guest_commands("fork+exec", "crc32") == ["guestbench 0.5 /bin/busybox crc32 fork+exec"]


def test_a_boot_alone_measures_no_row() -> None:
    assert guest_commands("boot") == ["guestbench 0.5 /bin/busybox start"]


def test_two_vcpus_alone_need_no_guestbench() -> None:
    assert guest_commands("two-vcpus") == ["twoloops"]


def test_the_host_runs_the_same_with_its_own_busybox() -> None:
    (scenario,) = scenarios(["crc32"], 2)
    command = scenario.native_command(Path("/built/guestbench"), Path("/host/busybox"))
    assert command == ["/built/guestbench", "2", "/host/busybox", "crc32"]
