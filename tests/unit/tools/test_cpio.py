"""tools/assets/cpio.py against a reader written from the format's description."""

from __future__ import annotations

import stat
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.assets.cpio import (
    Member,
    archive,
    character_device,
    directory,
    regular,
    symlink,
)


@dataclass
class Read:
    """A member as the reader below found it."""

    name: str
    mode: int
    data: bytes
    links: int
    device: tuple[int, int]
    inode: int


def read_archive(data: bytes) -> list[Read]:
    found: list[Read] = []
    at = 0
    while True:
        assert at % 4 == 0
        header = data[at : at + 110]
        assert header[:6] == b"070701"
        fields = [int(header[6 + 8 * i : 14 + 8 * i], 16) for i in range(13)]
        inode, mode, _, _, links, _, size, _, _, major, minor, name_size, check = fields
        assert check == 0
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        start = (at + 110 + name_size + 3) // 4 * 4
        content = data[start : start + size]
        assert len(content) == size
        at = (start + size + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert at == len(data)
            return found
        text = name[:-1].decode()
        found.append(Read(text, mode, content, links, (major, minor), inode))


def test_the_kinds_of_members() -> None:
    found = read_archive(
        archive(
            [
                directory("bin"),
                regular("bin/tool", b"\x7fELF", executable=True),
                regular("motd", b"hello"),
                symlink("bin/sh", "tool"),
                character_device("console", 5, 1),
            ]
        )
    )
    assert [stat.filemode(member.mode) for member in found] == [
        "drwxr-xr-x",
        "-rwxr-xr-x",
        "-rw-r--r--",
        "lrwxrwxrwx",
        "crw-------",
    ]
    assert [member.data for member in found] == [b"", b"\x7fELF", b"hello", b"tool", b""]
    assert found[4].device == (5, 1)
    assert [member.links for member in found] == [2, 1, 1, 1, 1]


names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(
    lambda name: not name.startswith("/") and name != "TRAILER!!!"
)


@given(st.lists(st.tuples(names, st.binary(max_size=300))))
def test_whatever_goes_in_comes_out(files: list[tuple[str, bytes]]) -> None:
    found = read_archive(archive(regular(name, data) for name, data in files))
    assert [(member.name, member.data) for member in found] == files
    # Equal inode numbers would make the kernel link the files to each other.
    assert len({member.inode for member in found}) == len(files)


def test_an_empty_archive_is_a_trailer() -> None:
    assert read_archive(archive([])) == []


@pytest.mark.parametrize("name", ["", "/etc/passwd", "a\0b", "TRAILER!!!"])
def test_names_the_kernel_would_not_unpack_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        archive([Member(name, stat.S_IFREG | 0o644)])
