"""benches/processes.py: what the host's kernel tells about a process."""

from __future__ import annotations

import os

from benches.processes import cpu_seconds, resident_beyond_ram

# No process has this number: the kernel's limit is 2^22 (proc_sys_kernel(5), pid_max).
NOBODY = 1 << 22


def test_resident_memory_leaves_out_the_mapping_of_ram_size() -> None:
    resident = resident_beyond_ram(os.getpid(), 1 << 60)
    assert resident is not None and resident > 1 << 20
    assert resident_beyond_ram(NOBODY, 0) is None


def test_cpu_time_of_a_process_grows() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(200_000))
    assert before <= cpu_seconds(os.getpid())
    assert cpu_seconds(NOBODY) == 0
