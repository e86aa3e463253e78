"""The file in which `perf` looks for the names of code that a program made: /tmp/perf-PID.map.

Source: tools/perf/Documentation/jit-interface.txt of Linux.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from wardian.base.errors import HostError
from wardian.profile.symbols import Naming

#: The only place where perf looks.
_FOLDER: Final = Path("/tmp")
#: What the core lists for a block of the kernel.
_UNNAMED: Final = re.compile(rb"guest:k:(0x[0-9a-f]+)$", re.MULTILINE)


class PerfMapFile:
    """This process's map, to which the core appends one line for each translated block.

    /tmp is shared with everybody: the file is made new, never followed or written through, and
    only its owner may read it, since addresses are what address space randomisation hides.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        #: For the core; stays open as long as this object.
        self.descriptor = descriptor

    @classmethod
    def create(cls, folder: Path = _FOLDER) -> Self:
        """Makes the file, in place of one that an earlier process of this number has left.

        Raises `HostError` HOST_PERF_MAP if the host refuses, or the old file is somebody else's.
        """
        path = folder / f"perf-{os.getpid()}.map"
        try:
            _remove_own(path)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return cls(path, os.open(path, flags, 0o600))
        except OSError as error:
            why = error.strerror or "unknown error"
            raise HostError("HOST_PERF_MAP", f"{path} cannot be made: {why}.") from None

    def put_names(self, naming: Naming) -> None:
        """Replaces the addresses of kernel blocks by what `naming` calls them.

        The core must have flushed its lines, and list none meanwhile.
        """
        listed = b"".join(self._content())
        named = _UNNAMED.sub(lambda match: _named(match, naming), listed)
        if named != listed:
            os.ftruncate(self.descriptor, 0)
            view = memoryview(named)
            while view:
                view = view[os.write(self.descriptor, view) :]

    def count(self) -> int:
        """Blocks that are listed."""
        return sum(piece.count(b"\n") for piece in self._content())

    def close(self) -> None:
        """Gives the descriptor back. The file stays for perf to read, unless nothing is in it."""
        if not self.count():
            with suppress(OSError):
                os.unlink(self.path)
        os.close(self.descriptor)

    def _content(self) -> Iterator[bytes]:
        at = 0
        while piece := os.pread(self.descriptor, 1 << 20, at):
            yield piece
            at += len(piece)


def _remove_own(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(None, "it exists and is not this user's file")
    os.unlink(path)


def _named(match: re.Match[bytes], naming: Naming) -> bytes:
    name = naming.name(int(match[1], 16), user=False)
    return b"guest:k:" + name.encode("latin-1") if name else match[0]
