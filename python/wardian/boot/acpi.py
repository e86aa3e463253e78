"""The ACPI tables, in the BIOS area below 1 MiB where every operating system looks for them.

Source: ACPI 6.5, chapter 5.2, and for MCFG PCI Firmware 3.3, section 4.1.2.
"""

from __future__ import annotations

import struct
from typing import Final

from wardian.base.errors import BugError, CallerError
from wardian.boot import board, dsdt
from wardian.boot.memory_map import (
    ACPI_TABLES_END,
    ECAM_BASE,
    ECAM_BUSES,
    IOAPIC_BASE,
    LAPIC_BASE,
    RSDP,
)
from wardian.boot.placement import align_up

#: APIC IDs that a local APIC entry can name; 255 is "all" (5.2.12.2).
_MAX_APIC_ID: Final = 254

_OEM_ID: Final = b"WARDIN"
_OEM_TABLE_ID: Final = b"WARDIAN "
_CREATOR_ID: Final = b"WRDN"
_HEADER_SIZE: Final = 36
_RSDP_SIZE: Final = 36

# FADT (5.2.9), flags at offset 112 (table 5.10). The power button stays a fixed one, and the PM
# timer has 24 bits: TMR_VAL_EXT is clear.
_WBINVD: Final = 1 << 0
_HALT_IS_C1: Final = 1 << 2
_NO_FIXED_SLEEP_BUTTON: Final = 1 << 5
_NO_FIXED_RTC_WAKE: Final = 1 << 6
_RESET_REGISTER: Final = 1 << 10

# IAPC_BOOT_ARCH (table 5.11). There is an 8042, but with nothing attached; with its flag clear,
# Linux does not probe it for a keyboard, and still resets through it if told `reboot=k`.
_LEGACY_DEVICES: Final = 1 << 0
_NO_VGA: Final = 1 << 2
_NO_ASPM: Final = 1 << 4

_SYSTEM_IO: Final = 1
_BYTE_ACCESS: Final = 1
_WORD_ACCESS: Final = 2
_DWORD_ACCESS: Final = 3

# MADT (5.2.12): flags and entry types.
_HAS_8259: Final = 1 << 0
_ENABLED: Final = 1 << 0
_LOCAL_APIC: Final = 0
_IO_APIC: Final = 1
_OVERRIDE: Final = 2
_LOCAL_APIC_NMI: Final = 4
# MPS INTI flags (table 5.26).
_AS_THE_BUS: Final = 0
_ACTIVE_HIGH_LEVEL: Final = 0b1101


def acpi_tables(cpus: int) -> list[tuple[int, bytes]]:
    """The tables of a machine with `cpus` CPUs whose APIC IDs are 0 to `cpus` - 1.

    Returned as (guest-physical address, bytes), all in 0xE0000 to 0xEFFFF; the first is the RSDP
    at `memory_map.RSDP`. Raises `CallerError` BOOT_CPUS if APIC IDs of 8 bits do not suffice.
    """
    if not 1 <= cpus <= _MAX_APIC_ID + 1:
        raise CallerError(
            "BOOT_CPUS", f"The ACPI tables describe 1 to {_MAX_APIC_ID + 1} CPUs, not {cpus}."
        )
    area = _Area(RSDP + align_up(_RSDP_SIZE, 16))
    facs = area.add(_facs())
    code = area.add(_table(b"DSDT", 2, dsdt.definition_block()))
    fadt = area.add(_table(b"FACP", 6, _fadt(facs, code)))
    madt = area.add(_table(b"APIC", 5, _madt(cpus)))
    mcfg = area.add(_table(b"MCFG", 1, _mcfg()))
    xsdt = area.add(_table(b"XSDT", 1, struct.pack("<3Q", fadt, madt, mcfg)))
    rsdt = area.add(_table(b"RSDT", 1, struct.pack("<3I", fadt, madt, mcfg)))
    return [(RSDP, _rsdp(rsdt, xsdt)), *area.tables]


class _Area:
    """Puts tables one behind the other, each on a 64-byte boundary, as the FACS has to be."""

    def __init__(self, start: int) -> None:
        self._next = start
        self.tables: list[tuple[int, bytes]] = []

    def add(self, table: bytes) -> int:
        address = align_up(self._next, 64)
        self._next = address + len(table)
        if self._next > ACPI_TABLES_END:
            raise BugError("BOOT_ACPI_AREA", "The ACPI tables do not fit into 64 KiB.")
        self.tables.append((address, table))
        return address


def _checksum(data: bytes | bytearray) -> int:
    """The byte that makes `data` with it sum up to 0 modulo 256."""
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """`body` behind the header that all tables but RSDP and FACS have (5.2.6)."""
    table = bytearray(
        struct.pack(
            "<4sIBB6s8sI4sI",
            signature,
            _HEADER_SIZE + len(body),
            revision,
            0,
            _OEM_ID,
            _OEM_TABLE_ID,
            1,
            _CREATOR_ID,
            1,
        )
        + body
    )
    table[9] = _checksum(table)
    return bytes(table)


def _rsdp(rsdt: int, xsdt: int) -> bytes:
    """The root pointer (5.2.5.3): one checksum over the 20 bytes of ACPI 1.0, one over all."""
    rsdp = bytearray(
        struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, _OEM_ID, 2, rsdt, _RSDP_SIZE, xsdt, 0)
    )
    rsdp[8] = _checksum(rsdp[:20])
    rsdp[32] = _checksum(rsdp)
    return bytes(rsdp)


def _facs() -> bytes:
    """The firmware control structure (5.2.10): no waking vector, the global lock free."""
    return struct.pack("<4sI24xB31x", b"FACS", 64, 2)


def _fadt(facs: int, code: int) -> bytes:
    """The fixed description (table 5.9). Offsets are those of the table, so 36 less here.

    SMI_CMD is 0: the machine is in ACPI mode from the start (4.8.2.1).
    """
    fadt = bytearray(276)

    def put(form: str, offset: int, *values: int) -> None:
        struct.pack_into("<" + form, fadt, offset, *values)

    put("II", 36, facs, code)
    put("H", 46, board.SCI_GSI)
    put("I", 56, board.PM1_EVENT)
    put("I", 64, board.PM1_CONTROL)
    put("I", 76, board.PM_TIMER)
    put("BBxB", 88, 4, 2, 4)  # bytes in the event block, in control, (none in PM2), in the timer
    put("HH", 96, 0xFFFF, 0xFFFF)  # latencies above 100 and 1000 us: no C2, no C3
    put("B", 108, board.RTC_CENTURY)
    put("H", 109, _LEGACY_DEVICES | _NO_VGA | _NO_ASPM)
    put(
        "I",
        112,
        _WBINVD | _HALT_IS_C1 | _NO_FIXED_SLEEP_BUTTON | _NO_FIXED_RTC_WAKE | _RESET_REGISTER,
    )
    fadt[116:128] = _io_register(board.RESET_PORT, 8, _BYTE_ACCESS)
    put("B", 128, board.RESET_VALUE)
    put("B", 131, 5)  # minor version: ACPI 6.5
    # The 64-bit fields win over the 32-bit ones. X_FIRMWARE_CTRL stays 0, because a system sets
    # one of the two (5.2.9, offset 132).
    put("Q", 140, code)
    fadt[148:160] = _io_register(board.PM1_EVENT, 32, _WORD_ACCESS)
    fadt[172:184] = _io_register(board.PM1_CONTROL, 16, _WORD_ACCESS)
    fadt[208:220] = _io_register(board.PM_TIMER, 32, _DWORD_ACCESS)
    return bytes(fadt[_HEADER_SIZE:])


def _io_register(port: int, bits: int, access: int) -> bytes:
    """A generic address structure that names a port (5.2.3.2)."""
    return struct.pack("<BBBBQ", _SYSTEM_IO, bits, 0, access, port)


def _madt(cpus: int) -> bytes:
    """CPUs, the I/O APIC, and the two ISA interrupts that are not what the bus makes them."""
    entries = [struct.pack("<II", LAPIC_BASE, _HAS_8259)]
    entries += [struct.pack("<BBBBI", _LOCAL_APIC, 8, n, n, _ENABLED) for n in range(cpus)]
    # The I/O APIC's ID differs from every CPU's where there is room, as the old APIC bus wanted.
    entries.append(struct.pack("<BBBxII", _IO_APIC, 12, min(cpus, 255), IOAPIC_BASE, 0))
    # Source bus 0 is ISA.
    entries.append(struct.pack("<BBBBIH", _OVERRIDE, 10, 0, 0, board.TIMER_GSI, _AS_THE_BUS))
    sci = board.SCI_GSI
    entries.append(struct.pack("<BBBBIH", _OVERRIDE, 10, 0, sci, sci, _ACTIVE_HIGH_LEVEL))
    # NMI arrives at LINT1 of all CPUs.
    entries.append(struct.pack("<BBBHB", _LOCAL_APIC_NMI, 6, 0xFF, _AS_THE_BUS, 1))
    return b"".join(entries)


def _mcfg() -> bytes:
    """ECAM of PCI segment 0."""
    return struct.pack("<8xQHBB4x", ECAM_BASE, 0, 0, ECAM_BUSES - 1)
