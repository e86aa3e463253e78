"""Guest programs of our own, built with the host's compiler and kept by content."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools import cache
from tools.errors import ToolError

_HELLO_I386 = Path(__file__).parent / "guest" / "hello_i386.s"


def static_c_program(source: Path) -> Path:
    """Return the optimised, statically linked x86-64 program built from one C file.

    Raises ToolError if it does not compile.
    """
    # The baseline instruction set, so that the program means the same work on every host.
    command = ["cc", "-std=gnu17", "-O2", "-march=x86-64", "-static", "-Wall", "-Wextra"]
    return _build(source, [[*command, "-o", "{out}", "{source}", "-lm"]])


def hello_i386() -> Path:
    """Return a static i386 program that prints "hello from i386" and exits with status 42."""
    assemble = ["as", "--32", "-o", "{out}.o", "{source}"]
    link = ["ld", "-m", "elf_i386", "-o", "{out}", "{out}.o"]
    return _build(_HELLO_I386, [assemble, link])


def _build(source: Path, steps: Sequence[Sequence[str]]) -> Path:
    """Run `steps`, in which {source} and {out} stand for the two paths, unless done before."""

    def build(into: Path) -> None:
        out = into / source.stem
        for step in steps:
            command = [word.format(source=source, out=out) for word in step]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ToolError(f"{source.name} could not be built: {done.stderr.strip()}")

    key = cache.content_key(source.read_bytes(), repr(steps))
    return cache.entry("programs", key, build) / source.stem
