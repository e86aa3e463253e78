"""Turns runs into the table: medians, and ratios to the host itself and to QEMU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benches.measure import Run
from benches.rows import BOOT, ELAPSED, INTEGER_ROWS, PROGRAM_ROWS, START, slowdown
from benches.session import NATIVE

_MIB = 1 << 20
# A guest clock further off than this makes the guest's own rows doubtful.
_CLOCK_TOLERANCE = 0.05


def medians(runs: Sequence[Run]) -> dict[str, float]:
    """Return the median of every row over `runs`, the boot row included."""
    found = {name: median(run.rows[name] for run in runs) for name in PROGRAM_ROWS}
    boots = [run.boot_s for run in runs if run.boot_s is not None]
    return {**found, BOOT: median(boots)} if boots else found


def render(runs: Mapping[str, Sequence[Run]], peer: str, ours: str) -> str:
    """Return the table of all subjects that ran.

    Each guest column shows the median and, in brackets, how many times slower than native it
    is. The last column says how many times slower `ours` is than `peer`: below 1 is faster.
    """
    columns = {name: medians(some) for name, some in runs.items() if some}
    compared = ours in columns and peer in columns
    head = ["row", "unit", *columns, *([f"{ours} / {peer}"] if compared else [])]
    lines = [head]
    for row, unit in {**PROGRAM_ROWS, BOOT: "s"}.items():
        cells = [row, unit]
        native = columns.get(NATIVE, {}).get(row)
        for name, values in columns.items():
            cells.append(_cell(unit, values.get(row), None if name == NATIVE else native))
        if compared:
            cells.append(f"{slowdown(unit, columns[ours][row], columns[peer][row]):.2f}x")
        lines.append(cells)
    return _aligned(lines)


def render_notes(runs: Mapping[str, Sequence[Run]], absences: Mapping[str, str]) -> str:
    """Return what does not fit the table: memory, instruction rates, clocks, who is absent."""
    lines = []
    for name, some in runs.items():
        resident = [run.resident_bytes for run in some if run.resident_bytes is not None]
        if resident:
            lines.append(f"{name}: {median(resident) / _MIB:.0f} MiB resident beyond guest RAM")
        for row in INTEGER_ROWS:
            rates = [rate for run in some if (rate := _instruction_rate(run, row)) is not None]
            if rates:
                lines.append(f"{name}: {median(rates) / 1e6:.1f} M guest instructions/s in {row}")
        drift = max((abs(_clock_ratio(run) - 1) for run in some), default=0)
        if drift > _CLOCK_TOLERANCE:
            lines.append(f"{name}: the guest's clock is off by {drift:.0%}; its rows are doubtful")
    lines += [f"{name}: did not run: {reason}" for name, reason in absences.items()]
    return "\n".join(lines)


def _instruction_rate(run: Run, row: str) -> float | None:
    """Return guest instructions per second from the line before `row` to `row`."""
    names = [START, *PROGRAM_ROWS]
    before = names[names.index(row) - 1]
    if row not in run.counts or before not in run.counts:
        return None
    (started_s, already), (ended_s, retired) = run.counts[before], run.counts[row]
    return (retired - already) / (ended_s - started_s)


def _clock_ratio(run: Run) -> float:
    """Return seconds on the guest's clock per second on the host's, over all rows."""
    return run.rows[ELAPSED] / (run.printed_s[ELAPSED] - run.printed_s[START])


def _cell(unit: str, value: float | None, native: float | None) -> str:
    if value is None:
        return "-"
    if native is None:
        return f"{value:.4g}"
    return f"{value:.4g} ({slowdown(unit, value, native):.1f}x)"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
