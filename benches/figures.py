"""From what was measured to the figures of the table: one mapping of names to values a turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from benches.measure import Run
from benches.rows import BOOT, ONE_LOOP, PROGRAM_ROWS, TWO_LOOPS, TWO_VCPUS
from benches.scenarios import PAIR, ROWS

#: Values by the name of the row, and of RATE.
Figures = dict[str, float]

#: Guest code translated in a second of translation, in MB: not a row, for only one engine has it.
RATE = "translation rate"

#: The translator's counters that it comes from.
_TRANSLATED, _TRANSLATION_NS = "translated_bytes", "translation_ns"


def figures(turn: Mapping[str, Run]) -> Figures:
    """Return the figures of one turn of one subject."""
    found: Figures = {}
    if run := turn.get(ROWS):
        found |= {row: run.rows[row] for row in PROGRAM_ROWS if row in run.rows}
        if run.boot_s is not None:
            found[BOOT] = run.boot_s
        totals = counters(run)
        if totals.get(_TRANSLATION_NS):
            found[RATE] = totals.get(_TRANSLATED, 0) / totals[_TRANSLATION_NS] * 1e3
    if pair := turn.get(PAIR):
        found[TWO_VCPUS] = pair.rows[TWO_LOOPS] / pair.rows[ONE_LOOP]
    return found


def medians(some: Iterable[Figures]) -> Figures:
    """Return the median of each figure over those of `some` that have it."""
    values: dict[str, list[float]] = {}
    for one in some:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: median(listed) for name, listed in values.items()}


def medians_by_subject(turns: Mapping[str, Sequence[Mapping[str, Run]]]) -> dict[str, Figures]:
    """Return the medians of every subject that measured anything."""
    found = {name: medians(map(figures, some)) for name, some in turns.items()}
    return {name: values for name, values in found.items() if values}


def counters(run: Run) -> dict[str, float]:
    """Return the engine's counters at the last row; those that are zero are left out."""
    totals: dict[str, float] = {}
    for interval in run.intervals.values():
        for name, growth in interval.items():
            totals[name] = totals.get(name, 0) + growth
    totals.pop("seconds", None)
    return totals
