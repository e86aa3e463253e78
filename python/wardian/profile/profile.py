"""What sampling found, added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from wardian.cpu.contract import Sample
from wardian.profile.symbols import Naming

#: Samples a second and vCPU: a prime number, so as not to beat with the guest's timer.
DEFAULT_HZ: Final = 199
#: What the engines take (`MAX_HZ` in crates/engine).
MAX_HZ: Final = 10_000

#: One block of guest code: address, whether ring 3, whether its translation ran.
Place = tuple[int, bool, bool]


@dataclass(frozen=True, slots=True)
class HotBlock:
    """A block of guest code and how often a vCPU was found at it."""

    rip: int
    user: bool
    translated: bool
    samples: int
    #: Symbol and offset; "" for an address without one.
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the vCPUs of one machine were found at since the sampling began.

    A guest's user addresses are told apart from its kernel's, and not from those of another
    process at the same address.
    """

    #: Samples by place, of vCPUs that were executing.
    busy: Counter[Place] = field(default_factory=Counter)
    #: Samples of vCPUs that slept in HLT or had not been started.
    asleep: int = 0
    #: Samples of places for which the engine had no room any more.
    lost: int = 0
    #: Samples a second and vCPU; 0 where nothing was sampled.
    hz: int = 0
    naming: Naming = field(default_factory=Naming)

    @classmethod
    def of(
        cls, samples: Iterable[Sample], *, lost: int = 0, hz: int = 0, naming: Naming | None = None
    ) -> Profile:
        """Adds up what an engine recorded, over all vCPUs."""
        busy: Counter[Place] = Counter()
        asleep = 0
        for _, rip, user, translated, halted, count in samples:
            if halted:
                asleep += count
            else:
                busy[rip, user, translated] += count
        return cls(busy, asleep, lost, hz, naming or Naming())

    def since(self, earlier: Profile) -> Profile:
        """What was added after `earlier`, an older profile of the same machine.

        After a reset of the guest the counts start anew; then it is this profile itself.
        """
        if earlier.total > self.total:
            return self
        return Profile(
            self.busy - earlier.busy,
            max(0, self.asleep - earlier.asleep),
            max(0, self.lost - earlier.lost),
            self.hz,
            self.naming,
        )

    @property
    def executing(self) -> int:
        """Samples of vCPUs that were executing."""
        return self.busy.total() + self.lost

    @property
    def total(self) -> int:
        """All samples."""
        return self.executing + self.asleep

    def hottest(self, limit: int) -> list[HotBlock]:
        """The blocks with most samples, hottest first, with their symbols; `limit` at most."""
        # Ties go by address, so that a view that is refreshed does not dance.
        ordered = sorted(self.busy.items(), key=lambda item: (-item[1], item[0]))
        return [
            HotBlock(rip, user, translated, count, self.naming.name(rip, user))
            for (rip, user, translated), count in ordered[:limit]
        ]
