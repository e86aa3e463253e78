"""The distribution's stress-ng with the shared libraries it needs, for a guest."""

from __future__ import annotations

from pathlib import Path

from tools import cache
from tools.assets import distro
from tools.assets.initramfs import GuestFile
from tools.assets.libraries import Libraries, needed_libraries
from tools.errors import ToolError

_PACKAGE = "stress-ng"
_PROGRAM = "usr/bin/stress-ng"
_VERSION = "stress-ng.version"
#: The C library opens it when a thread is cancelled.
_OPENED = ("libgcc_s.so.1",)
# What it needs lies in its own dependencies and in theirs; nothing deeper has been seen.
_DEEPEST = 4


def stress_ng_version() -> str:
    """Return the version of the package that `stress_ng_files` holds."""
    return (_unpacked() / _VERSION).read_text().strip()


def stress_ng_files() -> dict[str, GuestFile]:
    """Return /bin/stress-ng and its libraries; the first call downloads them.

    Raises ToolError if they cannot be had.
    """
    root = _unpacked()
    program = GuestFile((root / _PROGRAM).read_bytes(), executable=True)
    return {"/bin/stress-ng": program, **_libraries(root).files}


def _unpacked() -> Path:
    return cache.entry("stress-ng", "dynamic", _fetch)


def _fetch(into: Path) -> None:
    """Unpack the package, and of those it depends on, nearest first, as many as are needed."""
    distro.unpack_package(_PACKAGE, into)
    (into / _VERSION).write_text(distro.version(_PACKAGE))
    seen, level = {_PACKAGE}, [_PACKAGE]
    for _ in range(_DEEPEST):
        level = list(
            dict.fromkeys(
                name
                for package in level
                for name in distro.dependencies(package)
                if name not in seen and not name.startswith("<")
            )
        )
        seen.update(level)
        for package in level:
            if not _libraries(into).missing:
                return
            distro.unpack_package(package, into)
    if missing := _libraries(into).missing:
        raise ToolError(f"no package brings {', '.join(sorted(missing))} for stress-ng")


def _libraries(root: Path) -> Libraries:
    return needed_libraries([root / _PROGRAM], root, _OPENED)
