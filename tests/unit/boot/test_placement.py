from __future__ import annotations

import pytest

from wardian.base.errors import CallerError
from wardian.base.units import GIB, MIB
from wardian.boot.memory_map import CMDLINE, RamLayout
from wardian.boot.placement import Placement, align_down, align_up


def placement(size: int = 64 * MIB) -> Placement:
    return Placement(RamLayout.for_size(size))


def test_alignment() -> None:
    assert [align_up(n, 8) for n in (0, 1, 8, 9)] == [0, 8, 8, 16]
    assert [align_down(n, 8) for n in (0, 7, 8, 15)] == [0, 0, 8, 8]


def test_claims_that_touch_do_not_overlap() -> None:
    p = placement()
    p.claim(1 * MIB, MIB, "The kernel")
    p.claim(2 * MIB, MIB, "The module")
    assert p.kernel_end() == 3 * MIB


@pytest.mark.parametrize("base", [0, 0x500, 0x7FFF, 0x2_0000, 0x9_FFFF, 0xF_FFFF, 1 * MIB])
def test_overlap_is_refused_and_names_both(base: int) -> None:
    p = placement()
    p.claim(1 * MIB, 1, "The kernel")
    with pytest.raises(CallerError) as raised:
        p.claim(base, 0x1000, "The kernel's segment 2")
    assert raised.value.code == "BOOT_LOAD_OVERLAP"
    assert "The kernel's segment 2" in raised.value.message


def test_memory_between_the_boot_areas_can_be_had() -> None:
    p = placement()
    p.claim(0x1_0000, 0x1_0000, "The kernel")
    # GNU ld puts the ELF headers of a kernel linked at 1 MiB into the page before it.
    p.claim(0xF_F000, 0x2000, "The kernel's segment 1")
    assert p.kernel_end() == 0x10_1000


@pytest.mark.parametrize(
    ("end", "code", "says"),
    [
        (64 * MIB + 1, "BOOT_MEMORY_TOO_SMALL", "at least 65 MiB"),
        (0xB000_0000, "BOOT_MEMORY_TOO_SMALL", "at least 2816 MiB"),
        (0xB000_0001, "BOOT_LOAD_ADDRESS", "0xb0000001"),
        (2**64, "BOOT_LOAD_ADDRESS", "0x10000000000000000"),
    ],
)
def test_outside_ram(end: int, code: str, says: str) -> None:
    with pytest.raises(CallerError) as raised:
        placement().claim(end - 1, 1, "The kernel")
    assert raised.value.code == code
    assert says in raised.value.message


def test_initrd_is_page_aligned_below_the_limit() -> None:
    p = placement()
    p.claim(1 * MIB, MIB, "The kernel")
    assert p.add_initrd(b"x" * 4097, 2 * GIB) == 64 * MIB - 8192
    assert p.pieces == [(64 * MIB - 8192, b"x" * 4097)]
    assert placement().add_initrd(b"x", 32 * MIB + 5) == 32 * MIB - 4096


def test_initrd_may_fill_everything() -> None:
    p = placement(8 * MIB)
    p.claim(1 * MIB, MIB, "The kernel")
    assert p.add_initrd(bytes(6 * MIB), 2 * GIB) == 2 * MIB


def test_initrd_that_needs_more_memory_says_how_much() -> None:
    p = placement(8 * MIB)
    p.claim(1 * MIB, MIB, "The kernel")
    with pytest.raises(CallerError) as raised:
        p.add_initrd(bytes(6 * MIB + 1), 2 * GIB)
    assert raised.value.code == "BOOT_MEMORY_TOO_SMALL"
    assert "at least 9 MiB" in raised.value.message


def test_initrd_that_no_memory_would_help() -> None:
    p = placement(64 * MIB)
    p.claim(1 * MIB, MIB, "The kernel")
    with pytest.raises(CallerError) as raised:
        p.add_initrd(bytes(4097), 2 * MIB + 4096)
    assert raised.value.code == "BOOT_INITRD_TOO_BIG"


def test_cmdline_is_nul_terminated_bytes() -> None:
    p = placement()
    assert p.add_cmdline("root=\udcff é") == CMDLINE
    assert p.pieces == [(CMDLINE, b"root=\xff \xc3\xa9\0")]


@pytest.mark.parametrize(
    ("cmdline", "room", "code"),
    [
        ("x" * 8, 8, "BOOT_CMDLINE_TOO_LONG"),
        ("x", 0, "BOOT_CMDLINE_TOO_LONG"),
        ("x" * 0x1_0000, 2**32, "BOOT_CMDLINE_TOO_LONG"),
        ("a\0b", 100, "BOOT_CMDLINE_INVALID"),
        ("\ud800", 100, "BOOT_CMDLINE_INVALID"),
    ],
)
def test_cmdline_that_cannot_be(cmdline: str, room: int, code: str) -> None:
    with pytest.raises(CallerError) as raised:
        placement().add_cmdline(cmdline, room)
    assert raised.value.code == code


def test_cmdline_that_just_fits() -> None:
    placement().add_cmdline("x" * 7, 8)
