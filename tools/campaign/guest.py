"""Runs one guest of a campaign: shows its console as it comes, and keeps what it said."""

from __future__ import annotations

import argparse
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.assets import reports
from tools.guest_console import ConsoleSplitter

#: What a guest can be run under: Wardian, or the peer its result is compared with.
MONITORS = ("wardian", "qemu")
_POWER_DOWN = b"reboot: Power down"


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest of `tools.assets.initramfs`, and the monitor that runs it."""

    kernel: Path
    initrd: Path
    cpus: int
    memory: str
    monitor: str = "wardian"
    engine: str = "auto"

    def command(self, nonce: str) -> list[str]:
        """Return the command that boots it; its console is the command's output."""
        append = f"console=ttyS0 panic=-1 wardian.nonce={nonce}"
        if self.monitor == "qemu":
            return [
                *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"),
                *("-smp", str(self.cpus), "-m", self.memory, "-nodefaults", "-no-user-config"),
                *("-display", "none", "-serial", "stdio", "-no-reboot"),
                *("-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", append),
            ]
        return [
            *(sys.executable, "-m", "wardian", "run", "--engine", self.engine),
            *("--cpus", str(self.cpus), "--memory", self.memory, "--on-reset", "exit"),
            *("--kernel", str(self.kernel), "--initrd", str(self.initrd), "--append", append),
        ]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a guest ended, and all that its console and the monitor said."""

    reported: int | None  # the exit status that its command had, if the guest told it
    status: int | None  # the monitor's own exit status; None if the time limit ended it
    console: str
    errors: str
    seconds: float

    def problems(self) -> list[str]:
        """Return what was not as it must be, whatever the guest's command was."""
        found = []
        if self.status is None:
            found.append(f"still running after {self.seconds:.0f} s")
        elif self.status != 0:
            found.append(f"the monitor ended with status {self.status}")
        if self.reported is None:
            found.append("the guest did not report that its command ended")
        if _POWER_DOWN.decode() not in self.console:
            found.append("the guest did not power off")
        if self.errors:
            found.append(f"the monitor said: {self.errors.strip()}")
        return found


class Limit:
    """How long a guest may still run; whoever sees it get on may give it more time."""

    def __init__(self, seconds: float) -> None:
        self.restart(seconds)

    def restart(self, seconds: float) -> None:
        """Give it `seconds` from now on."""
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left."""
        return self._end - time.monotonic()


def run(
    guest: Guest, limit: Limit, show: Callable[[bytes], None], log: Path | None = None
) -> Ending:
    """Run `guest` until it ends or `limit` does, passing its console to `show` as it comes.

    The same goes to the file `log` if it is given. /init's reports are left out everywhere.
    """
    nonce = reports.new_nonce()
    began = time.monotonic()
    said: list[bytes] = []
    reported = None
    with (
        tempfile.TemporaryFile() as errors,
        (log or Path(os.devnull)).open("wb", buffering=0) as kept,
        subprocess.Popen(
            guest.command(nonce), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as monitor,
    ):
        assert monitor.stdout is not None
        console = monitor.stdout.fileno()
        splitter = ConsoleSplitter(nonce)
        status = None
        try:
            while (left := limit.left()) > 0:
                if not select.select([console], [], [], left)[0]:
                    break
                data = os.read(console, 65536)
                if not data:
                    status = monitor.wait()
                    break
                for event in splitter.feed(data):
                    if isinstance(event, bytes):
                        said.append(event)
                        kept.write(event)
                        show(event)
                    elif event.word == "exit":
                        reported = event.value
        finally:
            monitor.kill()
        said.append(splitter.rest())
        errors.seek(0)
        return Ending(
            reported,
            status,
            b"".join(said).decode(errors="replace"),
            errors.read().decode(errors="replace"),
            time.monotonic() - began,
        )


def add_options(parser: argparse.ArgumentParser, memory: str) -> None:
    """Give `parser` the options that say how a campaign's guest is run."""
    parser.add_argument("--cpus", type=int, default=2, help="vCPUs (default: 2)")
    parser.add_argument("--memory", default=memory, help=f"guest memory (default: {memory})")
    parser.add_argument("--engine", default="auto", help="Wardian's engine (default: auto)")
    parser.add_argument(
        "--under",
        choices=MONITORS,
        default=MONITORS[0],
        help="qemu: the same guest under QEMU's TCG with its largest CPU model, to compare",
    )
    parser.add_argument("--log", type=Path, help="keep the whole console in this file")
    parser.add_argument("--json", type=Path, help="write the result to this file as JSON")
