"""Counters in groups, with units."""

from __future__ import annotations

from wardian.cli.counters import GROUPS, describe_counters


def test_groups_are_in_order_and_zeros_left_out() -> None:
    counters = {"ram_bytes": 3 << 19, "tlb_fills": 7, "halts": 0, "instructions": 12_345_678}
    assert [line.split() for line in describe_counters(counters, 2.0)] == [
        ["vCPUs"],
        ["instructions", "12.3", "M", "6.17", "M/s"],
        ["TLB"],
        ["entries", "filled", "7", "4/s"],
        ["machine"],
        ["RAM", "1.50", "MiB"],
    ]


def test_without_a_time_there_are_no_rates() -> None:
    assert "/s" not in "".join(describe_counters({"instructions": 5}, None))
    assert "/s" not in "".join(describe_counters({"instructions": 5}, 0.0))


def test_a_counter_nobody_knows_is_shown_by_its_name() -> None:
    lines = describe_counters({"zebra_stripes": 3, "apples": 2}, None)
    assert [line.split() for line in lines] == [["other"], ["apples", "2"], ["zebra_stripes", "3"]]


def test_every_counter_has_one_place() -> None:
    names = [counter.name for group in GROUPS.values() for counter in group]
    assert len(names) == len(set(names))
