"""One benchmark session: builds the guests once and runs every subject in turn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benches.measure import Run, measure
from benches.rows import ELAPSED, START, Row
from benches.scenarios import Scenario
from benches.subjects import RAM_MIB, Boot, Subject
from tools.assets import reports
from tools.assets.busybox import busybox
from tools.assets.initramfs import GuestFile, busybox_initrd
from tools.assets.programs import static_c_program
from tools.errors import ToolError

NATIVE = "native"

#: One turn of one subject: its runs by the name of the scenario.
Turn = dict[str, Run]


@dataclass(slots=True)
class Results:
    """Every turn of every subject, and why a subject or one of its scenarios did not run."""

    turns: dict[str, list[Turn]] = field(default_factory=dict)
    absences: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, frozen=True)
class Guest:
    """A scenario as it was built: how to run it on the host, and the RAM disk that runs it."""

    scenario: Scenario
    native: list[str]
    initrd: Path


def build_guest(scenario: Scenario, into: Path) -> Guest:
    """Build the program of `scenario`, and a RAM disk that runs it in the directory `into`.

    Raises ToolError if the compiler or the distribution's busybox cannot be had.
    """
    programs = busybox()
    program = static_c_program(scenario.source)
    initrd = into / f"{scenario.name}.img"
    inside = {f"/bin/{scenario.source.stem}": GuestFile(program.read_bytes(), executable=True)}
    initrd.write_bytes(busybox_initrd(programs, scenario.guest_command(), inside))
    return Guest(scenario, scenario.native_command(program, programs.path), initrd)


class Session:
    """Runs `guests` on the host and on every subject, and collects what they measured."""

    def __init__(
        self, kernel: Path, guests: Sequence[Guest], scratch: Path, limit_s: float
    ) -> None:
        self.results = Results()
        self._kernel = kernel
        self._guests = guests
        self._scratch = scratch
        self._limit_s = limit_s

    def interleave(self, subjects: Sequence[Subject], times: int, budget_s: float) -> None:
        """Run the host itself and each of `subjects` once, and all of that up to `times` times.

        No further round begins when it would probably end after `budget_s` seconds. What cannot
        run, or fails, is left out from then on, with its reason kept.
        """
        columns: dict[str, Subject | None] = {NATIVE: None}
        for subject in subjects:
            reason = subject.absence()
            if reason is None:
                columns[subject.name] = subject
            else:
                self.results.absences[subject.name] = reason
        started = time.monotonic()
        for number in range(1, times + 1):
            for name, column in columns.items():
                _tell(f"run {number} of {times}: {name}")
                self._take_turn(name, column)
            if (time.monotonic() - started) * (number + 1) / number > budget_s:
                break

    def _take_turn(self, name: str, subject: Subject | None) -> None:
        """Run every guest once under `subject`, or its program on the host if that is None."""
        turn: Turn = {}
        for guest in self._guests:
            scenario = guest.scenario
            failed = f"{name}, {scenario.name}"
            if failed in self.results.absences:
                continue
            if subject and scenario.cpus > subject.max_cpus:
                continue
            try:
                turn[scenario.name] = (
                    self._run(subject, guest) if subject else self._run_here(guest)
                )
            except ToolError as error:
                _tell(f"  failed: {error}")
                self.results.absences[failed] = str(error)
        self.results.turns.setdefault(name, []).append(turn)

    def _run_here(self, guest: Guest) -> Run:
        limit_s = self._limit_s
        return measure(guest.native, "", ram_bytes=None, limit_s=limit_s, on_row=_tell_row)

    def _run(self, subject: Subject, guest: Guest) -> Run:
        counters = self._scratch / "counters.json"
        counters.unlink(missing_ok=True)
        nonce = reports.new_nonce()
        boot = Boot(self._kernel, guest.initrd, nonce, counters, guest.scenario.cpus)
        run = measure(
            subject.command(boot),
            nonce,
            ram_bytes=RAM_MIB << 20 if subject.is_one_process else None,
            limit_s=self._limit_s,
            on_row=_tell_row,
        )
        if counters.exists():
            run.intervals = json.loads(counters.read_text())
        return run


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_row(row: Row) -> None:
    if row.name not in (START, ELAPSED):
        _tell(f"  {row.name} {row.value:.4g} {row.unit}")
