"""What a machine has done so far, as numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from wardian.machine.bus import RangeCounts


@dataclass(frozen=True, slots=True)
class LifeStats:
    """Counters since the machine was last powered on or reset."""

    #: One mapping per vCPU: instructions, exits by route, interrupts, exceptions, halts, ...
    vcpus: tuple[dict[str, int], ...] = ()
    #: Counters of the whole virtual machine.
    vm: dict[str, int] = field(default_factory=dict)
    #: Accesses to devices in Python, one row per range.
    ranges: tuple[RangeCounts, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineStats:
    """Counters of a machine; everything but the first three is since the last reset."""

    #: Seconds since the start; stands still when the machine has ended.
    uptime_s: float
    #: How often the guest reset the machine and it booted again.
    resets: int
    #: Console output lost because nobody read it, in bytes.
    console_discarded: int
    vcpus: tuple[dict[str, int], ...]
    vm: dict[str, int]
    ranges: tuple[RangeCounts, ...]

    @property
    def totals(self) -> dict[str, int]:
        """The counters of all vCPUs added up, by name."""
        totals: Counter[str] = Counter()
        for counters in self.vcpus:
            totals.update(counters)
        return dict(totals)
