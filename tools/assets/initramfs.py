"""Builds the initial RAM disk that the demo, the guest tests and the benchmark boot.

It holds the distribution's busybox under all its names, our /init (guest/init beside this
file), the command to run, and whatever files the caller adds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tools.assets import cpio
from tools.assets.busybox import Busybox

_INIT = Path(__file__).parent / "guest" / "init"
_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "wardian")


@dataclass(slots=True, frozen=True)
class GuestFile:
    """A file to place in the guest."""

    data: bytes
    executable: bool = False


def busybox_initrd(
    busybox: Busybox, command: str, files: Mapping[str, GuestFile] | None = None
) -> bytes:
    """Return an initial RAM disk whose /init runs `command` and then powers the machine off.

    `command` is a shell script of any length and quoting: it travels as a file, never through
    the kernel command line. `files` maps absolute guest paths to contents. Boot it with
    `wardian.nonce=<word>` on the kernel command line and read the result with
    `tools.assets.reports`.

    Raises ValueError if a path in `files` is not absolute.
    """
    files = dict(files or {})
    directories = {PurePosixPath(name) for name in _DIRECTORIES}
    placed = []
    for path, file in sorted(files.items()):
        if not path.startswith("/"):
            raise ValueError(f"the guest path {path!r} is not absolute")
        inside = PurePosixPath(path.lstrip("/"))
        directories.update(parent for parent in inside.parents if parent.name)
        placed.append(cpio.regular(str(inside), file.data, executable=file.executable))
    return cpio.archive(
        [
            *(cpio.directory(str(name)) for name in sorted(directories)),
            # The kernel opens the console before /init has mounted anything on /dev.
            cpio.character_device("dev/console", 5, 1),
            cpio.character_device("dev/null", 1, 3),
            cpio.regular("bin/busybox", busybox.data, executable=True),
            *(cpio.symlink(f"bin/{name}", "busybox") for name in busybox.applets),
            cpio.regular("init", _INIT.read_bytes(), executable=True),
            cpio.regular("wardian/command", command.encode() + b"\n"),
            *placed,
        ]
    )
