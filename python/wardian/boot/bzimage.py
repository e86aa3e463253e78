"""Linux bzImage through its 64-bit entry.

Source: Linux Documentation/arch/x86/boot.rst (setup header, "64-bit Boot Protocol") and
zero-page.rst (the fields of boot_params). Protocol 2.12, Linux 3.8, is the first that says
whether a 64-bit entry exists.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from wardian.base.errors import CallerError
from wardian.base.units import GIB
from wardian.boot.entry import RSI, State, long_mode
from wardian.boot.fields import Fields
from wardian.boot.memory_map import INFO_PAGE, ONE_MIB, PAGE, RamLayout
from wardian.boot.placement import Bytes, Placement, align_up

_SETUP_SECTS: Final = 0x1F1
_SYSSIZE: Final = 0x1F4
_BOOT_FLAG: Final = 0x1FE
_JUMP_LENGTH: Final = 0x201
_MAGIC: Final = 0x202
_VERSION: Final = 0x206
_TYPE_OF_LOADER: Final = 0x210
_LOADFLAGS: Final = 0x211
_CODE32_START: Final = 0x214
_RAMDISK_IMAGE: Final = 0x218
_RAMDISK_SIZE: Final = 0x21C
_CMD_LINE_PTR: Final = 0x228
_INITRD_ADDR_MAX: Final = 0x22C
_KERNEL_ALIGNMENT: Final = 0x230
_RELOCATABLE: Final = 0x234
_XLOADFLAGS: Final = 0x236
_CMDLINE_SIZE: Final = 0x238
_SETUP_DATA: Final = 0x250
_PREF_ADDRESS: Final = 0x258
_INIT_SIZE: Final = 0x260
#: The end of the last header field that is read here, so the least a kernel file can be.
_HEADER_END: Final = 0x264

# Fields of boot_params outside the setup header.
_ACPI_RSDP_ADDR: Final = 0x070
_EXT_RAMDISK_IMAGE: Final = 0x0C0
_EXT_RAMDISK_SIZE: Final = 0x0C4
_EXT_CMD_LINE_PTR: Final = 0x0C8
_E820_ENTRIES: Final = 0x1E8
#: Behind the header's room; the header must not reach into it.
_EDD_SIGNATURES: Final = 0x290
_E820_TABLE: Final = 0x2D0

_LOADED_HIGH: Final = 1 << 0
_XLF_KERNEL_64: Final = 1 << 0
_LOADER_UNDEFINED: Final = 0xFF
_ENTRY_64: Final = 0x200


@dataclass(frozen=True, slots=True)
class _Header:
    """What the setup header says, checked; addresses are guest-physical, sizes in bytes."""

    version: int
    payload: memoryview
    load: int
    end: int
    initrd_limit: int
    cmdline_room: int


def recognise(kernel: Fields) -> bool:
    """Whether the file has the boot sector and setup-header magic of a Linux x86 kernel."""
    return (
        len(kernel) >= _VERSION
        and kernel.u16(_BOOT_FLAG) == 0xAA55
        and bytes(kernel.slice(_MAGIC, 4, "the magic")) == b"HdrS"
    )


def plan(
    kernel: Fields,
    initrd: Bytes | None,
    cmdline: str,
    ram: RamLayout,
    placement: Placement,
    acpi_rsdp: int | None,
) -> tuple[State, str]:
    """Place kernel, RAM disk, command line and zero page; return vCPU 0's state and a description.

    Errors are those of `plan_boot`.
    """
    header = _read_header(kernel)
    placement.claim(header.load, header.end - header.load, "The kernel")
    placement.write(header.load, header.payload)
    initrd_base = placement.add_initrd(initrd, header.initrd_limit) if initrd else 0
    cmdline_base = placement.add_cmdline(cmdline, header.cmdline_room)

    page = bytearray(PAGE)
    end = min(_MAGIC + kernel.u8(_JUMP_LENGTH), _EDD_SIGNATURES)
    page[_SETUP_SECTS:end] = kernel.slice(_SETUP_SECTS, end - _SETUP_SECTS, "the setup header")
    _fill_header(page, header.load, initrd_base, len(initrd) if initrd else 0, cmdline_base)
    struct.pack_into("<Q", page, _ACPI_RSDP_ADDR, acpi_rsdp or 0)
    _fill_e820(page, ram)
    placement.write(INFO_PAGE, bytes(page))

    entry = header.load + _ENTRY_64
    state, memory = long_mode(entry, {RSI: INFO_PAGE})
    for base, data in memory:
        placement.write(base, data)
    version = f"{header.version >> 8}.{header.version & 0xFF:02}"
    return state, f"Linux bzImage (boot protocol {version}) at {header.load:#x}"


def _read_header(kernel: Fields) -> _Header:
    kernel.slice(0, _HEADER_END, "the setup header")
    version = kernel.u16(_VERSION)
    if version < 0x20C:
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED",
            f"The kernel speaks boot protocol {version >> 8}.{version & 0xFF:02}; Wardian needs "
            "2.12 (Linux 3.8) or later.",
        )
    if not kernel.u16(_XLOADFLAGS) & _XLF_KERNEL_64 or not kernel.u8(_LOADFLAGS) & _LOADED_HIGH:
        raise CallerError(
            "BOOT_KERNEL_UNSUPPORTED", "The kernel is a 32-bit Linux; Wardian boots x86-64 ones."
        )
    # boot.rst: "if it contains 0, the real value is 4".
    setup_size = ((kernel.u8(_SETUP_SECTS) or 4) + 1) * 512
    payload_size = kernel.u32(_SYSSIZE) * 16
    if payload_size <= _ENTRY_64:
        raise CallerError(
            "BOOT_KERNEL_INVALID",
            f"The kernel file is damaged: its protected-mode part has {payload_size} bytes, and "
            "the 64-bit entry is behind that.",
        )
    payload = kernel.slice(setup_size, payload_size, "the protected-mode kernel")
    load, end = _load_range(kernel, payload_size)
    return _Header(
        version=version,
        payload=payload,
        load=load,
        end=end,
        initrd_limit=kernel.u32(_INITRD_ADDR_MAX) + 1,
        cmdline_room=kernel.u32(_CMDLINE_SIZE) + 1,
    )


def _load_range(kernel: Fields, payload_size: int) -> tuple[int, int]:
    """Where the kernel goes and the end of what it needs before it can read the memory map.

    A relocatable kernel could be anywhere, but moves itself up to its preferred address; so that
    is where it goes, and only one that prefers an address a PC has no plain RAM at goes to 1 MiB.
    """
    relocatable = kernel.u8(_RELOCATABLE) != 0
    alignment = kernel.u32(_KERNEL_ALIGNMENT)
    if relocatable and (alignment & (alignment - 1) or not PAGE <= alignment <= GIB):
        raise CallerError(
            "BOOT_KERNEL_INVALID",
            f"The kernel file is damaged: {alignment:#x} cannot be a kernel's alignment.",
        )
    load = kernel.u64(_PREF_ADDRESS)
    if relocatable:
        load = align_up(max(load, ONE_MIB), alignment)
    return load, load + max(kernel.u32(_INIT_SIZE), payload_size)


def _fill_header(page: bytearray, load: int, initrd: int, initrd_size: int, cmdline: int) -> None:
    """Set what boot.rst obliges a boot loader to set; every address here is below 4 GiB."""
    page[_TYPE_OF_LOADER] = _LOADER_UNDEFINED
    struct.pack_into("<I", page, _CODE32_START, load)
    struct.pack_into("<I", page, _RAMDISK_IMAGE, initrd)
    struct.pack_into("<I", page, _RAMDISK_SIZE, initrd_size)
    struct.pack_into("<I", page, _CMD_LINE_PTR, cmdline)
    struct.pack_into("<Q", page, _SETUP_DATA, 0)
    # The upper halves of the three values above, which live outside the header.
    struct.pack_into("<I", page, _EXT_RAMDISK_IMAGE, initrd >> 32)
    struct.pack_into("<I", page, _EXT_RAMDISK_SIZE, initrd_size >> 32)
    struct.pack_into("<I", page, _EXT_CMD_LINE_PTR, cmdline >> 32)


def _fill_e820(page: bytearray, ram: RamLayout) -> None:
    regions = ram.regions()
    page[_E820_ENTRIES] = len(regions)
    for index, region in enumerate(regions):
        struct.pack_into(
            "<QQI", page, _E820_TABLE + 20 * index, region.base, region.length, region.kind
        )
