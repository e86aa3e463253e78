"""What every test may ask for: the stock kernel, and guests built around a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import pytest

from tools.assets import busybox, initramfs, kernel, programs
from tools.assets.initramfs import GuestFile


class MakeInitrd(Protocol):
    """Builds an initial RAM disk and returns its path; see `initramfs.busybox_initrd`."""

    def __call__(self, command: str, files: Mapping[str, GuestFile] | None = None) -> Path: ...


@pytest.fixture(scope="session")
def debian_kernel() -> Path:
    """The distribution's unmodified kernel image."""
    return kernel.debian_kernel().path


@pytest.fixture
def busybox_initrd(tmp_path: Path) -> MakeInitrd:
    """Builds initial RAM disks whose /init runs a shell command and powers the guest off."""

    def make(command: str, files: Mapping[str, GuestFile] | None = None) -> Path:
        path = tmp_path / f"initrd-{len(list(tmp_path.glob('initrd-*')))}.img"
        path.write_bytes(initramfs.busybox_initrd(busybox.busybox(), command, files))
        return path

    return make


@pytest.fixture(scope="session")
def hello_i386() -> GuestFile:
    """A static i386 program: prints "hello from i386", exits with status 42."""
    return GuestFile(programs.hello_i386().read_bytes(), executable=True)
