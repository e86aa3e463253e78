"""The file for perf, in a folder that everybody may write to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from wardian.base.errors import HostError
from wardian.profile.perf_map import PerfMapFile
from wardian.profile.symbols import Naming, Symbol, Symbols

NAMING = Naming(Symbols([Symbol(0xFFFF_FFFF_8100_0000, "T", "work")]), 0x20_0000)
LISTED = b"""\
7f0000001000 40 guest:k:0xffffffff8120001c
7f0000001040 ff guest:u:0x401000
7f0000001140 10 guest:k:0x1000
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / f"perf-{os.getpid()}.map"


@pytest.fixture
def perf_map(tmp_path: Path, path: Path) -> Iterator[PerfMapFile]:
    made = PerfMapFile.create(tmp_path)
    assert made.path == path
    yield made
    made.close()


def test_only_the_owner_may_read_it(perf_map: PerfMapFile) -> None:
    assert stat.S_IMODE(perf_map.path.stat().st_mode) == 0o600


def test_kernel_blocks_get_names(perf_map: PerfMapFile) -> None:
    os.write(perf_map.descriptor, LISTED)
    perf_map.put_names(NAMING)
    assert perf_map.path.read_text().splitlines() == [
        "7f0000001000 40 guest:k:work+0x1c",
        "7f0000001040 ff guest:u:0x401000",
        "7f0000001140 10 guest:k:0x1000",
    ]
    assert perf_map.count() == 3


def test_a_second_life_of_the_machine_adds_to_the_first(perf_map: PerfMapFile) -> None:
    os.write(perf_map.descriptor, LISTED)
    perf_map.put_names(NAMING)
    os.write(perf_map.descriptor, b"7f0000002000 1 guest:k:0xffffffff81200000\n")
    perf_map.put_names(NAMING)
    lines = perf_map.path.read_text().splitlines()
    assert (lines[0], lines[3]) == (
        "7f0000001000 40 guest:k:work+0x1c",
        "7f0000002000 1 guest:k:work",
    )


def test_an_empty_list_leaves_no_file(tmp_path: Path) -> None:
    made = PerfMapFile.create(tmp_path)
    made.close()
    assert not list(tmp_path.iterdir())


def test_an_old_file_of_ours_is_replaced(tmp_path: Path, path: Path) -> None:
    path.write_text("of an earlier process of this number")
    other = tmp_path / "another name of the same file"
    os.link(path, other)
    made = PerfMapFile.create(tmp_path)
    os.write(made.descriptor, LISTED)
    made.close()
    assert path.read_bytes() == LISTED
    assert other.read_text() == "of an earlier process of this number"


def test_links_are_neither_followed_nor_removed(tmp_path: Path, path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    with pytest.raises(HostError, match=r"not this user's file\.$") as caught:
        PerfMapFile.create(tmp_path)
    assert caught.value.code == "HOST_PERF_MAP"
    assert path.is_symlink()
    assert victim.read_text() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot be made"):
        PerfMapFile.create(tmp_path / "none")
