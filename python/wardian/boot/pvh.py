"""ELF kernels through the PVH entry: 32-bit protected mode, EBX points to hvm_start_info.

Source: Xen docs/misc/pvh.pandoc and xen/include/public/arch-x86/hvm/start_info.h; the entry is
the note XEN_ELFNOTE_PHYS32_ENTRY of xen/include/public/elfnote.h.
"""

from __future__ import annotations

import struct
from typing import Final

from wardian.base.errors import CallerError
from wardian.boot import elf
from wardian.boot.entry import RBX, State, flat_protected_mode
from wardian.boot.fields import Fields
from wardian.boot.memory_map import INFO_PAGE, LOW_RAM_LIMIT, RamLayout
from wardian.boot.placement import Bytes, Placement

_NOTE_OWNER: Final = b"Xen"
_PHYS32_ENTRY: Final = 18

_START_MAGIC: Final = 0x336E_C578
_VERSION: Final = 1

_MODULES: Final = INFO_PAGE + 0x100
_MEMORY_MAP: Final = INFO_PAGE + 0x200


def recognise(kernel: Fields) -> bool:
    """Whether the file is ELF with a PVH entry note. Raises `CallerError` for a damaged ELF."""
    return elf.is_elf(kernel) and _entry_note(elf.parse(kernel)) is not None


def plan(
    kernel: Fields,
    initrd: Bytes | None,
    cmdline: str,
    ram: RamLayout,
    placement: Placement,
    acpi_rsdp: int | None,
) -> tuple[State, str]:
    """Place segments, RAM disk and start info; return vCPU 0's state and a description.

    Errors are those of `plan_boot`.
    """
    image = elf.parse(kernel)
    note = _entry_note(image)
    if note is None or len(note.data) not in (4, 8):
        raise CallerError(
            "BOOT_KERNEL_INVALID", "The kernel's PVH entry note holds no 32- or 64-bit address."
        )
    entry = int.from_bytes(note.data, "little")
    image.load(placement)
    if not image.has_physical(entry):
        raise CallerError(
            "BOOT_KERNEL_INVALID",
            f"The kernel's PVH entry {entry:#x} is outside everything it loads.",
        )
    modules = b""
    if initrd:
        base = placement.add_initrd(initrd, LOW_RAM_LIMIT)
        # hvm_modlist_entry: address, size, command line, reserved.
        modules = struct.pack("<4Q", base, len(initrd), 0, 0)
        placement.write(_MODULES, modules)
    memory_map = b"".join(
        struct.pack("<QQII", region.base, region.length, region.kind, 0) for region in ram.regions()
    )
    placement.write(_MEMORY_MAP, memory_map)
    start_info = struct.pack(
        "<4I4Q2I",
        _START_MAGIC,
        _VERSION,
        0,  # flags
        1 if modules else 0,
        _MODULES if modules else 0,
        placement.add_cmdline(cmdline),
        acpi_rsdp or 0,
        _MEMORY_MAP,
        len(ram.regions()),
        0,  # reserved
    )
    placement.write(INFO_PAGE, start_info)

    state, memory = flat_protected_mode(entry, {RBX: INFO_PAGE})
    for base, data in memory:
        placement.write(base, data)
    return state, f"ELF{image.bits} kernel through PVH, entry {entry:#x}"


def _entry_note(image: elf.Elf) -> elf.Note | None:
    for note in image.notes():
        if note.name == _NOTE_OWNER and note.kind == _PHYS32_ENTRY:
            return note
    return None
