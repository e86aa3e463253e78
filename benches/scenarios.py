"""What every subject runs: guestbench on one CPU, and twoloops on two."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from benches.rows import BOOT, PROGRAM_ROWS, START, TWO_VCPUS

_HERE = Path(__file__).parent
_GUEST_BUSYBOX = "/bin/busybox"


@dataclass(slots=True, frozen=True)
class Scenario:
    """A guest program with its arguments, and the machine it runs on."""

    name: str
    source: Path
    # "{busybox}" stands for the path of busybox, which differs between the host and a guest.
    arguments: tuple[str, ...]
    cpus: int

    def native_command(self, program: Path, busybox: Path) -> list[str]:
        """Return the command that runs the built `program` on the host itself."""
        return [str(program), *self._arguments(str(busybox))]

    def guest_command(self) -> str:
        """Return the shell command that runs the program in a guest, where it is in /bin."""
        return shlex.join([self.source.stem, *self._arguments(_GUEST_BUSYBOX)])

    def _arguments(self, busybox: str) -> list[str]:
        return [argument.format(busybox=busybox) for argument in self.arguments]


#: Names of scenarios, in the order in which they run.
ROWS = "rows"
PAIR = "two-vcpus"


def scenarios(rows: Collection[str], scale: float) -> list[Scenario]:
    """Return what has to run to measure `rows` of the table; `scale` is guestbench's."""
    found = []
    if BOOT in rows or any(row in rows for row in PROGRAM_ROWS):
        # START measures nothing: with it alone the guest only boots.
        named = [row for row in PROGRAM_ROWS if row in rows] or [START]
        # Without names guestbench measures all.
        listed = [] if len(named) == len(PROGRAM_ROWS) else named
        arguments = (f"{scale:g}", "{busybox}", *listed)
        found.append(Scenario(ROWS, _HERE / "guestbench.c", arguments, cpus=1))
    if TWO_VCPUS in rows:
        found.append(Scenario(PAIR, _HERE / "twoloops.c", (), cpus=2))
    return found
