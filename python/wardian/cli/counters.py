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


def _state(name: str, text: str, show: Callable[[int], str] = format_count) -> Counter:
    """A counter whose rate says nothing."""
    return Counter(name, text, has_rate=False, show=show)


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e9:.3f} s"


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
    ),
    "interpreter": (Counter("blocks_decoded", "blocks decoded"),),
    "translator": (
        Counter("translated_entries", "entries from the interpreter"),
        Counter("interpreted_from_translated", "instructions interpreted inside"),
        Counter("links", "exits linked to blocks"),
        Counter("translated_blocks", "blocks translated"),
        Counter("blocks_stale", "blocks dropped, stored to"),
        Counter("blocks_evicted", "blocks dropped for room"),
        _state("blocks_held", "blocks held"),
        _state("translated_bytes", "guest code translated", format_bytes),
        _state("code_bytes", "host code it became", format_bytes),
        _state("translation_ns", "time for that", _seconds),
    ),
    "check": (
        Counter("check_stretches", "stretches compared"),
        Counter("check_instructions", "instructions in them"),
        Counter("check_repeats", "compared again"),
        Counter("check_excused", "left to the processor"),
        Counter("check_flags_let_go", "ends with unneeded flags"),
    ),
    "machine": (
        _state("ram_bytes", "RAM", format_bytes),
        _state("samples_lost", "samples without room"),
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
