"""What the host's kernel tells about a running monitor."""

from __future__ import annotations

import re
from pathlib import Path

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)")


def resident_beyond_ram(process_id: int, ram_bytes: int) -> int | None:
    """Return the resident bytes of a process outside its guest's RAM; None if it is gone.

    The guest's RAM is recognised by its size, which no other mapping happens to have. Source:
    proc_pid_smaps(5).
    """
    try:
        lines = Path(f"/proc/{process_id}/smaps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    total = 0
    is_ram = False
    for line in lines:
        if mapping := _MAPPING.fullmatch(line):
            is_ram = int(mapping[2], 16) - int(mapping[1], 16) == ram_bytes
        elif line.startswith("Rss:") and not is_ram:
            total += int(line.split()[1]) * 1024
    return total


def cpu_seconds(process_id: int) -> float:
    """Return the CPU time that the living threads of a process have used; 0 if it is gone.

    Source: Documentation/scheduler/sched-stats.rst of Linux, /proc/<pid>/schedstat.
    """
    total_ns = 0
    for task in Path(f"/proc/{process_id}/task").glob("*/schedstat"):
        try:
            total_ns += int(task.read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total_ns / 1e9
