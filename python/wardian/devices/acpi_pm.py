"""ACPI power management: the PM1 blocks, the power button, soft-off and the PM timer.

Source: ACPI 6.5, 4.8.3.1 (PM1 event), 4.8.3.2 (PM1 control), 4.8.3.3 (PM timer).
The FADT must give these ports, SMI_CMD 0 (so the machine is always in ACPI mode) and TMR_VAL_EXT
0 (a 24-bit timer); the DSDT's \\_S5 must give `S5_SLEEP_TYPE`.
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.base.registers import Access, Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

PM_BASE = 0x600
S5_SLEEP_TYPE = 5
TIMER_HZ = 3_579_545
_TIMER_MASK = 0xFF_FFFF

# The same bits in PM1_STS and PM1_EN (ACPI 6.5 tables 4.13 and 4.14).
TIMER, GLOBAL, POWER_BUTTON, SLEEP_BUTTON, RTC = 1 << 0, 1 << 5, 1 << 8, 1 << 9, 1 << 10
_EVENTS = TIMER | GLOBAL | POWER_BUTTON | SLEEP_BUTTON | RTC
BUS_MASTER_STATUS, WAKE_STATUS = 1 << 4, 1 << 15
# PM1_CNT (table 4.15).
SCI_ENABLE, BUS_MASTER_RELOAD, SLEEP_TYPE_SHIFT, SLEEP_ENABLE = 1 << 0, 1 << 1, 10, 1 << 13
_SLEEP_TYPE = 0b111 << SLEEP_TYPE_SHIFT

REGISTERS = RegisterMap(
    12,
    [
        Register("PM1_STS", 0x0, 2, writable=0, clears=_EVENTS | BUS_MASTER_STATUS | WAKE_STATUS),
        Register("PM1_EN", 0x2, 2, writable=_EVENTS),
        # SCI_EN reads as one for good, and SLP_EN and GBL_RLS as zero.
        Register("PM1_CNT", 0x4, 2, reset=SCI_ENABLE, writable=BUS_MASTER_RELOAD | _SLEEP_TYPE),
        Register("PM_TMR", 0x8, 4, Access.READ_ONLY),
    ],
)


class AcpiPm(RegisterDevice):
    """Power management at `base`: `irq` drives the SCI, level high.

    `now_ns` is a monotonic clock in nanoseconds. `on_power_off` is called when the guest enters
    S5; other sleep states do not exist, and a request for one is ignored.
    """

    def __init__(
        self,
        now_ns: Callable[[], int],
        irq: Callable[[bool], None],
        on_power_off: Callable[[], None],
        base: int = PM_BASE,
    ) -> None:
        self._now_ns = now_ns
        self._start_ns = now_ns()
        self._irq = irq
        self._on_power_off = on_power_off
        self._bank = RegisterBank(
            REGISTERS,
            on_read={"PM1_STS": self._read_status, "PM_TMR": self._read_timer},
            on_write={
                "PM1_STS": self._write_status,
                "PM1_EN": self._write_enable,
                "PM1_CNT": self._write_control,
            },
        )
        super().__init__("acpi pm", [Range(RangeKind.PIO, base, 12, "acpi pm")], [self._bank])
        self._level = False
        self._half = 0

    def press_power_button(self) -> None:
        """Ask the guest to shut down, as a short press of the button does.

        A guest that handles the button powers off in its own time; one that does not ignores it.
        Thread: the caller holds the device's lock.
        """
        self._bank["PM1_STS"] |= POWER_BUTTON
        self._update()

    def reset(self) -> None:
        """Clear events, enables and control; the timer runs on."""
        super().reset()
        self._half = self._ticks() >> 23
        self._update()

    def _ticks(self) -> int:
        return (self._now_ns() - self._start_ns) * TIMER_HZ // 1_000_000_000

    def _read_timer(self) -> int:
        return self._ticks() & _TIMER_MASK

    def _note_overflow(self) -> None:
        """Set TMR_STS when the timer's top bit changed (4.8.3.3): found at the next look at it.

        So the SCI for it comes at the guest's next access to PM1. Systems use the timer as a
        counter and leave TMR_EN off.
        """
        half = self._ticks() >> 23
        if half != self._half:
            self._half = half
            self._bank["PM1_STS"] |= TIMER

    def _read_status(self) -> int:
        self._note_overflow()
        self._update()
        return self._bank["PM1_STS"]

    def _write_status(self, value: int) -> None:
        if value & TIMER:
            self._half = self._ticks() >> 23  # What was cleared includes what was not yet noted.
        self._update()

    def _write_enable(self, value: int) -> None:
        if value & TIMER:
            self._note_overflow()
        self._update()

    def _write_control(self, value: int) -> None:
        if value & SLEEP_ENABLE and (value & _SLEEP_TYPE) >> SLEEP_TYPE_SHIFT == S5_SLEEP_TYPE:
            self._on_power_off()

    def _update(self) -> None:
        level = bool(self._bank["PM1_STS"] & self._bank["PM1_EN"] & _EVENTS)
        if level != self._level:
            self._level = level
            self._irq(level)
