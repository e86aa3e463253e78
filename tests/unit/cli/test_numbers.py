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
    vm={"ram_bytes": 4096},
    ranges=(),
)


def test_counts_of_all_vcpus_are_added_up_and_zeros_left_out() -> None:
    assert [line.split() for line in describe_stats(STATS).splitlines()] == [
        ["time", "2.00", "s"],
        ["vCPUs"],
        ["instructions", "4.00", "M", "2.00", "M/s"],
        ["of", "each:", "3.00", "M,", "1.00", "M"],
        ["sleeps", "in", "HLT", "7", "4/s"],
        ["machine"],
        ["RAM", "4.00", "KiB"],
    ]


def test_after_a_reset_there_is_no_rate() -> None:
    text = describe_stats(replace(STATS, resets=1))
    assert "/s" not in text
    assert "resets: 1 (the counts are since the last)" in text


def test_output_that_was_lost_is_told() -> None:
    assert "console: 9 bytes lost unread" in describe_stats(replace(STATS, console_discarded=9))
