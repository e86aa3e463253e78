"""tools/assets/initramfs.py: what is in the RAM disk, and that its parents come first."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tests.unit.tools.test_cpio import read_archive
from tools.assets.busybox import Busybox
from tools.assets.initramfs import GuestFile, busybox_initrd


@pytest.fixture
def fake_busybox(tmp_path: Path) -> Busybox:
    path = tmp_path / "busybox"
    path.write_bytes(b"\x7fELF busybox")
    return Busybox(path, ("cat", "sh"))


def test_the_command_travels_unchanged(fake_busybox: Busybox) -> None:
    command = "echo '$HOME' \"a\\b\" `id` ü; exit 3"
    found = {m.name: m for m in read_archive(busybox_initrd(fake_busybox, command))}
    assert found["wardian/command"].data == command.encode() + b"\n"
    assert found["bin/busybox"].data == b"\x7fELF busybox"
    assert found["bin/sh"].data == b"busybox"
    assert found["init"].mode & 0o111


def test_parents_come_first(fake_busybox: Busybox) -> None:
    files = {"/opt/a/b/tool": GuestFile(b"x", executable=True), "/etc/motd": GuestFile(b"y")}
    found = read_archive(busybox_initrd(fake_busybox, "true", files))
    seen: set[str] = set()
    for member in found:
        parent = str(PurePosixPath(member.name).parent)
        assert parent == "." or parent in seen, member.name
        assert member.name not in seen
        seen.add(member.name)
    assert {"opt/a/b/tool", "etc/motd"} <= seen


def test_equal_inputs_give_equal_disks(fake_busybox: Busybox) -> None:
    assert busybox_initrd(fake_busybox, "true") == busybox_initrd(fake_busybox, "true")


def test_a_relative_guest_path_is_refused(fake_busybox: Busybox) -> None:
    with pytest.raises(ValueError, match="not absolute"):
        busybox_initrd(fake_busybox, "true", {"etc/motd": GuestFile(b"")})
