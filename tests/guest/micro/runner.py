"""Builds micro-guests and runs them under an engine, and reads the assertions they print.

A micro-guest is one C file in `long/` (64-bit, `runtime/micro.h`) or `legacy/` (32-bit,
`runtime/micro32.h`); those in `hostile/` are 64-bit too and are run by `test_hostile.py` alone. Its
leading comment may hold directives, one per line:

    // cpus: 2                        vCPUs it needs (default 1)
    // qemu-differs: NAME -- reason    this assertion is right, and QEMU TCG is known to differ
    // qemu-skip: reason              the guest cannot be run under QEMU TCG at all

The guest prints `ok N name`, `not ok N name got=… want=…` or `skip N name needs=feature` per
assertion, then `done N`, and ends through the debug-exit port (status 1: all ok, 3: some failed).
Images are kept under `$XDG_CACHE_HOME/wardian/micro`, named by a hash of everything they are
made from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

HERE = Path(__file__).parent
RUNTIME = HERE / "runtime"
TIMEOUT_S = 120.0
PASSED, FAILED = 1, 3

COMPILE = [
    *("gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fno-builtin"),
    *("-nostdlib", "-nostdinc", "-static", "-no-pie", "-fno-pic", "-fno-stack-protector"),
    *("-mno-red-zone", "-mgeneral-regs-only", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-Wl,--build-id=none", "-Wl,--no-warn-rwx-segments"),
]
#: Directories whose guests make assertions.
ASSERTING = ("long", "legacy")
_LONG = (
    ("-m64", "-mcmodel=kernel", "-Wl,-z,max-page-size=4096"),
    ("boot64.S", "micro.c", "smp.c", "pages.c", "report.c"),
    "link64.ld",
)
# family → (compiler switches, runtime sources, linker script)
FAMILIES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "long": _LONG,
    "hostile": _LONG,
    "legacy": (("-m32",), ("boot32.S", "micro32.c", "report.c"), "link32.ld"),
}

_DIRECTIVE = re.compile(r"^// (cpus|qemu-differs|qemu-skip): (.*)$", re.MULTILINE)
_LINE = re.compile(r"^(ok|not ok|skip) (\d+) (.*)$")
_DETAIL = re.compile(r" (?:got=0x[0-9a-f]+ want=0x[0-9a-f]+|needs=\S+)$")


@dataclass(frozen=True, slots=True)
class Guest:
    """A micro-guest source and what its directives say."""

    source: Path
    cpus: int
    qemu_differs: Mapping[str, str]
    qemu_skip: str | None

    @property
    def name(self) -> str:
        return f"{self.source.parent.name}/{self.source.stem}"


@dataclass(frozen=True, slots=True)
class Assertion:
    """One printed assertion; `verdict` is "ok", "not ok" or "skip", `line` the whole line."""

    verdict: str
    name: str
    line: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run of a guest said. `problem` is None when it ran to its `done` line."""

    assertions: list[Assertion] = field(default_factory=list)
    problem: str | None = None
    output: str = ""

    def failed(self) -> list[Assertion]:
        return [a for a in self.assertions if a.verdict == "not ok"]

    def skipped(self) -> list[Assertion]:
        return [a for a in self.assertions if a.verdict == "skip"]


def find_guests() -> list[Guest]:
    """Every micro-guest, in name order."""
    return [
        read_guest(source) for family in ASSERTING for source in sorted((HERE / family).glob("*.c"))
    ]


def read_guest(source: Path) -> Guest:
    """The guest in a C file, with its directives."""
    cpus, skip, differs = 1, None, dict[str, str]()
    for key, value in _DIRECTIVE.findall(source.read_text()):
        if key == "cpus":
            cpus = int(value)
        elif key == "qemu-skip":
            skip = value
        else:
            name, _, reason = value.partition(" -- ")
            differs[name] = reason
    return Guest(source, cpus, differs, skip)


def build(guest: Guest) -> Path:
    """The guest's Multiboot-1 ELF32 image, built unless the cache has it."""
    family = guest.source.parent.name
    switches, sources, script = FAMILIES[family]
    digest = hashlib.sha256(" ".join((*COMPILE, *switches)).encode())
    for part in (*sorted(RUNTIME.iterdir()), guest.source):
        digest.update(part.name.encode() + b"\0" + part.read_bytes())
    image = _cache() / f"{family}-{guest.source.stem}-{digest.hexdigest()[:16]}.elf"
    if image.exists():
        return image
    linked = image.with_suffix(f".{os.getpid()}.tmp")
    command = [*COMPILE, *switches, f"-I{RUNTIME}", f"-T{RUNTIME / script}", "-o", str(linked)]
    command += [str(RUNTIME / s) for s in sources] + [str(guest.source)]
    subprocess.run(command, check=True)
    # Multiboot-1 loads ELF32 only; the 64-bit guests lie below 4 GiB, so nothing is lost.
    subprocess.run(["objcopy", "-O", "elf32-i386", str(linked)], check=True)
    linked.rename(image)
    return image


def _cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wardian" / "micro"
    root.mkdir(parents=True, exist_ok=True)
    return root


def wardian_command(engine: str, image: Path, cpus: int) -> list[str]:
    """The command that runs an image under one of Wardian's engines."""
    return [
        *(sys.executable, "-m", "wardian", "run", "--engine", engine),
        *("--kernel", str(image), "--cpus", str(cpus), "--memory", "64M", "--debug-exit"),
    ]


def qemu_command(image: Path, cpus: int) -> list[str]:
    """The command that runs an image under QEMU TCG with the vendor and devices Wardian has."""
    return [
        *("qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,vendor=GenuineIntel"),
        *("-kernel", str(image), "-smp", str(cpus), "-m", "64M", "-nodefaults", "-no-reboot"),
        *("-display", "none", "-serial", "stdio", "-monitor", "none"),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
    ]


ENGINES: Mapping[str, Callable[[Path, int], list[str]]] = {
    "interpret": partial(wardian_command, "interpret"),
    "qemu": qemu_command,
    "translate": partial(wardian_command, "translate"),
    "translate-at-once": partial(wardian_command, "translate-at-once"),
    "translate-at-once-checked": partial(wardian_command, "translate-at-once-checked"),
}


def available(engine: str) -> bool:
    """Whether this host can run `engine`."""
    return engine != "qemu" or shutil.which("qemu-system-x86_64") is not None


def run(guest: Guest, engine: str, timeout_s: float = TIMEOUT_S) -> Outcome:
    """Run a guest to its end, or for `timeout_s` seconds."""
    command = ENGINES[engine](build(guest), guest.cpus)
    ended = f"still running after {timeout_s:g} s"
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
        raw, errors = done.stdout, done.stderr
        ended = f"exit status {done.returncode}"
        finished = done.returncode in (PASSED, FAILED)
    except subprocess.TimeoutExpired as expired:
        raw, errors, finished = expired.stdout or b"", expired.stderr or b"", False
    output = raw.decode(errors="replace").replace("\r", "")
    assertions = parse(output)
    if not finished:
        return Outcome(assertions, f"{ended}: {errors.decode(errors='replace')[-800:]}", output)
    if f"done {len(assertions)}\n" not in output:
        return Outcome(assertions, "no `done` line with the right count", output)
    return Outcome(assertions, None, output)


def parse(output: str) -> list[Assertion]:
    """The assertions in a guest's serial output."""
    matches = (_LINE.match(line) for line in output.splitlines())
    return [Assertion(m[1], _DETAIL.sub("", m[3]), m[0]) for m in matches if m]


def main(argv: list[str]) -> int:
    """`runner.py ENGINE [NAME-PART …]`: run guests by hand and print what is not ok."""
    engine, *parts = argv
    total = bad = 0
    for guest in find_guests():
        if parts and not any(part in guest.name for part in parts):
            continue
        if engine == "qemu" and guest.qemu_skip:
            print(f"{guest.name}: skipped: {guest.qemu_skip}")
            continue
        outcome = run(guest, engine, 20.0)
        differs = guest.qemu_differs if engine == "qemu" else {}
        failed = [a for a in outcome.failed() if a.name not in differs]
        total += len(outcome.assertions)
        bad += len(failed) + (outcome.problem is not None)
        skips = len(outcome.skipped())
        print(f"{guest.name}: {len(outcome.assertions)} assertions, {skips} skipped")
        for assertion in failed:
            print("   ", assertion.line)
        if outcome.problem:
            print("   ", outcome.problem)
            print("   ", "\n    ".join(outcome.output.splitlines()[-6:]))
    print(f"{total} assertions, {bad} problems")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
