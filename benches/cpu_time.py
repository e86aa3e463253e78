"""A second opinion for a busy host: CPU time instead of the guest's clock.

While other processes take turns on the host's CPUs, what the guest measures says little. The CPU
time that the monitor itself used up to each row says more. It covers everything since the row
before, so that it also contains what prepares a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benches.figures import Figures, medians
from benches.measure import Run
from benches.rows import BOOT, PROGRAM_ROWS, START
from benches.scenarios import ROWS
from benches.session import Turn
from benches.table import aligned


def render_cpu_times(
    turns: Mapping[str, Sequence[Turn]], ours: Sequence[str], peers: Sequence[str]
) -> str:
    """Return a table of the CPU seconds per row; `ours` are compared with the best of `peers`."""
    columns = {
        name: medians(cpu_times(turn[ROWS]) for turn in turns[name] if ROWS in turn)
        for name in (*ours, *peers)
        if name in turns
    }
    lines = [["CPU seconds", *columns, *(f"{name} : TCG" for name in ours)]]
    for row in (*PROGRAM_ROWS, BOOT):
        if not any(row in values for values in columns.values()):
            continue
        best = min(
            (columns[peer][row] for peer in peers if row in columns.get(peer, {})), default=0
        )
        cells = [row, *(_number(values.get(row)) for values in columns.values())]
        for name in ours:
            used = columns.get(name, {}).get(row)
            cells.append(f"{best / used:.2f}x" if used and best else "-")
        lines.append(cells)
    return aligned(lines, left=(0,))


def cpu_times(run: Run) -> Figures:
    """Return the CPU seconds that the monitor used from the row before to each row."""
    found: Figures = {}
    before_s = 0.0
    for row, now_s in run.cpu_s.items():
        found[BOOT if row == START else row] = now_s - before_s
        before_s = now_s
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
