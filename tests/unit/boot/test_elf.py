from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.boot.images import CODE, ElfSegment, build_elf, pvh_note
from wardian.base.errors import CallerError
from wardian.base.units import MIB
from wardian.boot import elf
from wardian.boot.fields import Fields
from wardian.boot.memory_map import RamLayout
from wardian.boot.placement import Placement

LOAD = ElfSegment(kind=1, data=CODE, physical=0x10_0000, virtual=0xC010_0000, memory_size=0x2000)


def parse(data: bytes) -> elf.Elf:
    return elf.parse(Fields(data, "The kernel file"))


def code_of(data: bytes) -> str:
    with pytest.raises(CallerError) as raised:
        image = parse(data)
        list(image.notes())
        image.load(Placement(RamLayout.for_size(64 * MIB)))
    return raised.value.code


@pytest.mark.parametrize("bits", [32, 64])
def test_segments_go_to_their_physical_addresses(bits: int) -> None:
    image = parse(build_elf(bits, 0xC010_0001, [LOAD]))
    assert (image.bits, image.entry) == (bits, 0xC010_0001)
    placement = Placement(RamLayout.for_size(64 * MIB))
    image.load(placement)
    assert [(base, bytes(data)) for base, data in placement.pieces] == [(0x10_0000, CODE)]
    assert placement.kernel_end() == 0x10_2000
    assert image.physical(0xC010_0001) == 0x10_0001
    assert image.physical(0xC010_2000) == 0xC010_2000
    assert image.has_physical(0x10_1FFF)
    assert not image.has_physical(0x10_2000)


@pytest.mark.parametrize("bits", [32, 64])
def test_notes(bits: int) -> None:
    notes = struct.pack("<III4sI", 3, 2, 7, b"GN\0x", 0x0000_BBAA) + pvh_note(0x1234)
    image = parse(build_elf(bits, 0, [LOAD, ElfSegment(kind=4, data=notes)]))
    assert [(n.name, n.kind, bytes(n.data)) for n in image.notes()] == [
        (b"GN", 7, b"\xaa\xbb"),
        (b"Xen", 18, b"\x34\x12\0\0"),
    ]


def test_notes_of_8_byte_alignment() -> None:
    first = struct.pack("<III4s5s3x", 4, 5, 1, b"GNU\0", b"12345")
    segment = ElfSegment(kind=4, data=first + pvh_note(1), alignment=8)
    image = parse(build_elf(64, 0, [LOAD, segment]))
    assert [note.kind for note in image.notes()] == [1, 18]


def test_overlapping_segments_are_refused() -> None:
    assert code_of(build_elf(64, 0, [LOAD, LOAD])) == "BOOT_LOAD_OVERLAP"


def test_too_little_memory_counts_all_segments() -> None:
    far = ElfSegment(kind=1, data=CODE, physical=80 * MIB)
    with pytest.raises(CallerError) as raised:
        parse(build_elf(64, 0, [LOAD, far])).load(Placement(RamLayout.for_size(4 * MIB)))
    assert "The kernel needs at least 81 MiB" in raised.value.message


def change(offset: int, form: str, value: int, bits: int = 64) -> bytes:
    data = bytearray(build_elf(bits, 0, [LOAD, ElfSegment(kind=4, data=pvh_note(1))]))
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x7fELF", "BOOT_TRUNCATED"),
        (change(4, "<B", 3), "BOOT_KERNEL_UNSUPPORTED"),
        (change(5, "<B", 2), "BOOT_KERNEL_UNSUPPORTED"),
        (change(18, "<H", 183), "BOOT_KERNEL_UNSUPPORTED"),
        (change(32, "<Q", 2**64 - 1), "BOOT_TRUNCATED"),
        (change(54, "<H", 57), "BOOT_KERNEL_INVALID"),
        (change(56, "<H", 0), "BOOT_KERNEL_INVALID"),
        (change(56, "<H", 0xFFFF), "BOOT_KERNEL_INVALID"),
        (change(56, "<H", 100), "BOOT_TRUNCATED"),
        (change(64 + 8, "<Q", 2**64 - 1), "BOOT_TRUNCATED"),
        (change(64 + 32, "<Q", 2**64 - 1), "BOOT_TRUNCATED"),
        (change(64 + 40, "<Q", 2**64 - 1), "BOOT_LOAD_ADDRESS"),
        (change(64 + 40, "<Q", 1), "BOOT_KERNEL_INVALID"),
        (change(64 + 40, "<Q", 128 * MIB), "BOOT_MEMORY_TOO_SMALL"),
        (change(64 + 24, "<Q", 2**64 - 1), "BOOT_LOAD_ADDRESS"),
        (change(64 + 24, "<Q", 0), "BOOT_LOAD_OVERLAP"),
        (change(64, "<I", 2), "BOOT_KERNEL_INVALID"),
        (change(120 + 32, "<Q", 2**63), "BOOT_TRUNCATED"),
        (change(176 + 3, "<I", 2**32 - 1), "BOOT_TRUNCATED"),
        (change(176 + 7, "<I", 2**32 - 1), "BOOT_TRUNCATED"),
        (change(42, "<H", 33, bits=32), "BOOT_KERNEL_INVALID"),
        (change(52 + 20, "<I", 2**32 - 1, bits=32), "BOOT_LOAD_ADDRESS"),
    ],
)
def test_damaged(data: bytes, code: str) -> None:
    assert code_of(data) == code


def test_endless_notes_end() -> None:
    empty = ElfSegment(kind=4, data=bytes(12 * 5000))
    assert code_of(build_elf(64, 0, [LOAD, empty])) == "BOOT_KERNEL_INVALID"


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic(tail: bytes) -> None:
    try:
        list(parse(b"\x7fELF" + tail).notes())
    except CallerError as error:
        assert error.code.startswith("BOOT_")
