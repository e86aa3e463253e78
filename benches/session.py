"""One benchmark session: builds the guest once and runs every subject in turn."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.measure import Run, measure
from benches.rows import PROGRAM_ROWS, Row
from benches.subjects import RAM_MIB, Boot, Subject
from tools.assets import reports
from tools.assets.busybox import busybox
from tools.assets.initramfs import GuestFile, busybox_initrd
from tools.assets.kernel import debian_kernel
from tools.assets.programs import static_c_program
from tools.errors import ToolError

NATIVE = "native"
_SOURCE = Path(__file__).parent / "guestbench.c"


class Session:
    """Holds the runs of every subject, and why a subject did not run."""

    def __init__(self, scratch: Path, scale: float, limit_s: float) -> None:
        self.runs: dict[str, list[Run]] = {NATIVE: []}
        self.absences: dict[str, str] = {}
        self.kernel = debian_kernel()
        self._limit_s = limit_s
        self._scratch = scratch
        self._initrd = scratch / "initrd.img"
        programs = busybox()
        program = static_c_program(_SOURCE)
        self._native = [str(program), str(scale), str(programs.path)]
        self._initrd.write_bytes(
            busybox_initrd(
                programs,
                f"guestbench {scale}",
                {"/bin/guestbench": GuestFile(program.read_bytes(), executable=True)},
            )
        )

    def interleave(self, subjects: Sequence[Subject], times: int) -> None:
        """Run the host itself and each of `subjects` once, and all of that `times` times.

        A subject that cannot run, or fails, is left out from then on, with its reason kept.
        """
        for subject in subjects:
            reason = subject.absence()
            if reason is not None:
                self.absences[subject.name] = reason
        for number in range(1, times + 1):
            _tell(f"run {number} of {times}: {NATIVE}")
            self.runs[NATIVE].append(
                measure(self._native, "", ram_bytes=None, limit_s=self._limit_s, on_row=_tell_row)
            )
            for subject in subjects:
                if subject.name not in self.absences:
                    _tell(f"run {number} of {times}: {subject.name}")
                    self._run(subject)

    def _run(self, subject: Subject) -> None:
        counts = self._scratch / "counts.json"
        counts.unlink(missing_ok=True)
        boot = Boot(self.kernel.path, self._initrd, reports.new_nonce(), counts)
        try:
            run = measure(
                subject.command(boot),
                boot.nonce,
                ram_bytes=RAM_MIB << 20 if subject.is_one_process else None,
                limit_s=self._limit_s,
                on_row=_tell_row,
            )
        except ToolError as error:
            self.absences[subject.name] = str(error)
            return
        if counts.exists():
            run.counts = json.loads(counts.read_text())
        self.runs.setdefault(subject.name, []).append(run)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _tell_row(row: Row) -> None:
    if row.name in PROGRAM_ROWS:
        _tell(f"  {row.name} {row.value:.4g} {row.unit}")
