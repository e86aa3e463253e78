"""What the engines counted while the rows were measured, as tables."""

from __future__ import annotations

from collections.abc import Sequence

from benches.figures import counters, medians
from benches.rows import BOOT, ELAPSED, START
from benches.scenarios import ROWS
from benches.session import Results, Turn
from benches.table import aligned


def render_totals(results: Results) -> str:
    """Return the medians of every engine's counters over a whole run, a line for each engine."""
    lines = []
    for name, turns in results.turns.items():
        totals = medians(counters(turn[ROWS]) for turn in turns if ROWS in turn)
        if totals:
            listed = ", ".join(f"{counter} {totals[counter]:.4g}" for counter in sorted(totals))
            lines.append(f"{name}: {listed}")
    return "\n".join(lines)


def render_by_row(results: Results) -> str:
    """Return a table for each engine: a line for each counter, a column for each row.

    A row's column covers everything since the row before, so also what prepares it.
    """
    tables = [_table(name, turns) for name, turns in results.turns.items()]
    return "\n\n".join(table for table in tables if table)


def _table(name: str, turns: Sequence[Turn]) -> str:
    runs = [turn[ROWS].intervals for turn in turns if ROWS in turn]
    rows = [row for row in dict.fromkeys(row for run in runs for row in run) if row != ELAPSED]
    columns = [medians(run[row] for run in runs if row in run) for row in rows]
    known = sorted({counter for column in columns for counter in column} - {"seconds"})
    if not known:
        return ""
    head = [name, *(BOOT if row == START else row for row in rows)]
    lines = [
        [counter, *(f"{column[counter]:.3g}" if counter in column else "-" for column in columns)]
        for counter in ("seconds", *known)
    ]
    return aligned([head, *lines], left=(0,))
