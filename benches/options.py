"""The command line of `make bench`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from benches.rows import TABLE_ROWS
from benches.subjects import OURS, SELECTABLE

_EPILOG = f"""\
rows: {", ".join(TABLE_ROWS)}
subjects: {", ".join(SELECTABLE)} (native always runs; {OURS} is what --engine auto takes)
"""


@dataclass(slots=True, frozen=True)
class Options:
    """What is measured, and how long."""

    rows: tuple[str, ...]
    subjects: tuple[str, ...]
    scale: float
    runs: int
    # No round begins that would end later than this.
    budget_s: float
    # What one run of one subject may take.
    limit_s: float
    # Whether to show CPU times too, for a host that is not quiet.
    cpu_times: bool = False
    # Whether to show what the engine counted in each row.
    counters: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every row is measured."""
        return set(self.rows) == set(TABLE_ROWS)


_FULL = Options(tuple(TABLE_ROWS), (OURS, "tcg", "tcg-avx", "uml"), 1, 5, float("inf"), 1800)
_QUICK = Options(tuple(TABLE_ROWS), (OURS, "tcg"), 0.5, 5, 80, 600)


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Return what the command line says; it ends the program with status 2 for nonsense."""
    parser = argparse.ArgumentParser(
        prog="make bench",
        description="Compare Wardian with the host itself and with its peers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="a look at every row in 60 to 90 seconds"
    )
    parser.add_argument("--rows", type=_words, help="rows, with commas (default: all)")
    parser.add_argument("--subjects", type=_words, help="subjects, with commas")
    parser.add_argument(
        "--scale", type=float, help=f"repetitions in a row (default {_FULL.scale:g})"
    )
    parser.add_argument("--runs", type=int, help=f"rounds (default {_FULL.runs})")
    parser.add_argument("--limit", type=float, help="seconds that one run may take")
    parser.add_argument(
        "--cpu-time", action="store_true", help="show CPU times too: for a host that is not quiet"
    )
    parser.add_argument(
        "--counters", action="store_true", help="show what the engine counted in each row"
    )
    given = parser.parse_args(arguments)
    base = _QUICK if given.quick else _FULL
    options = Options(
        rows=given.rows or base.rows,
        subjects=given.subjects or base.subjects,
        scale=base.scale if given.scale is None else given.scale,
        runs=base.runs if given.runs is None else given.runs,
        # A number of rounds that was asked for is a number of rounds.
        budget_s=base.budget_s if given.runs is None else float("inf"),
        limit_s=base.limit_s if given.limit is None else given.limit,
        cpu_times=given.cpu_time,
        counters=given.counters,
    )
    for kind, words, known in (
        ("row", options.rows, tuple(TABLE_ROWS)),
        ("subject", options.subjects, SELECTABLE),
    ):
        for word in words:
            if word not in known:
                parser.error(f"no {kind} is called {word!r}; there are {', '.join(known)}")
    if not options.scale > 0 or options.runs < 1 or not options.limit_s > 0:
        parser.error("--scale, --runs and --limit must be positive")
    return options


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in text.replace(" ", ",").split(",") if word)
