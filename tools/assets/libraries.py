"""Finds the shared libraries that a program needs, so that it also starts in a bare guest."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.assets.initramfs import GuestFile
from tools.errors import ToolError

# Where Debian's dynamic loaders look without being told (ld.so(8)), by ELF class.
_PLACES = {
    "ELF64": ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"),
    "ELF32": ("lib32", "usr/lib32", "lib/i386-linux-gnu", "usr/lib/i386-linux-gnu"),
}
_CLASS = re.compile(r"Class:\s+(ELF\d+)")
_NEEDED = re.compile(r"\(NEEDED\)\s+Shared library: \[(.+)\]")
_LOADER = re.compile(r"Requesting program interpreter: (/[^\]]+)\]")


@dataclass(slots=True)
class Libraries:
    """What some programs need: files by their place in the guest, and names nobody offers."""

    files: dict[str, GuestFile] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)


def needed_libraries(programs: Sequence[Path], root: Path, extra: Sequence[str] = ()) -> Libraries:
    """Return the libraries and dynamic loaders that `programs` need, found below `root`.

    They keep their places, where the loader finds them in the guest as well. `extra` names
    libraries that a program opens while it runs; those are 64-bit ones. Raises ToolError for a
    program that is not an ELF file.
    """
    found = Libraries()
    wanted: set[tuple[str, str]] = {("ELF64", name) for name in extra}
    seen: set[tuple[str, str]] = set()
    for program in programs:
        wanted |= _wants(program)
    while wanted:
        seen |= wanted
        found_now = [(name, _find(root, kind, name)) for kind, name in sorted(wanted)]
        wanted = set()
        for name, place in found_now:
            if place is None:
                found.missing.add(name)
                continue
            path = _inside(root, place)
            found.files[f"/{place}"] = GuestFile(path.read_bytes(), executable=True)
            wanted |= _wants(path) - seen
    return found


def _wants(program: Path) -> set[tuple[str, str]]:
    """Return the ELF class and the name, or the loader's path, of what `program` needs itself."""
    done = subprocess.run(
        ["readelf", "--wide", "--file-header", "--dynamic", "--program-headers", program],
        capture_output=True,
        text=True,
        check=False,
    )
    kind = _CLASS.search(done.stdout)
    if kind is None:
        raise ToolError(f"{program.name} is not an ELF file: {done.stderr.strip()}")
    names = _NEEDED.findall(done.stdout) + _LOADER.findall(done.stdout)
    return {(kind[1], name) for name in names}


def _find(root: Path, kind: str, name: str) -> str | None:
    """Return the place below `root` of the library `name`, or of the loader at path `name`."""
    places = [name[1:]] if name.startswith("/") else [f"{at}/{name}" for at in _PLACES[kind]]
    return next((place for place in places if _inside(root, place).is_file()), None)


def _inside(root: Path, place: str) -> Path:
    """Return the file at `place`, following links as if `root` were the root directory."""
    path = root / place
    while path.is_symlink():
        target = path.readlink()
        path = root / target.relative_to("/") if target.is_absolute() else path.parent / target
    return path
