"""The distribution's statically linked busybox: every program of the guest in one file."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tools import cache
from tools.assets import distro
from tools.errors import ToolError


@dataclass(slots=True, frozen=True)
class Busybox:
    """The program, and the names under which it offers its applets."""

    path: Path
    applets: tuple[str, ...]

    @property
    def data(self) -> bytes:
        """The program's bytes."""
        return self.path.read_bytes()


def busybox() -> Busybox:
    """Return the busybox of the package `busybox-static`, downloading it on the first call.

    Raises ToolError if it cannot be had.
    """
    # Nothing a guest shows depends on busybox's version, so the first one fetched stays.
    unpacked = cache.entry(
        "busybox", "static", lambda into: distro.unpack_package("busybox-static", into)
    )
    candidates = [unpacked / "bin" / "busybox", unpacked / "usr" / "bin" / "busybox"]
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        raise ToolError("the package busybox-static holds no busybox")
    listed = subprocess.run([path, "--list"], capture_output=True, text=True, check=True)
    return Busybox(path, tuple(name for name in listed.stdout.split() if name != "busybox"))
