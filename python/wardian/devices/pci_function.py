"""One PCI function: its configuration space as data.

Source: PCI Local Bus Specification 3.0, chapter 6; the space is 4 KiB as in PCI Express Base 4.0,
7.2.1. Bytes that no register claims read as zero and ignore writes (PCI 3.0, 6.1).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from wardian.base.errors import BugError
from wardian.base.registers import (
    Access,
    ReadHook,
    Register,
    RegisterBank,
    RegisterMap,
    WriteHook,
)

CONFIG_BYTES = 4096
BARS = 6

# Command (PCI 3.0, 6.2.2) and status (6.2.3) bits.
COMMAND_IO, COMMAND_MEMORY, COMMAND_BUS_MASTER = 1 << 0, 1 << 1, 1 << 2
COMMAND_PARITY, COMMAND_SERR, COMMAND_NO_INTX = 1 << 6, 1 << 8, 1 << 10
STATUS_CAPABILITIES = 1 << 4
_COMMAND_WRITABLE = (
    COMMAND_IO
    | COMMAND_MEMORY
    | COMMAND_BUS_MASTER
    | COMMAND_PARITY
    | COMMAND_SERR
    | COMMAND_NO_INTX
)
_STATUS_ERRORS = 0xF900
_MULTIFUNCTION = 0x80


@dataclass(slots=True, frozen=True)
class PciIdentity:
    """What a function says it is; `class_code` is base class, subclass, interface (24 bits)."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


class BarKind(enum.IntEnum):
    """What a base address register decodes; the value is its low, read-only bits (6.2.5.1)."""

    MEMORY_32 = 0b0000
    IO = 0b0001
    MEMORY_64 = 0b0100
    MEMORY_64_PREFETCHABLE = 0b1100


@dataclass(slots=True, frozen=True)
class Bar:
    """A base address register: `size` bytes, a power of two; a 64-bit one takes the next too."""

    index: int
    kind: BarKind
    size: int

    @property
    def is_wide(self) -> bool:
        """Whether the address has 64 bits."""
        return self.kind in (BarKind.MEMORY_64, BarKind.MEMORY_64_PREFETCHABLE)


class PciFunction:
    """A type 0 function. Subclasses give their capabilities as `registers`, with hooks.

    Thread: called by its `PciHost`, with the host's lock held.
    """

    def __init__(
        self,
        identity: PciIdentity,
        bars: Sequence[Bar] = (),
        *,
        interrupt_pin: int = 0,
        multifunction: bool = False,
        registers: Sequence[Register] = (),
        first_capability: int = 0,
        on_read: Mapping[str, ReadHook] | None = None,
        on_write: Mapping[str, WriteHook] | None = None,
    ) -> None:
        """`interrupt_pin` is 0 for none, 1 to 4 for INTA to INTD.

        `multifunction` is set on function 0 of a device that has others. `first_capability` is the
        offset of the first capability among `registers`, 0 for none. Raises `BugError` when the
        declaration contradicts itself.
        """
        self.bars = tuple(bars)
        header = _header(identity, self.bars, interrupt_pin, multifunction, first_capability)
        layout = RegisterMap(CONFIG_BYTES, [*header, *registers], fill=0)
        self.config = RegisterBank(layout, on_read, on_write)

    def config_read(self, offset: int, size: int) -> int:
        """Answer a read of `size` bytes of configuration space."""
        return self.config.read(offset, size)

    def config_write(self, offset: int, size: int, value: int) -> None:
        """Take a write of `size` bytes of configuration space."""
        self.config.write(offset, size, value)

    def reset(self) -> None:
        """Put configuration space back to its state after power-on."""
        self.config.reset()

    def decoded_bars(self) -> dict[int, int]:
        """Return the base address of each BAR that the guest has switched on, by BAR index.

        The guest chooses the addresses: they may lie over RAM or over another device.
        """
        command = self.config["COMMAND"]
        bases = {}
        for bar in self.bars:
            enable = COMMAND_IO if bar.kind is BarKind.IO else COMMAND_MEMORY
            if command & enable:
                base = self.config[f"BAR{bar.index}"]
                if bar.is_wide:
                    base |= self.config[f"BAR{bar.index + 1}"] << 32
                bases[bar.index] = base & ~(bar.size - 1)
        return bases


def _header(
    identity: PciIdentity,
    bars: Sequence[Bar],
    interrupt_pin: int,
    multifunction: bool,
    first_capability: int,
) -> list[Register]:
    """Return the type 0 header (PCI 3.0, figure 6-1)."""
    fixed = Access.READ_ONLY
    status = STATUS_CAPABILITIES if first_capability else 0
    pin_line = Access.READ_WRITE if interrupt_pin else fixed
    return [
        Register("VENDOR_ID", 0x00, 2, fixed, identity.vendor),
        Register("DEVICE_ID", 0x02, 2, fixed, identity.device),
        Register("COMMAND", 0x04, 2, writable=_COMMAND_WRITABLE),
        Register("STATUS", 0x06, 2, reset=status, writable=0, clears=_STATUS_ERRORS),
        Register("REVISION", 0x08, 1, fixed, identity.revision),
        Register("CLASS_CODE", 0x09, 3, fixed, identity.class_code),
        Register("CACHE_LINE_SIZE", 0x0C, 1),
        Register("HEADER_TYPE", 0x0E, 1, fixed, _MULTIFUNCTION if multifunction else 0),
        *_bar_registers(bars),
        Register("SUBSYSTEM_VENDOR_ID", 0x2C, 2, fixed, identity.subsystem_vendor),
        Register("SUBSYSTEM_ID", 0x2E, 2, fixed, identity.subsystem),
        Register("CAPABILITIES", 0x34, 1, fixed, first_capability),
        Register("INTERRUPT_LINE", 0x3C, 1, pin_line),
        Register("INTERRUPT_PIN", 0x3D, 1, fixed, interrupt_pin),
    ]


def _bar_registers(bars: Sequence[Bar]) -> list[Register]:
    """Return the BARs so that sizing (6.2.5.1) works by itself: bits below the size stay fixed."""
    registers = []
    for bar in bars:
        least = 4 if bar.kind is BarKind.IO else 16
        last = bar.index + (1 if bar.is_wide else 0)
        if bar.size < least or bar.size & (bar.size - 1) or not 0 <= bar.index <= last < BARS:
            raise BugError("PCI_BAR", f"BAR {bar.index} cannot have {bar.size} bytes.")
        offset = 0x10 + 4 * bar.index
        writable = -bar.size
        registers.append(
            Register(f"BAR{bar.index}", offset, 4, reset=bar.kind, writable=writable & 0xFFFFFFFF)
        )
        if bar.is_wide:
            registers.append(Register(f"BAR{last}", offset + 4, 4, writable=writable >> 32))
    return registers
