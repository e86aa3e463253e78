"""The reset control register of PC chipsets, port 0xCF9; the ACPI reset register points here.

Source: Intel ICH10 datasheet, 13.7.5 (RST_CNT); ACPI 6.5, 4.8.3.6.
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.base.registers import Register, RegisterBank, RegisterMap
from wardian.devices.register_device import RegisterDevice

RESET_PORT = 0xCF9
SYSTEM_RESET, RESET_CPU, FULL_RESET = 0x02, 0x04, 0x08

REGISTERS = RegisterMap(
    1, [Register("RST_CNT", 0, 1, writable=SYSTEM_RESET | RESET_CPU | FULL_RESET)]
)


class ResetControl(RegisterDevice):
    """Calls `on_reset` when the guest raises RST_CPU; hard and soft resets are the same here.

    It claims no range: its port lies within those of `PciHost`, which passes byte accesses on as
    range 0, offset 0.
    """

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset
        self._armed = True
        self._bank = RegisterBank(REGISTERS, on_write={"RST_CNT": self._write})
        super().__init__("reset control", [], [self._bank])

    def reset(self) -> None:
        """Return to the power-on state."""
        super().reset()
        self._armed = True

    def _write(self, value: int) -> None:
        raised = bool(value & RESET_CPU)
        if raised and self._armed:
            self._on_reset()
        self._armed = not raised
