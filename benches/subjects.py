"""What is compared: the host itself, Wardian, and what a user without /dev/kvm would pick."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RAM_MIB = 512


@dataclass(slots=True, frozen=True)
class Boot:
    """What a guest is booted from, the nonce its reports carry, and where counts go."""

    kernel: Path
    initrd: Path
    nonce: str
    counts: Path


@dataclass(slots=True, frozen=True)
class Subject:
    """One column of the table."""

    name: str
    command: Callable[[Boot], list[str]]
    # Why it cannot run here; None if it can.
    absence: Callable[[], str | None]
    # Whether the started process is the whole monitor, so that its memory can be read there.
    is_one_process: bool = True


def _append(boot: Boot) -> str:
    # The same for every engine. "quiet" keeps the speed of the serial port out of the boot row.
    return f"console=ttyS0 quiet panic=-1 wardian.nonce={boot.nonce}"


def _wardian(boot: Boot) -> list[str]:
    files = [f"--kernel={boot.kernel}", f"--initrd={boot.initrd}", f"--append={_append(boot)}"]
    options = [f"--memory={RAM_MIB}M", f"--counts={boot.counts}"]
    return [sys.executable, "-m", "benches.wardian_guest", *options, *files]


def _qemu(boot: Boot) -> list[str]:
    files = ["-kernel", str(boot.kernel), "-initrd", str(boot.initrd), "-append", _append(boot)]
    machine = ["-accel", "tcg", "-m", str(RAM_MIB), "-nodefaults", "-no-user-config"]
    console = ["-display", "none", "-serial", "stdio", "-no-reboot"]
    return ["qemu-system-x86_64", *machine, *console, *files]


def _uml(boot: Boot) -> list[str]:
    # It is a kernel of its own: the same initial RAM disk, but not the same kernel.
    files = [f"initrd={boot.initrd}", "rdinit=/init", f"wardian.nonce={boot.nonce}"]
    return ["linux.uml", f"mem={RAM_MIB}M", "con=null", "con0=null,fd:1", "quiet", *files]


def _no_command(name: str, package: str) -> Callable[[], str | None]:
    reason = f"{name} is not installed (package {package})"
    return lambda: None if shutil.which(name) else reason


def _no_uml() -> str | None:
    # It keeps the guest's RAM in a file there, and dies of SIGBUS when that cannot grow.
    shared = Path("/dev/shm")
    if not shared.is_dir() or shutil.disk_usage(shared).free < RAM_MIB << 20:
        return f"/dev/shm has not the {RAM_MIB} MiB of the guest's RAM"
    return _no_command("linux.uml", "user-mode-linux")()


def _no_core() -> str | None:
    for name in ("wardian", "wardian._core"):
        if importlib.util.find_spec(name) is None:
            return "the core is not built (make build)"
    return None


WARDIAN = Subject("Wardian", _wardian, _no_core)
QEMU = Subject("QEMU TCG", _qemu, _no_command("qemu-system-x86_64", "qemu-system-x86"))
UML = Subject("UML", _uml, _no_uml, is_one_process=False)
