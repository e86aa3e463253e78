"""What is compared with the host itself: Wardian, and what a user without /dev/kvm would pick."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.cache import CHECKOUT
from wardian.base.errors import WardianError
from wardian.cpu.choice import AUTO, ENGINES, choose_engine
from wardian.cpu.preflight import gather_host

RAM_MIB = 512


@dataclass(slots=True, frozen=True)
class Boot:
    """What a guest is booted from, the nonce its reports carry, and where counters go."""

    kernel: Path
    initrd: Path
    nonce: str
    counters: Path
    cpus: int = 1


@dataclass(slots=True, frozen=True)
class Subject:
    """One column of the table."""

    name: str
    command: Callable[[Boot], list[str]]
    # Why it cannot run here; None if it can.
    absence: Callable[[], str | None]
    # What tells its version.
    version_command: tuple[str, ...]
    # Whether the started process is the whole monitor, so that its memory can be read there.
    is_one_process: bool = True
    max_cpus: int = 2
    is_ours: bool = False
    # Whether it is one of the peers that the targets speak of.
    is_tcg: bool = False

    def version(self) -> str:
        """Return the first line its version command prints; "" if that cannot be run."""
        try:
            done = subprocess.run(
                self.version_command, cwd=CHECKOUT, capture_output=True, text=True, check=False
            )
        except OSError:
            return ""
        return done.stdout.partition("\n")[0]


def _append(boot: Boot) -> str:
    # The same for every engine. "quiet" keeps the speed of the serial port out of the boot row.
    return f"console=ttyS0 quiet panic=-1 wardian.nonce={boot.nonce}"


def wardian(engine: str) -> Subject:
    """Return Wardian with the engine of this name, which need not exist or run here."""

    def command(boot: Boot) -> list[str]:
        files = [f"--kernel={boot.kernel}", f"--initrd={boot.initrd}", f"--append={_append(boot)}"]
        machine = [f"--engine={engine}", f"--cpus={boot.cpus}", f"--memory={RAM_MIB}M"]
        counters = f"--counters={boot.counters}"
        return [sys.executable, "-m", "benches.wardian_guest", *machine, *files, counters]

    def absence() -> str | None:
        try:
            choose_engine(engine, gather_host())
        except WardianError as error:
            return str(error)
        return None

    version = ("git", "describe", "--always", "--dirty")
    return Subject(f"Wardian {engine}", command, absence, version, is_ours=True)


def _qemu(model: str | None) -> Callable[[Boot], list[str]]:
    def command(boot: Boot) -> list[str]:
        files = ["-kernel", str(boot.kernel), "-initrd", str(boot.initrd)]
        # A thread for each vCPU, as Wardian has.
        engine = ["-accel", "tcg,thread=multi", "-smp", str(boot.cpus), "-m", str(RAM_MIB)]
        cpu = ["-cpu", model] if model else []
        console = ["-display", "none", "-serial", "stdio", "-no-reboot"]
        machine = [*engine, *cpu, "-nodefaults", "-no-user-config", *console]
        return ["qemu-system-x86_64", *machine, *files, "-append", _append(boot)]

    return command


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


def _tcg(name: str, model: str | None) -> Subject:
    absence = _no_command("qemu-system-x86_64", "qemu-system-x86")
    return Subject(name, _qemu(model), absence, ("qemu-system-x86_64", "--version"), is_tcg=True)


# QEMU's default CPU has no AVX, with which memory is copied faster. Its "max" has, but it also has
# SMAP, SMEP and five-level paging, which cost TCG more in the guest's kernel. The third has the
# one without the others; each row is compared with whichever of those that ran is fastest in it.
TCG = _tcg("QEMU TCG", None)
TCG_MAX = _tcg("QEMU TCG max", "max")
TCG_AVX = _tcg("QEMU TCG AVX", "max,la57=off,smap=off,smep=off")
# It has one CPU only.
UML = Subject("UML", _uml, _no_uml, ("linux.uml", "--version"), is_one_process=False, max_cpus=1)

#: "wardian" stands for the engine that `auto` takes.
OURS = "wardian"
PEERS = {"tcg": TCG, "tcg-max": TCG_MAX, "tcg-avx": TCG_AVX, "uml": UML}
SELECTABLE = (OURS, *ENGINES, *PEERS)


def chosen(words: Sequence[str]) -> list[Subject]:
    """Return the subjects that `words` out of SELECTABLE name, each once."""
    found = {}
    for word in words:
        subject = PEERS.get(word) or wardian(_auto() if word == OURS else word)
        found[subject.name] = subject
    return list(found.values())


def _auto() -> str:
    """Return the engine that `auto` takes, or `auto` itself if no engine runs here."""
    try:
        return choose_engine(AUTO, gather_host())
    except WardianError:
        return AUTO
