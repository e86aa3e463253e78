"""Parts of the distribution's kernel source, from its package `linux-source`."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tools import cache
from tools.assets import distro
from tools.assets.kernel import Kernel
from tools.errors import ToolError

_PACKAGE = "linux-source"
_PROVENANCE = "provenance"


@dataclass(slots=True, frozen=True)
class LinuxSource:
    """A directory that holds part of the kernel's source tree, and where that came from."""

    path: Path
    package: str
    version: str


def linux_source(kernel: Kernel, parts: Sequence[str]) -> LinuxSource:
    """Return the files below `parts` (paths inside the source tree) of the newest source package.

    The first call for `kernel` downloads the package; later ones need no network, so that the
    source stays the one that was newest when the kernel was. Raises ToolError if it cannot be
    had, or holds nothing below one of `parts`.
    """

    def build(into: Path) -> None:
        # The plain name is an empty package that depends on the one with the kernel's version.
        named = [name for name in distro.dependencies(_PACKAGE) if name.startswith(_PACKAGE)]
        package = named[0] if named else _PACKAGE
        version = distro.version(package)
        with tempfile.TemporaryDirectory(prefix="wardian-source-", dir=into.parent) as scratch:
            distro.unpack_package(package, Path(scratch))
            tarballs = sorted(Path(scratch).rglob("linux-source-*.tar.*"))
            if not tarballs:
                raise ToolError(f"the package {package} holds no source tree")
            _extract(tarballs[0], parts, into)
        (into / _PROVENANCE).write_text(f"{package}\n{version}\n")

    key = cache.content_key(kernel.package, kernel.version, *parts)
    path = cache.entry("linux-source", key, build)
    package, version = (path / _PROVENANCE).read_text().splitlines()
    return LinuxSource(path, package, version)


def _extract(tarball: Path, parts: Sequence[str], into: Path) -> None:
    """Write the regular files of `tarball` that lie in `parts`, without its top directory."""
    missing = set(parts)
    # As a stream: seeking in a compressed archive would unpack it again and again.
    with tarfile.open(tarball, "r|*") as archive:
        for member in archive:
            inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            part = next((part for part in parts if inside.is_relative_to(part)), None)
            if part is None or ".." in inside.parts or not member.isreg():
                continue
            missing.discard(part)
            target = into / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            data = archive.extractfile(member)
            assert data is not None
            target.write_bytes(data.read())
            target.chmod(0o755 if member.mode & 0o100 else 0o644)
    if missing:
        raise ToolError(f"{tarball.name} has no {', '.join(sorted(missing))}")
