"""What the counters of the engines mean, for people: their groups, order and units.

A counter that an engine has and this table has not is shown all the same, by its own name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from wardian.base.units import format_bytes, format_count


@dataclass(frozen=True, slots=True)
class Counter:
    """How one counter is shown."""

    name: str
    text: str
    #: Whether it grows with time, so that its rate says something.
    has_rate: bool = True
    show: Callable[[int], str] = format_count


def _bytes(name: str, text: str) -> Counter:
    return Counter(name, text, has_rate=False, show=format_bytes)


#: Groups and counters in the order in which they are shown.
GROUPS: Final[Mapping[str, tuple[Counter, ...]]] = {
    "vCPUs": (
        Counter("instructions", "instructions"),
        Counter("interrupts", "interrupts taken"),
        Counter("exceptions", "exceptions taken"),
        Counter("halts", "sleeps in HLT"),
    ),
    "accesses outside RAM": (
        Counter("pio_native", "ports, in the engine"),
        Counter("pio_python", "ports, in Python"),
        Counter("pio_unclaimed", "ports of nobody"),
        Counter("mmio_native", "memory, in the engine"),
        Counter("mmio_python", "memory, in Python"),
        Counter("mmio_unclaimed", "memory of nobody"),
    ),
    "TLB": (
        Counter("tlb_fills", "entries filled"),
        Counter("tlb_flushes", "flushes"),
        Counter("tlb_slow", "accesses by the slow path"),
        Counter("tlb_code_stores", "stores to watched code"),
    ),
    "interpreter": (
        Counter("blocks_decoded", "blocks decoded"),
        Counter("instructions_interpreted", "instructions"),
    ),
    "translator": (
        Counter("instructions_translated", "instructions run"),
        Counter("blocks_translated", "blocks translated"),
        Counter("guest_code_bytes", "guest code translated", has_rate=False, show=format_bytes),
        Counter("blocks_linked", "jumps chained"),
        Counter("blocks_unlinked", "chains cut"),
        Counter("blocks_dropped", "blocks dropped"),
        Counter("indirect_misses", "indirect jumps looked up"),
        Counter("returns_mispredicted", "returns not predicted"),
    ),
    "code cache": (
        _bytes("code_cache_bytes", "size"),
        _bytes("code_cache_used", "used"),
        Counter("code_cache_evictions", "evictions"),
    ),
    "exits of translated code": (
        Counter("exits_signal", "for a signal or timer"),
        Counter("exits_cold", "to code not translated"),
        Counter("exits_interpret", "to one instruction's interpreter"),
        Counter("exits_fault", "for a fault"),
        Counter("exits_device", "for a device"),
    ),
    "machine": (
        _bytes("ram_bytes", "RAM"),
        Counter("samples_lost", "samples of too many places", has_rate=False),
    ),
}


def describe_counters(
    counters: Mapping[str, int], seconds: float | None, after: Mapping[str, str] | None = None
) -> list[str]:
    """Counters that are not zero as lines, group by group; unknown ones by name at the end.

    `seconds` is the time in which they grew; None shows no rates. `after` holds a line to be put
    behind a counter, by name.
    """
    known = {counter.name for group in GROUPS.values() for counter in group}
    unknown = sorted(name for name in counters if name not in known)
    groups = {**GROUPS, "other": tuple(Counter(name, name) for name in unknown)}
    lines = []
    for title, group in groups.items():
        rows = []
        for counter in group:
            count = counters.get(counter.name, 0)
            if not count:
                continue
            rows.append(_row(counter, count, seconds))
            if after and counter.name in after:
                rows.append(after[counter.name])
        lines += [title, *rows] if rows else []
    return lines


def _row(counter: Counter, count: int, seconds: float | None) -> str:
    row = f"  {counter.text:<32}{counter.show(count):>12}"
    if counter.has_rate and seconds:
        return f"{row}{format_count(count / seconds) + '/s':>14}"
    return row
