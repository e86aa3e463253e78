"""Statistics as text."""

from __future__ import annotations

from dataclasses import replace

from wardian.cli.numbers import describe_stats
from wardian.machine.stats import MachineStats

STATS = MachineStats(
    uptime_s=2.0,
    resets=0,
    console_discarded=0,
    vcpus=({"instructions": 3_000_000, "halts": 0}, {"instructions": 1_000_000, "halts": 7}),
    vm={"ram_bytes": 4096, "instructions": 4_000_000},
    ranges=(),
)


def test_counts_of_all_vcpus_are_added_up_and_zeros_left_out() -> None:
    lines = describe_stats(STATS).splitlines()
    assert lines[1].split() == ["instructions", "4,000,000", "(2.0", "million", "a", "second)"]
    assert lines[2].split() == ["per", "vCPU", "3,000,000,", "1,000,000"]
    assert [line.split() for line in lines[3:]] == [["halts", "7"], ["ram_bytes", "4,096"]]


def test_after_a_reset_there_is_no_rate() -> None:
    text = describe_stats(replace(STATS, resets=1))
    assert "million" not in text
    assert "resets: 1 (the counts are since the last)" in text
