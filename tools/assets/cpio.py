"""Writes cpio archives in the "newc" format, the one Linux unpacks as an initial RAM disk.

Source: Documentation/driver-api/early-userspace/buffer-format.rst in the Linux tree. Each
member is a 110-byte ASCII header, the name with a terminating NUL, and the data; name and data
are each padded with NULs to a multiple of 4 bytes counted from the start of the archive.
Writing it ourselves needs neither root (for device nodes) nor a cpio command on the host.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_FIELD_MAX = 0xFFFF_FFFF


@dataclass(slots=True, frozen=True)
class Member:
    """One archive member. `name` is relative ("bin/sh"); `mode` includes the file type bits."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)  # major and minor, for device nodes


def directory(name: str) -> Member:
    """Return a directory that anybody may read and enter."""
    return Member(name, stat.S_IFDIR | 0o755)


def regular(name: str, data: bytes, *, executable: bool = False) -> Member:
    """Return a regular file with the given contents."""
    return Member(name, stat.S_IFREG | (0o755 if executable else 0o644), data)


def symlink(name: str, target: str) -> Member:
    """Return a symbolic link; `target` is stored as it is written."""
    return Member(name, stat.S_IFLNK | 0o777, target.encode())


def character_device(name: str, major: int, minor: int) -> Member:
    """Return a character device node that its owner may read and write."""
    return Member(name, stat.S_IFCHR | 0o600, device=(major, minor))


def archive(members: Iterable[Member]) -> bytes:
    """Return the archive that holds `members` in the given order.

    Parents must precede what they contain: the kernel creates no missing directories. The
    result depends on the members only (times and owners are 0), so equal inputs give equal
    archives.

    Raises ValueError for a name that the kernel would not unpack, or data of 4 GiB or more.
    """
    out = bytearray()
    for inode, member in enumerate(members, start=1):
        _check(member)
        _append(out, inode, member)
    _append(out, 0, Member(_TRAILER, 0))
    return bytes(out)


def _check(member: Member) -> None:
    if not member.name or member.name.startswith("/") or "\0" in member.name:
        raise ValueError(f"{member.name!r} cannot be the name of an archive member")
    if member.name == _TRAILER:
        raise ValueError(f"{_TRAILER} ends an archive and cannot be a member")
    if len(member.data) > _FIELD_MAX:
        raise ValueError(f"{member.name} is too large for the newc format")


def _append(out: bytearray, inode: int, member: Member) -> None:
    name = member.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(member.mode) else 1
    fields = (
        inode,
        member.mode,
        0,  # owner
        0,  # group
        links,
        0,  # modification time
        len(member.data),
        0,  # major and minor number of the device that holds the file
        0,
        *member.device,
        len(name),
        0,  # checksum, used by another magic only
    )
    out += _MAGIC + b"".join(b"%08x" % field for field in fields) + name
    out += bytes(-len(out) % 4)
    out += member.data
    out += bytes(-len(out) % 4)
