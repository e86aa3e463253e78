"""A device whose ranges are register banks: most of the board."""

from __future__ import annotations

from collections.abc import Sequence

from wardian.base.registers import RegisterBank
from wardian.devices.device import Device, Range


class RegisterDevice(Device):
    """A `Device` with one `RegisterBank` for each of its ranges, in the same order."""

    def __init__(self, name: str, ranges: Sequence[Range], banks: Sequence[RegisterBank]) -> None:
        self.name = name
        self._ranges = tuple(ranges)
        self._banks = tuple(banks)

    @property
    def ranges(self) -> Sequence[Range]:
        """The ranges the device claims."""
        return self._ranges

    def read(self, range_index: int, offset: int, size: int) -> int:
        """Answer from the range's registers."""
        return self._banks[range_index].read(offset, size)

    def write(self, range_index: int, offset: int, size: int, value: int) -> None:
        """Hand the write to the range's registers."""
        self._banks[range_index].write(offset, size, value)

    def reset(self) -> None:
        """Put every register back to its reset value."""
        for bank in self._banks:
            bank.reset()
