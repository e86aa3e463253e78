"""Small kernel files with valid headers: what the boot tests load and the fuzzer damages."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

#: `hlt` forever, enough to tell that a CPU arrived.
CODE: Final = b"\xf4\xeb\xfd"


@dataclass(frozen=True, slots=True, kw_only=True)
class BzImage:
    """The fields of a Linux setup header that a boot loader reads; `build` makes the file."""

    setup_sects: int = 4
    version: int = 0x20F
    loadflags: int = 1
    xloadflags: int = 0x7F
    initrd_addr_max: int = 0x7FFF_FFFF
    kernel_alignment: int = 0x20_0000
    relocatable: int = 1
    cmdline_size: int = 2047
    pref_address: int = 0x100_0000
    init_size: int = 0x20_0000
    payload: bytes = b"\x00" * 0x200 + CODE + b"\x00" * (0x1000 - 0x203)

    def build(self) -> bytes:
        """The file: boot sector, setup, protected-mode kernel."""
        setup = bytearray(((self.setup_sects or 4) + 1) * 512)
        setup[0x1F1] = self.setup_sects
        struct.pack_into("<I", setup, 0x1F4, len(self.payload) // 16)
        struct.pack_into("<H", setup, 0x1FA, 0xFFFF)  # vid_mode: normal
        struct.pack_into("<H", setup, 0x1FE, 0xAA55)
        setup[0x200:0x202] = b"\xeb\x6a"
        setup[0x202:0x206] = b"HdrS"
        struct.pack_into("<H", setup, 0x206, self.version)
        setup[0x211] = self.loadflags
        struct.pack_into("<I", setup, 0x22C, self.initrd_addr_max)
        struct.pack_into("<I", setup, 0x230, self.kernel_alignment)
        setup[0x234] = self.relocatable
        struct.pack_into("<H", setup, 0x236, self.xloadflags)
        struct.pack_into("<I", setup, 0x238, self.cmdline_size)
        struct.pack_into("<Q", setup, 0x258, self.pref_address)
        struct.pack_into("<I", setup, 0x260, self.init_size)
        return bytes(setup) + self.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfSegment:
    """A program header and its bytes; `memory_size` None means as large as the file part."""

    kind: int
    data: bytes
    physical: int = 0
    virtual: int | None = None
    memory_size: int | None = None
    alignment: int = 4


def build_elf(bits: int, entry: int, segments: Sequence[ElfSegment], machine: int = 0) -> bytes:
    """An ELF executable for x86 of 32 or 64 `bits`; the segments' data follow the headers."""
    wide = bits == 64
    header_size, entry_size = (64, 56) if wide else (52, 32)
    machine = machine or (62 if wide else 3)
    identity = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + bytes(9)
    fields = (2, machine, 1, entry, header_size, 0, 0, header_size, entry_size, len(segments))
    header = identity + struct.pack("<HHIQQQIHHH6x" if wide else "<HHIIIIIHHH6x", *fields)
    table, body = b"", b""
    offset = header_size + entry_size * len(segments)
    for s in segments:
        virtual = s.physical if s.virtual is None else s.virtual
        size = len(s.data)
        memory = size if s.memory_size is None else s.memory_size
        at = offset + len(body)
        if wide:
            table += struct.pack(
                "<IIQQQQQQ", s.kind, 7, at, virtual, s.physical, size, memory, s.alignment
            )
        else:
            table += struct.pack(
                "<IIIIIIII", s.kind, at, virtual, s.physical, size, memory, 7, s.alignment
            )
        body += s.data
    return header + table + body


def pvh_note(entry: int, size: int = 4) -> bytes:
    """The note with which a kernel offers its PVH entry, as an address of `size` bytes."""
    return struct.pack("<III4s", 4, size, 18, b"Xen") + entry.to_bytes(size, "little")


def build_pvh(bits: int = 64, entry: int = 0x10_0000) -> bytes:
    """A kernel with one loaded segment of three bytes and 8 KiB of memory, and a PVH note."""
    other = struct.pack("<III4s", 4, 4, 6, b"Xen") + b"any\0"
    return build_elf(
        bits,
        entry,
        [
            ElfSegment(kind=1, data=CODE, physical=0x10_0000, memory_size=0x2000),
            ElfSegment(kind=4, data=other + pvh_note(entry, bits // 8)),
        ],
    )


def multiboot_header(flags: int = 3, addresses: Sequence[int] = ()) -> bytes:
    """The Multiboot-1 header: magic, flags, checksum, and address fields if there are any."""
    magic = 0x1BAD_B002
    checksum = -(magic + flags) & 0xFFFF_FFFF
    return struct.pack(f"<{3 + len(addresses)}I", magic, flags, checksum, *addresses)


def build_multiboot_elf(bits: int = 32, virtual: int = 0x10_0000) -> bytes:
    """A Multiboot ELF at 1 MiB, linked to run at `virtual`; its entry is behind the header."""
    code = multiboot_header() + CODE
    segment = ElfSegment(kind=1, data=code, physical=0x10_0000, virtual=virtual, memory_size=0x3000)
    return build_elf(bits, virtual + 12, [segment])


def build_multiboot_flat(load: int = 0x20_0000) -> bytes:
    """A Multiboot kernel that is no ELF: 16 bytes, then the header with its load addresses."""
    header_at = load + 16
    end = load + 16 + 32 + len(CODE)
    header = multiboot_header(1 << 16 | 3, (header_at, load, end, end + 0x1000, header_at + 32))
    return bytes(16) + header + CODE
