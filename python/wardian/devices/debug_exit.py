"""The debug exit port, 0xF4: a test guest ends its machine by writing a value.

The exit status follows QEMU's isa-debug-exit, whose guests exist: value v ends with 2 v + 1, so
that no guest can fake a status of 0.
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.base.registers import Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

DEBUG_EXIT_PORT = 0xF4

REGISTERS = RegisterMap(4, [Register("EXIT", 0, 4, writable=0)])


class DebugExit(RegisterDevice):
    """Calls `on_exit` with the exit status, an odd number from 1 to 255, at each write."""

    def __init__(self, on_exit: Callable[[int], None]) -> None:
        self._on_exit = on_exit
        bank = RegisterBank(REGISTERS, on_write={"EXIT": self._write})
        ranges = [Range(RangeKind.PIO, DEBUG_EXIT_PORT, 4, "debug exit")]
        super().__init__("debug exit", ranges, [bank])

    def _write(self, value: int) -> None:
        # A Unix exit status has eight bits (POSIX.1-2017, waitpid).
        self._on_exit((value << 1 | 1) & 0xFF)
