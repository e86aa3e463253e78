"""The distribution's own kernel for virtual machines, byte for byte as it was packaged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tools import cache
from tools.assets import distro
from tools.errors import ToolError


@dataclass(slots=True, frozen=True)
class Kernel:
    """A kernel image and where it came from."""

    path: Path
    package: str
    version: str
    sha256: str


def debian_kernel() -> Kernel:
    """Return the kernel of `linux-image-cloud-amd64` (Ubuntu: `linux-image-virtual`).

    The first call downloads it; later calls need no network, and keep the same kernel until
    the cache is deleted. Raises ToolError if it cannot be had.
    """
    current = cache.CACHE / "kernel" / "current.json"
    if current.exists():
        kernel = _read(current)
        if kernel is not None:
            return kernel
    kernel = _fetch()
    record = {**asdict(kernel), "path": str(kernel.path.relative_to(current.parent))}
    cache.write(current, json.dumps(record, indent=2).encode() + b"\n")
    return kernel


def _read(current: Path) -> Kernel | None:
    """Return the recorded kernel, or None if its file is no longer what was recorded."""
    record = json.loads(current.read_text())
    path = current.parent / record.pop("path")
    if not path.exists() or _digest(path) != record["sha256"]:
        return None
    return Kernel(path, **record)


def _fetch() -> Kernel:
    meta = "linux-image-virtual" if distro.is_ubuntu() else "linux-image-cloud-amd64"
    # The named package is empty: it depends on the one with the newest kernel's version in its
    # name, and that one holds the kernel.
    images = [name for name in distro.dependencies(meta) if name.startswith("linux-image-")]
    if not images:
        raise ToolError(f"the package {meta} is unknown here: is the package archive reachable?")
    package, version = images[0], distro.version(images[0])

    def unpack(into: Path) -> None:
        distro.unpack_package(package, into)

    unpacked = cache.entry("kernel", cache.content_key(package, version), unpack)
    found = sorted((unpacked / "boot").glob("vmlinuz-*"))
    if not found:
        raise ToolError(f"the package {package} holds no kernel")
    return Kernel(found[0], package, version, _digest(found[0]))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
