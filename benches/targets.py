"""What Wardian wants to reach, as data, and how far a session shows it to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import geometric_mean

from benches.figures import RATE, Figures, medians
from benches.rows import BOOT, COMPUTE_ROWS, PROGRAM_ROWS, TABLE_ROWS, TWO_VCPUS, speedup


class Kind(Enum):
    """What a target's bound is a bound of."""

    SPEED = "times its speed"
    TIME = "of its time"
    # The subject's own figure, compared with nobody's.
    OWN = ""


@dataclass(slots=True, frozen=True)
class Target:
    """One goal: which figures, what of them, and the bound."""

    what: str
    names: tuple[str, ...]
    kind: Kind
    bound: float
    # What makes one number of several figures.
    combine: Callable[[list[float]], float] = min
    # Whether falling short says something only when the host itself gets there.
    asks_host: bool = False

    def read(self, ours: Figures, peer: Figures) -> float | None:
        """Return the number that is to keep the bound; None if a figure is missing."""
        each = [self._read_one(name, ours, peer) for name in self.names]
        values = [value for value in each if value is not None]
        return self.combine(values) if len(values) == len(each) else None

    def is_met(self, value: float) -> bool:
        """Tell whether `value` keeps the bound."""
        return value <= self.bound if self.kind is Kind.TIME else value >= self.bound

    def _read_one(self, name: str, ours: Figures, peer: Figures) -> float | None:
        if name not in ours:
            return None
        if self.kind is Kind.OWN:
            return ours[name]
        if name not in peer:
            return None
        speed = speedup(name, ours[name], peer[name])
        return speed if self.kind is Kind.SPEED else 1 / speed


#: The peer is QEMU TCG.
TARGETS = (
    Target("every row and boot: the slowest", (*PROGRAM_ROWS, BOOT), Kind.SPEED, 1),
    Target("compute rows: geometric mean", COMPUTE_ROWS, Kind.SPEED, 3, geometric_mean),
    Target("fp-scalar", ("fp-scalar",), Kind.SPEED, 5),
    Target("sgemm", ("sgemm",), Kind.SPEED, 20),
    Target("memcpy", ("memcpy",), Kind.SPEED, 3),
    Target("qsort", ("qsort",), Kind.SPEED, 2),
    Target("boot", (BOOT,), Kind.SPEED, 1.3),
    Target("syscall", ("syscall",), Kind.TIME, 0.8),
    Target("fork+exec", ("fork+exec",), Kind.TIME, 0.8),
    Target("two vCPUs: loops done, against one", (TWO_VCPUS,), Kind.OWN, 1.8, asks_host=True),
    Target("translated: MB of guest code a second", (RATE,), Kind.OWN, 1),
)


@dataclass(slots=True, frozen=True)
class Verdict:
    """What a session says about a target. None stands for what was not measured."""

    target: Target
    word: str
    measured: float | None
    # The least and the greatest that a single round gives.
    least: float | None
    greatest: float | None
    # The same reading with the host itself in the peer's place.
    to_native: float | None


def judge(
    ours: Sequence[Figures], peers: Sequence[Sequence[Figures]], native: Sequence[Figures]
) -> list[Verdict]:
    """Return a verdict on every target, from the figures of each turn.

    Where there are several peers, each row is compared with the one that is fastest in it.
    """
    mine, host = medians(ours), medians(native)
    theirs = fastest([medians(peer) for peer in peers])
    rounds = [(own, fastest(others)) for own, *others in zip(ours, *peers, strict=False)]
    verdicts = []
    for target in TARGETS:
        each = [value for pair in rounds if (value := target.read(*pair)) is not None]
        verdicts.append(
            Verdict(
                target,
                _word(target, mine, theirs, host),
                target.read(mine, theirs),
                min(each, default=None),
                max(each, default=None),
                None if target.kind is Kind.OWN else target.read(mine, host),
            )
        )
    return verdicts


def fastest(some: Sequence[Figures]) -> Figures:
    """Return for each row of the table the best figure that one of `some` has."""
    best: Figures = {}
    for one in some:
        for row, value in one.items():
            if row in TABLE_ROWS and (row not in best or speedup(row, value, best[row]) > 1):
                best[row] = value
    return best


def _word(target: Target, ours: Figures, peer: Figures, host: Figures) -> str:
    measured = target.read(ours, peer)
    if measured is None:
        return "not measured"
    if target.is_met(measured):
        return "met"
    if target.asks_host and not target.is_met(target.read(host, peer) or 0):
        return "open: the host itself falls short"
    if len(target.names) > 1 and target.combine is min:
        behind = [row for row in target.names if speedup(row, ours[row], peer[row]) < target.bound]
        return f"short: {', '.join(behind)}"
    return "short"
