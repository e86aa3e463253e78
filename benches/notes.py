"""What does not fit the table: memory, rates, doubtful clocks, who is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from benches.figures import RATE, figures
from benches.measure import Run
from benches.rows import ELAPSED, INTEGER_ROWS, START
from benches.scenarios import ROWS
from benches.session import Results

_MIB = 1 << 20
# A guest clock further off than this makes the guest's own rows doubtful.
_CLOCK_TOLERANCE = 0.05


def render_notes(results: Results) -> str:
    """Return one line for each thing to know beside the table."""
    lines = []
    for name, turns in results.turns.items():
        runs = [turn[ROWS] for turn in turns if ROWS in turn]
        lines += [f"{name}: {fact}" for fact in _facts(runs)]
        rates = [rate for turn in turns if (rate := figures(turn).get(RATE)) is not None]
        if rates:
            lines.append(f"{name}: {median(rates):.2f} MB of guest code translated a second")
        every = [run for turn in turns for run in turn.values()]
        drift = max((abs(_clock_ratio(run) - 1) for run in every), default=0)
        if drift > _CLOCK_TOLERANCE:
            lines.append(f"{name}: the guest's clock is off by {drift:.0%}; its rows are doubtful")
    lines += [f"{name}: left out: {reason}" for name, reason in results.absences.items()]
    return "\n".join(lines)


def _facts(runs: Sequence[Run]) -> list[str]:
    facts = []
    resident = [run.resident_bytes for run in runs if run.resident_bytes is not None]
    if resident:
        facts.append(f"{median(resident) / _MIB:.0f} MiB resident beyond guest RAM")
    # Instructions in translated code are not counted.
    if any(figures({ROWS: run}).get(RATE) for run in runs):
        return facts
    for row in INTEGER_ROWS:
        intervals = [run.intervals[row] for run in runs if row in run.intervals]
        rates = [_instruction_rate(interval) for interval in intervals]
        if any(rates):
            facts.append(f"{median(rates) / 1e6:.1f} M guest instructions/s in {row}")
    return facts


def _instruction_rate(interval: Mapping[str, float]) -> float:
    seconds = interval["seconds"]
    return interval.get("instructions", 0) / seconds if seconds > 0 else 0


def _clock_ratio(run: Run) -> float:
    """Return seconds on the guest's clock per second on the host's, over all rows."""
    return run.rows[ELAPSED] / (run.printed_s[ELAPSED] - run.printed_s[START])
