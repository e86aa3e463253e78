"""Linux's own tests of its x86 side, from the distribution's kernel source, for a guest.

They are built by their own Makefiles with the host's compiler: `x86` has traps, signals, system
calls and segments at their edges, `vDSO` the clock and CPU number without a system call.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools import cache
from tools.assets.initramfs import GuestFile
from tools.assets.kernel import Kernel
from tools.assets.libraries import needed_libraries
from tools.assets.linux_source import LinuxSource, linux_source
from tools.errors import ToolError

_HERE = "tools/testing/selftests"
# sigreturn.c includes a header of the kernel by its place in the tree.
_PARTS = (
    *(f"{_HERE}/{name}" for name in ("x86", "vDSO", "lib.mk", "kselftest.h")),
    f"{_HERE}/kselftest_harness.h",
    "arch/x86/include/asm",
)
_PLACE = "/selftests"
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class Selftests:
    """The tests by name, sorted, and all files that a guest needs to run them."""

    names: tuple[str, ...]
    files: dict[str, GuestFile]
    source: LinuxSource

    @staticmethod
    def program(name: str) -> str:
        """Return the guest's path of the test `name`."""
        return f"{_PLACE}/{name}"


def has_32_bit_compiler() -> bool:
    """Tell whether the host's compiler can link 32-bit programs."""
    # For a file it does not have, the compiler prints the bare name.
    found = _output(["cc", "-m32", "-print-file-name=crt1.o"]).strip()
    return "/" in found and Path(found).exists()


def x86_selftests(kernel: Kernel) -> Selftests:
    """Return the tests of the newest source package, built; the first call for `kernel` does it.

    Tests of 32-bit programs are among them if the compiler can build those. Raises ToolError if
    the source cannot be had or does not compile.
    """
    source = linux_source(kernel, _PARTS)
    both = has_32_bit_compiler()
    key = cache.content_key(source.path.name, str(both), _output(["cc", "--version"]))
    built = cache.entry("selftests", key, lambda into: _build(source.path / _HERE, into, both))
    programs = {path.name: path for path in sorted(built.iterdir())}
    files = {
        Selftests.program(name): GuestFile(path.read_bytes(), executable=True)
        for name, path in programs.items()
    }
    libraries = needed_libraries(list(programs.values()), Path("/"))
    if libraries.missing:
        raise ToolError(f"the host has no {', '.join(sorted(libraries.missing))}")
    return Selftests(tuple(programs), {**files, **libraries.files}, source)


def _build(source: Path, into: Path, both: bool) -> None:
    # The x86 tests find out themselves what can be built, and end in _32 or _64.
    _make(source / "x86", into, [])
    for bits in ("64", "32") if both else ("64",):
        place = into / bits
        place.mkdir()
        # Without CONFIG_X86_32 their Makefile leaves out a library that 32-bit code needs.
        choice = [f"CC=cc -m{bits}", *(["CONFIG_X86_32=y"] if bits == "32" else [])]
        _make(source / "vDSO", place, choice)
        for path in sorted(place.iterdir()):
            path.rename(into / f"{path.name}_{bits}")
        place.rmdir()


def _make(directory: Path, into: Path, choices: list[str]) -> None:
    command = ["make", "-C", str(directory), f"OUTPUT={into}", *choices]
    # A make that runs this must not hand its own settings down.
    inherited = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        command,
        env=inherited,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        last = "\n".join(done.stdout.splitlines()[-_LAST_LINES:])
        raise ToolError(f"the selftests in {directory.name} do not compile:\n{last}")


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout
