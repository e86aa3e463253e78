"""The part of the suite that is about the translator, stopping at the first objection.

A step is one of

    blocks         `fuzz-cpu --blocks --engine translate`, a slice that takes seconds
    long/NAME      a micro-guest, with everything translated at once and then with what is hot
    units          the Rust tests of the translator's crate
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from fuzz.planted.workshop import Workshop
from tests.guest.micro import runner

#: The slice is the same each time: its seed is given.
BLOCKS = ("--blocks", "--engine", "translate", "--stop-at-first", "--jobs", "2")
SLICE = ("--seed", "2", "--cases", "150000")
ENGINES = ("translate-at-once", "translate")
#: Everything here is over in a fraction of this; a fault can make it run for ever.
TIMEOUT_S = 30.0
UNIT_TIMEOUT_S = 300.0


class Suite:
    """What is run against the core in a workshop."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._guests = {g.name: g for g in runner.find_guests() if g.name.startswith("long/")}
        self._core_is_built = False

    def first_objection(self, first: Sequence[str]) -> str | None:
        """What objects to the workshop's sources as they are; the steps `first` come first."""
        self._core_is_built = False
        steps = [*first, *(s for s in ("blocks", *self._guests, "units") if s not in first)]
        for step in steps:
            objection = self._run(step)
            if objection is not None:
                return objection
        return None

    def _run(self, step: str) -> str | None:
        match step:
            case "blocks":
                return self._blocks()
            case "units":
                return self._units()
            case _:
                return self._guest(step)

    def _blocks(self) -> str | None:
        fuzzer = self._workshop.build_fuzzer()
        try:
            done = subprocess.run(
                [str(fuzzer), *BLOCKS, *SLICE],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=2 * TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "blocks: does not end"
        if done.returncode == 0:
            return None
        found = next((line for line in done.stdout.splitlines() if line.startswith("---")), "")
        return f"blocks: {found.strip('- ') or f'exit status {done.returncode}'}"

    def _guest(self, name: str) -> str | None:
        if not self._core_is_built:
            self._workshop.build_core()
            self._core_is_built = True
        # The guests are run by commands that `runner` makes; they inherit this.
        os.environ["PYTHONPATH"] = str(self._workshop.package)
        for engine in ENGINES:
            outcome = runner.run(self._guests[name], engine, TIMEOUT_S)
            failed = outcome.failed()
            if failed:
                return f"{name} under {engine}: {failed[0].line}"
            if outcome.problem is not None:
                return f"{name} under {engine}: {outcome.problem.strip().splitlines()[0]}"
        return None

    def _units(self) -> str | None:
        self._workshop.build_unit_tests()
        try:
            done = self._workshop.unit_tests(UNIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "units: do not end"
        if done.returncode == 0:
            return None
        lines = (line for line in done.stdout.splitlines() if line.startswith("---- "))
        return f"units: {next(lines, f'exit status {done.returncode}').strip('- ')}"
