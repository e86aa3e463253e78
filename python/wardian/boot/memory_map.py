"""Where everything is in guest-physical memory: the one place that says so.

    0x0000_0400  BIOS data area                     0x0000_7000  zero page | start info | info
    0x0000_0500  GDT of the entry state             0x0000_8000  one page of stack
                                                    0x0000_9000  page tables (6 pages)
    0x0002_0000  command line (64 KiB)
    0x0009_FC00  extended BIOS data area (1 KiB), RAM but reserved
    0x000A_0000  reserved: a PC has video memory and option ROMs here; RAM that nobody uses
    0x000E_0000  ACPI tables, RSDP first            (64 KiB, reserved)
    0x000F_0000  reserved; but a kernel linked at 1 MiB often has its ELF headers just below that
    0x0010_0000  kernel (where its file says) ... initial RAM disk (as high as it may be)
    0xB000_0000  end of low RAM; PCI Express configuration space (ECAM), 256 MiB, reserved
    0xC000_0000  memory of PCI devices
    0xFEC0_0000  I/O APIC
    0xFEE0_0000  local APIC
    0x1_0000_0000  the RAM that did not fit below ECAM

What a machine has below 1 MiB is RAM from end to end; "reserved" is what the guest is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wardian.base.errors import CallerError
from wardian.base.units import MIB, format_size

PAGE: Final = 4096

BDA: Final = 0x400
GDT: Final = 0x500
#: The page with which each protocol describes the machine to the kernel.
INFO_PAGE: Final = 0x7000
STACK_TOP: Final = 0x9000
PAGE_TABLES: Final = 0x9000
CMDLINE: Final = 0x2_0000
CMDLINE_ROOM: Final = 0x1_0000

EBDA: Final = 0x9_FC00
#: ACPI 6.5, 5.2.5.1: on a PC the RSDP is found on a 16-byte boundary from here to 1 MiB.
ACPI_TABLES: Final = 0xE_0000
ACPI_TABLES_END: Final = 0xF_0000
RSDP: Final = ACPI_TABLES
ONE_MIB: Final = 0x10_0000

#: Room that no kernel may be loaded over, as (first byte, end).
BOOT_AREAS: Final = (
    (BDA, 0x600),
    (INFO_PAGE, 0xF000),
    (CMDLINE, CMDLINE + CMDLINE_ROOM),
    (EBDA, ACPI_TABLES_END),
)

ECAM_BASE: Final = 0xB000_0000
ECAM_LENGTH: Final = 0x1000_0000
#: One bus is 1 MiB of ECAM (PCI Express Base 5.0, 7.2.2).
ECAM_BUSES: Final = ECAM_LENGTH // MIB
LOW_RAM_LIMIT: Final = ECAM_BASE

PCI_MMIO_BASE: Final = 0xC000_0000
PCI_MMIO_END: Final = 0xFEC0_0000
IOAPIC_BASE: Final = 0xFEC0_0000
LAPIC_BASE: Final = 0xFEE0_0000
HIGH_RAM_BASE: Final = 0x1_0000_0000

#: The least that holds the areas below 1 MiB and a test kernel.
MIN_RAM: Final = 2 * MIB
#: Half of what 40 address bits reach; see PHYSICAL_ADDRESS_BITS in wardian.cpu.leaves.
MAX_RAM: Final = 1 << 39


class RegionKind(IntEnum):
    """What a region is to the guest: the types of INT 15h AX=E820h (ACPI 6.5, table 15.4).

    PVH and Multiboot use the same numbers.
    """

    RAM = 1
    RESERVED = 2


@dataclass(frozen=True, slots=True)
class Region:
    """One row of the boot-time memory map, in bytes."""

    base: int
    length: int
    kind: RegionKind

    @property
    def end(self) -> int:
        """The first byte behind the region."""
        return self.base + self.length


@dataclass(frozen=True, slots=True)
class RamLayout:
    """How a machine's RAM lies in guest-physical memory: `low` bytes from 0, `high` from 4 GiB."""

    low: int
    high: int

    @classmethod
    def for_size(cls, size: int) -> RamLayout:
        """Lay out `size` bytes, a multiple of 4096.

        Raises `CallerError` BOOT_MEMORY_TOO_SMALL below 2 MiB, and BOOT_MEMORY_SIZE for a size
        that is above 512 GiB or not whole pages.
        """
        if size < MIN_RAM:
            raise CallerError(
                "BOOT_MEMORY_TOO_SMALL",
                f"A machine needs at least {MIN_RAM // MIB} MiB of memory, not {size} bytes.",
            )
        if size % PAGE or size > MAX_RAM:
            raise CallerError(
                "BOOT_MEMORY_SIZE",
                f"Memory must be whole pages of {PAGE} bytes, at most {format_size(MAX_RAM)}; "
                f"{format_size(size)} is not.",
            )
        low = min(size, LOW_RAM_LIMIT)
        return cls(low, size - low)

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """What to map, as (guest-physical address, length in bytes)."""
        low = (0, self.low)
        return (low, (HIGH_RAM_BASE, self.high)) if self.high else (low,)

    def regions(self) -> tuple[Region, ...]:
        """The memory map that every boot protocol hands to its kernel, ascending, disjoint."""
        ram, reserved = RegionKind.RAM, RegionKind.RESERVED
        rows = [
            Region(0, EBDA, ram),
            Region(EBDA, ONE_MIB - EBDA, reserved),
            Region(ONE_MIB, self.low - ONE_MIB, ram),
            # PCI Firmware 3.3, 4.1.2: ECAM must be reserved here or in a motherboard resource;
            # Linux accepts it early in the boot only from here.
            Region(ECAM_BASE, ECAM_LENGTH, reserved),
        ]
        if self.high:
            rows.append(Region(HIGH_RAM_BASE, self.high, ram))
        return tuple(rows)
