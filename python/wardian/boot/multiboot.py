"""Multiboot-1 kernels: 32-bit protected mode, EAX holds the magic, EBX points to the information.

Source: Multiboot Specification 0.6.96, sections 3.1 (header), 3.2 (machine state) and 3.3
(information).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from wardian.base.errors import CallerError
from wardian.boot import elf
from wardian.boot.entry import RAX, RBX, State, flat_protected_mode
from wardian.boot.fields import Fields
from wardian.boot.memory_map import EBDA, INFO_PAGE, LOW_RAM_LIMIT, ONE_MIB, RamLayout
from wardian.boot.placement import Bytes, Placement

_HEADER_MAGIC: Final = 0x1BAD_B002
_LOADER_MAGIC: Final = 0x2BAD_B002
_SEARCHED: Final = 8192
_HEADER_SIZE: Final = 12
_ADDRESSES_AT: Final = 12

# Bits of the header's flags. A loader must refuse a kernel that sets one of bits 0 to 15 that it
# does not know (3.1.2). Module alignment (0) and the memory map (1) are always as asked for; a
# video mode (2) is left out of the information, which tells the kernel that there is none.
_KNOWN_REQUIREMENTS: Final = 0b111
_REQUIREMENTS: Final = 0xFFFF
_HAS_ADDRESSES: Final = 1 << 16

# Bits of the information's flags: which of its fields are valid.
_INFO_MEMORY: Final = 1 << 0
_INFO_CMDLINE: Final = 1 << 2
_INFO_MODULES: Final = 1 << 3
_INFO_MEMORY_MAP: Final = 1 << 6
_INFO_LOADER_NAME: Final = 1 << 9

_INFO_SIZE: Final = 116
_MODULES: Final = INFO_PAGE + 0x100
_MEMORY_MAP: Final = INFO_PAGE + 0x200
_LOADER_NAME: Final = INFO_PAGE + 0x400
_NAME: Final = b"Wardian\0"

#: The word before the first option: boot loaders put the kernel's name there, and small kernels
#: skip one word.
_PROGRAM: Final = "kernel"


@dataclass(frozen=True, slots=True)
class _Header:
    offset: int
    flags: int


def recognise(kernel: Fields) -> bool:
    """Whether the first 8 KiB hold a Multiboot header with a right checksum."""
    return _find_header(kernel) is not None


def plan(
    kernel: Fields,
    initrd: Bytes | None,
    cmdline: str,
    ram: RamLayout,
    placement: Placement,
    acpi_rsdp: int | None,
) -> tuple[State, str]:
    """Place the kernel, the RAM disk as its only module, and the information.

    `acpi_rsdp` has no field in Multiboot-1; kernels search the BIOS area for it. Returns vCPU 0's
    state and a description. Errors are those of `plan_boot`.
    """
    header = _find_header(kernel)
    if header is None:
        raise CallerError("BOOT_NOT_A_KERNEL", "The kernel file has no Multiboot header.")
    unknown = header.flags & _REQUIREMENTS & ~_KNOWN_REQUIREMENTS
    if unknown:
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED",
            f"The kernel's Multiboot header requires features {unknown:#x}, which Multiboot-1 "
            "does not define.",
        )
    if header.flags & _HAS_ADDRESSES:
        entry = _load_by_addresses(kernel, header, placement)
    else:
        entry = _load_elf(kernel, placement)
    placement.write(INFO_PAGE, _information(initrd, cmdline, ram, placement))

    state, memory = flat_protected_mode(entry, {RAX: _LOADER_MAGIC, RBX: INFO_PAGE})
    for base, data in memory:
        placement.write(base, data)
    return state, f"Multiboot kernel, entry {entry:#x}"


def _find_header(kernel: Fields) -> _Header | None:
    start = kernel.view[: min(len(kernel), _SEARCHED) & ~3]
    words = struct.unpack(f"<{len(start) // 4}I", start)
    for index in range(len(words) - 2):
        magic, flags, checksum = words[index : index + 3]
        if magic == _HEADER_MAGIC and (magic + flags + checksum) & 0xFFFF_FFFF == 0:
            return _Header(index * 4, flags)
    return None


def _load_elf(kernel: Fields, placement: Placement) -> int:
    """Load an ELF image, of either width, at its physical addresses; return its entry.

    The entry in the header is a virtual address where the kernel is linked high; control goes to
    where that was loaded, as GRUB and QEMU have it.
    """
    if not elf.is_elf(kernel):
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED",
            "The kernel has a Multiboot header without load addresses, so it would have to be an "
            "ELF file, and is none.",
        )
    image = elf.parse(kernel)
    image.load(placement)
    entry = image.physical(image.entry)
    if not image.has_physical(entry):
        raise CallerError(
            "BOOT_KERNEL_INVALID", f"The kernel's entry {entry:#x} is outside everything it loads."
        )
    return entry


def _load_by_addresses(kernel: Fields, header: _Header, placement: Placement) -> int:
    """Load one flat range as the header's own address fields say (3.1.3); return its entry."""
    fields = kernel.slice(header.offset + _ADDRESSES_AT, 20, "the Multiboot address fields")
    header_at, load, load_end, bss_end, entry = (int(n) for n in struct.unpack("<5I", fields))
    offset = header.offset - (header_at - load)
    # 0 means "to the end of the file" and "no .bss".
    size = load_end - load if load_end else len(kernel) - offset
    end = max(bss_end, load + size)
    if header_at < load or offset < 0 or size <= 0 or not load <= entry < load + size:
        raise CallerError(
            "BOOT_KERNEL_INVALID",
            "The address fields of the kernel's Multiboot header contradict each other.",
        )
    placement.claim(load, end - load, "The kernel")
    placement.write(load, kernel.slice(offset, size, "the kernel image"))
    return entry


def _information(initrd: Bytes | None, cmdline: str, ram: RamLayout, placement: Placement) -> bytes:
    flags = _INFO_MEMORY | _INFO_CMDLINE | _INFO_MODULES | _INFO_MEMORY_MAP | _INFO_LOADER_NAME
    modules = 0
    if initrd:
        base = placement.add_initrd(initrd, LOW_RAM_LIMIT)
        # Start, end, name, reserved. The name is the empty string behind the loader's name.
        name = _LOADER_NAME + len(_NAME)
        placement.write(_MODULES, struct.pack("<4I", base, base + len(initrd), name, 0))
        modules = 1
    # Each row starts with its own size, not counting that field.
    memory_map = b"".join(
        struct.pack("<IQQI", 20, region.base, region.length, region.kind)
        for region in ram.regions()
    )
    placement.write(_MEMORY_MAP, memory_map)
    placement.write(_LOADER_NAME, _NAME + b"\0")
    info = bytearray(_INFO_SIZE)
    # flags, mem_lower and mem_upper in KiB, boot_device (not valid), cmdline, mods_count,
    # mods_addr.
    struct.pack_into(
        "<7I",
        info,
        0,
        flags,
        EBDA >> 10,
        (ram.low - ONE_MIB) >> 10,
        0,
        placement.add_cmdline(f"{_PROGRAM} {cmdline}" if cmdline else _PROGRAM),
        modules,
        _MODULES,
    )
    struct.pack_into("<2I", info, 44, len(memory_map), _MEMORY_MAP)
    struct.pack_into("<I", info, 64, _LOADER_NAME)
    return bytes(info)
