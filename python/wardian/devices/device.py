"""What every device on the board is: address ranges it claims, and reads, writes and a reset."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


class RangeKind(enum.Enum):
    """Which of the two x86 address spaces a range lies in."""

    PIO = "pio"
    MMIO = "mmio"


@dataclass(slots=True, frozen=True)
class Range:
    """A run of `length` I/O ports or guest-physical bytes that a device answers, from `base`."""

    kind: RangeKind
    base: int
    length: int
    name: str


class Device(ABC):
    """One device. It is told what the guest does and answers; it never raises at the guest.

    Threads: the caller holds the device's lock around every call, so no two methods of one device
    ever run at once. Callbacks given to the constructor are called with that lock held.
    """

    name: str

    @property
    @abstractmethod
    def ranges(self) -> Sequence[Range]:
        """The ranges the device claims, fixed for its life; their order is the `range_index`."""

    @abstractmethod
    def read(self, range_index: int, offset: int, size: int) -> int:
        """Answer a read of `size` bytes at `offset` into a range: 0 <= value < 2 ** (8 * size)."""

    @abstractmethod
    def write(self, range_index: int, offset: int, size: int, value: int) -> None:
        """Take a write of `size` bytes at `offset` into a range; excess bits are ignored."""

    @abstractmethod
    def reset(self) -> None:
        """Return to the state after power-on, and drive every interrupt line low."""
