"""Where and what to access: drawn from a board's own ranges, and from what lies between them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from wardian.boot.memory_map import (
    ECAM_BASE,
    ECAM_LENGTH,
    HIGH_RAM_BASE,
    IOAPIC_BASE,
    LAPIC_BASE,
    PCI_MMIO_BASE,
    PCI_MMIO_END,
)
from wardian.devices.device import Range, RangeKind

_VALUES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, (1 << 64) - 1)
#: Where nobody answers, and the devices of the engine itself, as (first byte, length).
_PLACES = (
    (ECAM_BASE, ECAM_LENGTH),
    (PCI_MMIO_BASE, PCI_MMIO_END - PCI_MMIO_BASE),
    (IOAPIC_BASE, 0x1000),
    (IOAPIC_BASE, 0x40),
    (LAPIC_BASE, 0x1000),
    (LAPIC_BASE, 0x400),
    (LAPIC_BASE + 0x1000, 0x1000),
    (HIGH_RAM_BASE - 0x1000, 0x2000),
)
#: The ports of the engine: the 8259 pair, the 8254 and port 61h, as (first port, length).
_NATIVE_PORTS = ((0x20, 2), (0x40, 4), (0x61, 1), (0xA0, 2), (0x4D0, 2))


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store by a guest; `value` is what a store stores."""

    kind: RangeKind
    address: int
    size: int
    write: bool
    value: int


def draw(chance: random.Random, ranges: Sequence[Range]) -> Access:
    """An access that is likely to reach a device: `ranges` are those in Python."""
    kind, address = _place(chance, ranges)
    size = chance.choice((1, 2, 4) if kind is RangeKind.PIO else (1, 2, 4, 8))
    if chance.random() < 0.5:
        address &= -size  # most registers are aligned to their size
    value = chance.choice(_VALUES) if chance.random() < 0.4 else chance.getrandbits(64)
    write = chance.random() < 0.5
    return Access(kind, address, size, write, value & (1 << 8 * size) - 1)


def _place(chance: random.Random, ranges: Sequence[Range]) -> tuple[RangeKind, int]:
    match chance.randrange(8):
        case 0:
            return RangeKind.PIO, chance.randrange(0x1_0000)
        case 1:
            base, length = chance.choice(_NATIVE_PORTS)
            return RangeKind.PIO, base + chance.randrange(length)
        case 2 | 3:
            base, length = chance.choice(_PLACES)
            return RangeKind.MMIO, base + chance.randrange(length)
        case _:
            claimed = chance.choice(ranges)
            near = min(claimed.length, 0x200) if chance.random() < 0.8 else claimed.length
            # From before the range too: the access then reaches into it.
            return claimed.kind, max(0, claimed.base + chance.randrange(-3, near))
