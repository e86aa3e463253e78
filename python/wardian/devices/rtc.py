"""The CMOS clock and its battery-backed RAM, ports 0x70 and 0x71.

Source: Motorola MC146818A data sheet (1988); the bytes from 0x0E on are a PC convention.
The time is UTC. No interrupt line is connected: periodic and update events show in register C
when the guest looks, and alarms never ring, so firmware tables must not announce IRQ 8 for it.
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.base.registers import Access, Register, RegisterBank, RegisterMap
from wardian.devices import rtc_time
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

RTC_BASE = 0x70
_CELLS = 128

PORTS = RegisterMap(
    2,
    [
        # Bit 7 of the index masks NMI on a PC and is no part of the address.
        Register("INDEX", 0, 1, Access.WRITE_ONLY),
        Register("DATA", 1, 1, writable=0),
    ],
)

_TIME = [
    Register("SECONDS", 0x00, 1),
    Register("MINUTES", 0x02, 1),
    Register("HOURS", 0x04, 1),
    Register("WEEKDAY", 0x06, 1),
    Register("DAY", 0x07, 1),
    Register("MONTH", 0x08, 1),
    Register("YEAR", 0x09, 1),
    Register("CENTURY", 0x32, 1),
]
_OTHER = [
    Register("SECONDS_ALARM", 0x01, 1),
    Register("MINUTES_ALARM", 0x03, 1),
    Register("HOURS_ALARM", 0x05, 1),
    # 32.768 kHz crystal, 1024 Hz periodic rate: what PC firmware leaves behind.
    Register("A", 0x0A, 1, reset=0x26, writable=0x7F),
    Register("B", 0x0B, 1, reset=0x02),
    Register("C", 0x0C, 1, Access.READ_ONLY),
    # Bit 7, VRT: the battery is good.
    Register("D", 0x0D, 1, Access.READ_ONLY, reset=0x80),
    # Memory sizes where PC firmware leaves them: in KiB up to 0x30, then in units of 64 KiB.
    Register("BASE_MEMORY", 0x15, 2),
    Register("EXTENDED_MEMORY", 0x17, 2),
    Register("EXTENDED_MEMORY_COPY", 0x30, 2),
    Register("MEMORY_ABOVE_16M", 0x34, 2),
    Register("MEMORY_ABOVE_4G", 0x5B, 3),
]
_NAMED = {at for one in (*_TIME, *_OTHER) for at in range(one.offset, one.offset + one.width)}
_PLAIN = [Register(f"RAM_{at:02X}", at, 1) for at in range(_CELLS) if at not in _NAMED]

CELLS = RegisterMap(_CELLS, [*_TIME, *_OTHER, *_PLAIN])

A_UPDATE_IN_PROGRESS, A_RATE = 0x80, 0x0F
B_SET, B_INTERRUPTS, B_UPDATE, B_SQUARE_WAVE = 0x80, 0x70, 0x10, 0x08
B_BINARY, B_24_HOURS = 0x04, 0x02
C_INTERRUPT, C_PERIODIC, C_UPDATE = 0x80, 0x40, 0x10

# Data sheet, "Update cycle": UIP rises 244 µs before the time changes, so that a guest that saw
# it low has that long to read. Here the change itself takes no time.
_UIP_LEAD_S = 244e-6


class CmosRtc(RegisterDevice):
    """A clock that follows `now` (seconds since 1970 UTC) until the guest sets it.

    `memory_below_4g` and `memory_above_4g` are the bytes of RAM on each side of 4 GiB, for guests
    that size memory from CMOS. Time, settings and RAM outlive a reset, as a battery makes them.
    """

    def __init__(
        self, now: Callable[[], float], memory_below_4g: int, memory_above_4g: int
    ) -> None:
        self._now = now
        self._ahead_s = 0  # The guest's time minus the host's.
        self._cells = RegisterBank(
            CELLS,
            on_read={
                **{one.name: self._time_reader(one.name) for one in _TIME},
                "A": self._read_a,
                "C": self._read_c,
            },
            on_write={
                **{one.name: self._time_writer(one.name) for one in _TIME},
                "A": self._write_a,
                "B": self._write_b,
            },
        )
        self._control = self._cells["B"]
        self._update_seen, self._period_seen = int(now()), self._periods()
        self._ports = RegisterBank(
            PORTS, on_read={"DATA": self._read_data}, on_write={"DATA": self._write_data}
        )
        super().__init__("rtc", [Range(RangeKind.PIO, RTC_BASE, 2, "rtc")], [self._ports])
        extended_kib = _clamp((memory_below_4g >> 10) - 1024, 0xFFFF)
        self._cells["BASE_MEMORY"] = 640
        self._cells["EXTENDED_MEMORY"] = extended_kib
        self._cells["EXTENDED_MEMORY_COPY"] = extended_kib
        self._cells["MEMORY_ABOVE_16M"] = _clamp((memory_below_4g >> 16) - 256, 0xFFFF)
        self._cells["MEMORY_ABOVE_4G"] = _clamp(memory_above_4g >> 16, 0xFFFFFF)

    def reset(self) -> None:
        """Do what the chip's RESET pin does: interrupts off and flags clear; time goes on."""
        super().reset()
        self._control = self._cells["B"] = self._cells["B"] & ~(B_INTERRUPTS | B_SQUARE_WAVE)
        self._read_c()

    def _read_data(self) -> int:
        return self._cells.read(self._ports["INDEX"] & 0x7F, 1)

    def _write_data(self, value: int) -> None:
        self._cells.write(self._ports["INDEX"] & 0x7F, 1, value)

    # Time: the cells hold it only while the guest sets it (B.SET); else it is made when read.

    def _time_reader(self, name: str) -> Callable[[], int]:
        def read() -> int:
            if not self._control & B_SET:
                self._show_time()
            return self._cells[name]

        return read

    def _time_writer(self, name: str) -> Callable[[int], None]:
        def write(value: int) -> None:
            if not self._control & B_SET:
                self._show_time()
                self._cells[name] = value
                self._adopt_time()

        return write

    def _show_time(self) -> None:
        """Put the current time into the cells, in the form that register B asks for."""
        moment = rtc_time.from_seconds(int(self._now()) + self._ahead_s)
        encode = _plain if self._control & B_BINARY else _to_bcd
        cells = self._cells
        cells["SECONDS"] = encode(moment.second)
        cells["MINUTES"] = encode(moment.minute)
        hour = moment.hour
        if self._control & B_24_HOURS:
            cells["HOURS"] = encode(hour)
        else:
            cells["HOURS"] = encode(hour % 12 or 12) | (0x80 if hour >= 12 else 0)
        cells["WEEKDAY"] = encode(moment.isoweekday() % 7 + 1)  # Sunday is 1.
        cells["DAY"] = encode(moment.day)
        cells["MONTH"] = encode(moment.month)
        cells["YEAR"] = encode(moment.year % 100)
        cells["CENTURY"] = encode(moment.year // 100)

    def _adopt_time(self) -> None:
        """Take the time in the cells as the guest's. The weekday follows from the date."""
        decode = _plain if self._control & B_BINARY else _from_bcd
        cells = self._cells
        if self._control & B_24_HOURS:
            hour = decode(cells["HOURS"])
        else:
            hour = decode(cells["HOURS"] & 0x7F) % 12 + (12 if cells["HOURS"] & 0x80 else 0)
        seconds = rtc_time.to_seconds(
            year=decode(cells["CENTURY"]) * 100 + decode(cells["YEAR"]),
            month=decode(cells["MONTH"]),
            day=decode(cells["DAY"]),
            hour=hour,
            minute=decode(cells["MINUTES"]),
            second=decode(cells["SECONDS"]),
        )
        self._ahead_s = seconds - int(self._now())

    # Control and status.

    def _read_a(self) -> int:
        value = self._cells["A"]
        # The divider runs only with 010 in bits 6:4, and SET stops updates.
        if value & 0x70 == 0x20 and not self._control & B_SET:
            now = self._now()
            if now - int(now) >= 1 - _UIP_LEAD_S:
                value |= A_UPDATE_IN_PROGRESS
        return value

    def _write_a(self, value: int) -> None:
        # A new rate starts counting now, so that no event of the old one is seen in its terms.
        self._period_seen = self._periods()

    def _write_b(self, value: int) -> None:
        was_set, is_set = self._control & B_SET, value & B_SET
        if is_set and not was_set:
            self._show_time()  # In the old form: the data sheet does not convert on a change.
        if is_set:
            value &= ~B_UPDATE  # Data sheet, register B: SET clears UIE.
        self._control = self._cells["B"] = value
        if was_set and not is_set:
            self._adopt_time()

    def _periods(self) -> int:
        """Return how many periodic events there have been, at the rate in register A."""
        rate = self._cells["A"] & A_RATE
        if rate == 0:
            return 0
        # Data sheet table 5: 1 and 2 select 256 Hz and 128 Hz, as 8 and 9 do.
        hertz = 32768 >> ((rate + 7 if rate < 3 else rate) - 1)
        return int(self._now() * hertz)

    def _read_c(self) -> int:
        """Return the events since the last look, and forget them."""
        flags = 0
        second, period = int(self._now()), self._periods()
        if second != self._update_seen and not self._control & B_SET:
            flags |= C_UPDATE
        if period != self._period_seen:
            flags |= C_PERIODIC
        self._update_seen, self._period_seen = second, period
        if flags & self._control & B_INTERRUPTS:
            flags |= C_INTERRUPT
        return flags


def _plain(value: int) -> int:
    return value


def _to_bcd(value: int) -> int:
    return value // 10 << 4 | value % 10


def _from_bcd(value: int) -> int:
    """Return the number that `value` spells; digits above 9 count as they weigh."""
    return (value >> 4) * 10 + (value & 0x0F)


def _clamp(value: int, most: int) -> int:
    return max(0, min(value, most))
