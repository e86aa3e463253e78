"""Turns figures into the tables that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benches.figures import Figures
from benches.rows import TABLE_ROWS, slowdown, speedup
from benches.session import NATIVE
from benches.targets import Kind, Verdict, fastest

_LEGEND = "In brackets: how many times slower than native."


def render(columns: Mapping[str, Figures], ours: Sequence[str], peers: Sequence[str]) -> str:
    """Return the table of all subjects that measured anything: `columns` holds their medians.

    Each column shows the value and, in brackets, how many times slower than native it is. For
    each of `ours` one more column says how many times faster it is than QEMU TCG, whose columns
    are `peers`; the fastest of them counts.
    """
    peer = fastest([columns[name] for name in peers if name in columns])
    compared = [name for name in ours if name in columns and peer]
    lines = [["row", "unit", *columns, *(f"{name} : TCG" for name in compared)]]
    native = columns.get(NATIVE, {})
    for row, unit in TABLE_ROWS.items():
        if not any(row in values for values in columns.values()):
            continue
        cells = [row, unit]
        for name, values in columns.items():
            cells.append(_cell(row, values.get(row), None if name == NATIVE else native.get(row)))
        for name in compared:
            ratio = row in columns[name] and row in peer
            cells.append(f"{speedup(row, columns[name][row], peer[row]):.2f}x" if ratio else "-")
        lines.append(cells)
    legend = [_LEGEND, *([f"{', '.join(compared)} : TCG: times faster."] if compared else [])]
    return "\n".join([aligned(lines), " ".join(legend)])


def render_targets(verdicts: Sequence[Verdict]) -> str:
    """Return the table of targets."""
    lines = [["target", "wanted", "measured", "rounds", "to native", "verdict"]]
    for verdict in verdicts:
        target = verdict.target
        sign = "<=" if target.kind is Kind.TIME else ">="
        least, greatest = _ratio(verdict.least), _ratio(verdict.greatest)
        lines.append(
            [
                f"{target.what}, {target.kind.value}" if target.kind.value else target.what,
                f"{sign} {target.bound:g}",
                _ratio(verdict.measured),
                "-" if verdict.least is None else f"{least} to {greatest}",
                _ratio(verdict.to_native),
                verdict.word,
            ]
        )
    return aligned(lines, left=(0, 5))


def aligned(lines: Sequence[Sequence[str]], left: Sequence[int] = (0, 1)) -> str:
    """Return `lines` of cells in columns; those numbered in `left` are flush left."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(row: str, value: float | None, native: float | None) -> str:
    if value is None:
        return "-"
    if native is None:
        return f"{value:.4g}"
    return f"{value:.4g} ({slowdown(row, value, native):.1f}x)"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
