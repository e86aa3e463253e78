"""Whether the host was quiet: how much of its CPUs went to somebody else meanwhile."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

# More than this makes ratios doubtful: subjects are not hit alike.
_TOLERANCE = 0.05


@dataclass(slots=True, frozen=True)
class Moment:
    """CPU times until now, in seconds summed over all CPUs."""

    at_s: float
    busy_s: float
    stolen_s: float
    # Of busy_s, what this process and the children it has waited for used.
    own_s: float


def read_moment(proc_stat: Path = Path("/proc/stat")) -> Moment:
    """Return the present moment. Source: proc_stat(5)."""
    numbers = [int(word) for word in proc_stat.read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_guest = numbers
    tick = os.sysconf("SC_CLK_TCK")
    busy_s = (user + nice + system + irq + softirq) / tick
    return Moment(time.monotonic(), busy_s, steal / tick, sum(os.times()[:4]))


def disturbance(start: Moment, end: Moment, cpus: int) -> dict[str, float]:
    """Return the shares of all CPU time that other processes and other hosts' guests took."""
    all_s = (end.at_s - start.at_s) * cpus
    others_s = (end.busy_s - start.busy_s) - (end.own_s - start.own_s)
    return {
        "others": max(others_s, 0) / all_s,
        "stolen": (end.stolen_s - start.stolen_s) / all_s,
    }


def render_disturbance(shares: dict[str, float]) -> str:
    """Return a sentence on how quiet the host was."""
    others, stolen = shares["others"], shares["stolen"]
    verdict = (
        "quiet enough" if max(others, stolen) <= _TOLERANCE else "too busy: ratios are doubtful"
    )
    return f"host: others used {others:.0%} of its CPU time, {stolen:.0%} was stolen; {verdict}"
