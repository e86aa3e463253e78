"""tools/campaign/trouble.py: the kernel's complaints are told from what programs print."""

from __future__ import annotations

import pytest

from tools.campaign.trouble import any_trouble, kernel_trouble


@pytest.mark.parametrize(
    "line",
    [
        "[  133.414085] BUG: unable to handle page fault for address: 00000000ffa3934c",
        "[RUN]\t[  133.414085] Oops: 0001 [#2] PREEMPT SMP NOPTI",
        "[   60.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [cpu:123]",
        "[  479.032754] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        "[    1.000000] Kernel panic - not syncing: Attempted to kill init!",
        "[12345.678901] WARNING: CPU: 1 PID: 7 at mm/memory.c:1 f+0x1/0x2",
        "[  242.000000] INFO: task sh:1 blocked for more than 120 seconds.",
    ],
)
def test_complaints_of_the_kernel_are_found(line: str) -> None:
    assert kernel_trouble(f"before\n{line}\r\nafter\n") == [line]
    assert any_trouble(line) == [line]


def test_a_program_killed_by_a_fault_is_trouble_only_where_none_may_be() -> None:
    line = "[   33.000000] stress-ng[12]: segfault at 0 ip 0000000000401000 sp 0 error 4"
    assert not kernel_trouble(line)
    assert any_trouble(line) == [line]


@pytest.mark.parametrize(
    "line",
    [
        "stress-ng: info: BUG: Oops",
        "[    0.000000] Command line: console=ttyS0 panic=-1",
        "[    3.211899] x86/mm: Checked W+X mappings: passed, no W+X pages found.",
        "[    3.028758] Unstable clock detected, switching default tracing clock",
    ],
)
def test_ordinary_lines_are_not_trouble(line: str) -> None:
    assert not any_trouble(line)
