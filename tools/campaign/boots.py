"""Boot the stock kernel again and again: ``python -m tools.campaign.boots --count 50``.

Each boot is a process of its own, as a user's is. It counts as clean when the guest reports that
its command ran with the CPUs it was given, and the monitor ends with status 0 after the guest has
switched itself off.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from tools.assets import busybox, initramfs, kernel

#: What is alternated, in an order that meets every pair.
CPUS = (1, 2)
MEMORY = ("128M", "256M", "512M", "1G", "4G")
LIMIT_S = 300.0

_APPEND = "console=ttyS0 panic=-1"
_COMMAND = 'echo "boots: cpus=$(nproc)"'
_POWER_DOWN = "reboot: Power down"
_TAIL = 400


@dataclass(frozen=True, slots=True)
class Boot:
    """How one boot went; `problem` is None when it was clean."""

    booted: bool
    powered_off: bool
    seconds: float
    problem: str | None


def boot(image: Path, initrd: Path, cpus: int, memory: str) -> Boot:
    """Boots once, for at most `LIMIT_S` seconds."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "wardian", "run", "--kernel", str(image)),
                *("--initrd", str(initrd), "--append", _APPEND, "--on-reset", "exit"),
                *("--memory", memory, "--cpus", str(cpus)),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace")
        return Boot(False, False, LIMIT_S, f"still running: {output[-_TAIL:]}")
    output = done.stdout.decode(errors="replace")
    errors = done.stderr.decode(errors="replace")
    booted = re.search(rf"boots: cpus={cpus}\r?\n", output) is not None
    powered_off = _POWER_DOWN in output and done.returncode == 0
    clean = booted and powered_off and not errors
    problem = None if clean else f"exit status {done.returncode}: {output[-_TAIL:]}{errors}"
    return Boot(booted, powered_off, time.monotonic() - began, problem)


def main() -> int:
    """Boots as often as the command line says; returns 1 unless every boot was clean."""
    parser = argparse.ArgumentParser(prog="python -m tools.campaign.boots", description=__doc__)
    parser.add_argument("--count", type=int, default=50, help="boots in a row")
    count: int = parser.parse_args().count
    image = kernel.debian_kernel().path
    booted = powered_off = clean = 0
    with tempfile.TemporaryDirectory() as scratch:
        initrd = Path(scratch) / "initrd"
        initrd.write_bytes(initramfs.busybox_initrd(busybox.busybox(), _COMMAND))
        sizes = zip(cycle(CPUS), cycle(MEMORY), strict=False)
        for number, (cpus, memory) in enumerate(islice(sizes, count), 1):
            result = boot(image, initrd, cpus, memory)
            booted += result.booted
            powered_off += result.powered_off
            clean += result.problem is None
            state = "clean" if result.problem is None else f"NOT CLEAN: {result.problem}"
            machine = f"{cpus} vCPU, {memory:>4}, {result.seconds:5.1f} s"
            print(f"{number:4} of {count}: {machine}, {state}", flush=True)
    print(f"{count} boots: {booted} booted, {powered_off} powered off, {clean} clean in every way")
    return 0 if clean == count else 1


if __name__ == "__main__":
    sys.exit(main())
