"""ELF executables, as far as a boot loader needs them: bounded, and nothing believed unchecked.

Source: System V ABI, chapters 4 (ELF header) and 5 (program header, note section).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wardian.base.errors import CallerError
from wardian.boot.fields import Fields
from wardian.boot.placement import Placement, align_up

_MAGIC: Final = b"\x7fELF"
_EM_386: Final = 3
_EM_X86_64: Final = 62
_PT_LOAD: Final = 1
_PT_NOTE: Final = 4

#: Kernels have about ten program headers and half a KiB of notes. The limits keep the work that a
#: hostile file can cause small.
_MAX_PROGRAM_HEADERS: Final = 128
_MAX_NOTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header. Addresses and sizes in bytes; the file part is inside the file."""

    kind: int
    offset: int
    virtual: int
    physical: int
    file_size: int
    memory_size: int
    alignment: int


@dataclass(frozen=True, slots=True)
class Note:
    """One entry of a note segment; `name` has lost its NUL."""

    name: bytes
    kind: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Elf:
    """An x86 executable: what to load where, and where it starts (a virtual address)."""

    file: Fields
    bits: int
    entry: int
    segments: tuple[Segment, ...]

    @property
    def loads(self) -> tuple[Segment, ...]:
        """The segments that occupy memory, in file order."""
        return tuple(s for s in self.segments if s.kind == _PT_LOAD and s.memory_size)

    def load(self, placement: Placement) -> None:
        """Claim memory for every loadable segment at its physical address, and fill it.

        Raises what `Placement.claim` raises, and BOOT_KERNEL_INVALID if nothing is to be loaded.
        """
        if not self.loads:
            raise _invalid("it has no loadable segment")
        placement.require(max(s.physical + s.memory_size for s in self.loads), "The kernel")
        for index, segment in enumerate(self.loads):
            placement.claim(
                segment.physical, segment.memory_size, f"The kernel's segment {index + 1}"
            )
            data = self.file.slice(segment.offset, segment.file_size, "a segment")
            placement.write(segment.physical, data)

    def has_physical(self, address: int) -> bool:
        """Whether `address` is inside a loaded segment."""
        return any(s.physical <= address < s.physical + s.memory_size for s in self.loads)

    def physical(self, virtual: int) -> int:
        """The physical address of `virtual`; itself if no segment has that virtual address."""
        for segment in self.loads:
            if segment.virtual <= virtual < segment.virtual + segment.memory_size:
                return segment.physical + virtual - segment.virtual
        return virtual

    def notes(self) -> Iterator[Note]:
        """Every note. Raises `CallerError` if a note reaches outside its segment."""
        left = _MAX_NOTES
        for segment in self.segments:
            if segment.kind != _PT_NOTE:
                continue
            # The ABI wants 8-byte fields aligned to 8; in practice only segments that say so are.
            alignment = 8 if segment.alignment == 8 else 4
            area = Fields(
                self.file.slice(segment.offset, segment.file_size, "a note segment"),
                "The kernel file's note segment",
            )
            offset = 0
            while offset < len(area):
                left -= 1
                if left < 0:
                    raise _invalid(f"it has more than {_MAX_NOTES} notes")
                name_size, data_size = area.u32(offset), area.u32(offset + 4)
                kind = area.u32(offset + 8)
                data_at = align_up(offset + 12 + name_size, alignment)
                name = bytes(area.slice(offset + 12, min(name_size, 64), "a note's name"))
                yield Note(name.rstrip(b"\0"), kind, area.slice(data_at, data_size, "a note"))
                offset = align_up(data_at + data_size, alignment)


def is_elf(file: Fields) -> bool:
    """Whether the file starts like an ELF file."""
    return bytes(file.view[:4]) == _MAGIC


def parse(file: Fields) -> Elf:
    """Read the header and all program headers of an x86 ELF executable.

    Raises `CallerError` BOOT_TRUNCATED, BOOT_KERNEL_INVALID or BOOT_KERNEL_UNSUPPORTED.
    """
    wide = file.u8(4) == 2
    if file.u8(4) not in (1, 2) or file.u8(5) != 1:
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED", "The kernel is an ELF file, but not a little-endian one."
        )
    if file.u16(18) not in (_EM_386, _EM_X86_64):
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED",
            f"The kernel is an ELF file for machine {file.u16(18)}, not for x86.",
        )
    if wide:
        entry, table = file.u64(24), file.u64(32)
        entry_size, count, expected = file.u16(54), file.u16(56), 56
    else:
        entry, table = file.u32(24), file.u32(28)
        entry_size, count, expected = file.u16(42), file.u16(44), 32
    if not count:
        raise _invalid("it has no program headers; an object file or library is not a kernel")
    if count > _MAX_PROGRAM_HEADERS or entry_size != expected:
        raise _invalid(f"{count} program headers of {entry_size} bytes each make no kernel")
    file.slice(table, entry_size * count, "the program header table")
    read = _segment64 if wide else _segment32
    segments = tuple(read(file, table + entry_size * i) for i in range(count))
    for segment in segments:
        if segment.kind == _PT_LOAD:
            file.slice(segment.offset, segment.file_size, "a segment")
            if segment.file_size > segment.memory_size:
                raise _invalid("a segment is larger in the file than in memory")
    return Elf(file, 64 if wide else 32, entry, segments)


def _segment64(file: Fields, at: int) -> Segment:
    return Segment(
        kind=file.u32(at),
        offset=file.u64(at + 8),
        virtual=file.u64(at + 16),
        physical=file.u64(at + 24),
        file_size=file.u64(at + 32),
        memory_size=file.u64(at + 40),
        alignment=file.u64(at + 48),
    )


def _segment32(file: Fields, at: int) -> Segment:
    return Segment(
        kind=file.u32(at),
        offset=file.u32(at + 4),
        virtual=file.u32(at + 8),
        physical=file.u32(at + 12),
        file_size=file.u32(at + 16),
        memory_size=file.u32(at + 20),
        alignment=file.u32(at + 28),
    )


def _invalid(why: str) -> CallerError:
    return CallerError("BOOT_KERNEL_INVALID", f"The kernel's ELF header is not usable: {why}.")
