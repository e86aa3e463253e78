"""The CMOS clock: reading and setting time in every form, events, and memory sizes."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.base.clock import ManualClock
from wardian.devices import rtc_time
from wardian.devices.rtc import (
    A_UPDATE_IN_PROGRESS,
    B_24_HOURS,
    B_BINARY,
    B_SET,
    B_UPDATE,
    C_INTERRUPT,
    C_PERIODIC,
    C_UPDATE,
    CmosRtc,
)

MIB = 1 << 20
GIB = 1 << 30
# A Saturday afternoon.
START = datetime(2026, 11, 21, 15, 4, 59, tzinfo=UTC)

SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR = 0, 2, 4, 6, 7, 8, 9
A, B, C, D, CENTURY = 0x0A, 0x0B, 0x0C, 0x0D, 0x32


class Cmos:
    """A clock at START, reached through its two ports."""

    def __init__(self, below_4g: int = 512 * MIB, above_4g: int = 0) -> None:
        self.clock = ManualClock(wall_s=START.timestamp())
        self.device = CmosRtc(self.clock.wall_s, below_4g, above_4g)

    def get(self, cell: int) -> int:
        self.device.write(0, 0, 1, cell)
        return self.device.read(0, 1, 1)

    def put(self, cell: int, value: int) -> None:
        self.device.write(0, 0, 1, cell)
        self.device.write(0, 1, 1, value)

    def get_word(self, cell: int) -> int:
        return self.get(cell) | self.get(cell + 1) << 8

    def time(self) -> list[int]:
        return [self.get(at) for at in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS)]


@pytest.fixture
def cmos() -> Cmos:
    return Cmos()


def test_time_reads_in_bcd_and_24_hours_after_power_on(cmos: Cmos) -> None:
    assert cmos.get(B) == B_24_HOURS
    assert cmos.time() == [0x20, 0x26, 0x11, 0x21, 0x15, 0x04, 0x59]
    assert cmos.get(WEEKDAY) == 7


def test_time_follows_the_host(cmos: Cmos) -> None:
    cmos.clock.advance(1)
    assert cmos.time() == [0x20, 0x26, 0x11, 0x21, 0x15, 0x05, 0x00]
    assert cmos.device.read(0, 1, 1) == 0


@pytest.mark.parametrize(
    ("form", "hours"),
    [(B_24_HOURS, 0x15), (B_24_HOURS | B_BINARY, 15), (0, 0x83), (B_BINARY, 0x83)],
)
def test_hours_in_each_form(cmos: Cmos, form: int, hours: int) -> None:
    cmos.put(B, form)
    assert cmos.get(HOURS) == hours


@pytest.mark.parametrize(
    ("hour", "expected"), [(0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (23, 0x91)]
)
def test_twelve_hour_clocks_have_no_hour_zero(cmos: Cmos, hour: int, expected: int) -> None:
    cmos.put(B, B_24_HOURS | B_BINARY)
    cmos.put(HOURS, hour)
    cmos.put(B, 0)
    assert cmos.get(HOURS) == expected
    cmos.put(HOURS, expected)
    cmos.put(B, B_24_HOURS | B_BINARY)
    assert cmos.get(HOURS) == hour


def test_setting_time_under_set(cmos: Cmos) -> None:
    cmos.put(B, B_SET | B_24_HOURS)
    for cell, value in (
        (CENTURY, 0x19), (YEAR, 0x99), (MONTH, 0x12), (DAY, 0x31),
        (HOURS, 0x23), (MINUTES, 0x59), (SECONDS, 0x58),
    ):  # fmt: skip
        cmos.put(cell, value)
    cmos.clock.advance(100)  # Held time does not move.
    assert cmos.time() == [0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58]
    cmos.put(B, B_24_HOURS)
    cmos.clock.advance(2)
    assert cmos.time() == [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]
    assert cmos.get(WEEKDAY) == 7


def test_setting_one_field_while_the_clock_runs(cmos: Cmos) -> None:
    cmos.put(MINUTES, 0x30)
    assert cmos.time() == [0x20, 0x26, 0x11, 0x21, 0x15, 0x30, 0x59]
    cmos.clock.advance(1)
    assert cmos.get(MINUTES) == 0x31


def test_guest_time_outlives_a_reset_and_interrupt_enables_do_not(cmos: Cmos) -> None:
    cmos.put(HOURS, 0x03)
    cmos.put(0x40, 0x5A)
    cmos.put(B, 0x70 | B_24_HOURS | B_BINARY)
    cmos.device.reset()
    assert cmos.get(B) == B_24_HOURS | B_BINARY
    assert cmos.get(HOURS) == 3
    assert cmos.get(0x40) == 0x5A


def test_set_clears_update_interrupts(cmos: Cmos) -> None:
    cmos.put(B, B_SET | B_UPDATE)
    assert cmos.get(B) == B_SET


def test_update_in_progress_leads_each_second(cmos: Cmos) -> None:
    assert cmos.get(A) == 0x26
    cmos.clock.advance(0.9990)
    assert not cmos.get(A) & A_UPDATE_IN_PROGRESS
    cmos.clock.advance(0.0009)
    assert cmos.get(A) & A_UPDATE_IN_PROGRESS
    cmos.put(B, B_SET)
    assert not cmos.get(A) & A_UPDATE_IN_PROGRESS
    cmos.put(B, 0)
    cmos.clock.advance(0.0002)
    assert not cmos.get(A) & A_UPDATE_IN_PROGRESS


def test_update_flag_shows_each_second_once(cmos: Cmos) -> None:
    cmos.put(A, 0x20)
    assert cmos.get(C) == 0
    cmos.clock.advance(1)
    assert cmos.get(C) == C_UPDATE
    assert cmos.get(C) == 0
    cmos.put(B, B_UPDATE | B_24_HOURS)
    cmos.clock.advance(5)
    assert cmos.get(C) == C_UPDATE | C_INTERRUPT


@pytest.mark.parametrize(("rate", "hertz"), [(1, 256), (2, 128), (3, 8192), (6, 1024), (15, 2)])
def test_periodic_flag_at_its_rate(cmos: Cmos, rate: int, hertz: int) -> None:
    cmos.put(A, 0x20 | rate)
    cmos.get(C)
    cmos.clock.advance(0.5 / hertz)
    assert not cmos.get(C) & C_PERIODIC
    cmos.clock.advance(0.6 / hertz)
    assert cmos.get(C) & C_PERIODIC


def test_rate_zero_is_off(cmos: Cmos) -> None:
    cmos.put(A, 0x20)
    cmos.clock.advance(10)
    assert not cmos.get(C) & C_PERIODIC


def test_status_d_says_the_battery_is_good_and_ignores_writes(cmos: Cmos) -> None:
    cmos.put(D, 0)
    cmos.put(C, 0xFF)
    assert cmos.get(D) == 0x80
    assert cmos.get(C) == 0


def test_bit_7_of_the_index_is_no_address(cmos: Cmos) -> None:
    assert cmos.get(0x80 | D) == 0x80


def test_the_index_port_cannot_be_read(cmos: Cmos) -> None:
    assert cmos.device.read(0, 0, 1) == 0xFF


@pytest.mark.parametrize(
    ("below", "above", "extended_kib", "above_16m", "above_4g"),
    [
        (512 * MIB, 0, 0xFFFF, 0x1F00, 0),
        (2 * GIB, 5 * GIB, 0xFFFF, 0x7F00, 0x14000),
        (8 * MIB, 0, 7 * 1024, 0, 0),
        (1 * MIB, 0, 0, 0, 0),
    ],
)
def test_memory_sizes(
    below: int, above: int, extended_kib: int, above_16m: int, above_4g: int
) -> None:
    cmos = Cmos(below, above)
    assert cmos.get_word(0x15) == 640
    assert cmos.get_word(0x17) == cmos.get_word(0x30) == extended_kib
    assert cmos.get_word(0x34) == above_16m
    assert cmos.get_word(0x5B) | cmos.get(0x5D) << 16 == above_4g


@pytest.mark.parametrize("form", [0, B_BINARY, B_24_HOURS, B_24_HOURS | B_BINARY])
@given(fields=st.lists(st.integers(0, 255), min_size=7, max_size=7))
def test_impossible_times_become_possible_ones(form: int, fields: list[int]) -> None:
    cmos = Cmos()
    cmos.put(B, B_SET | form)
    for cell, value in zip(
        (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS), fields, strict=True
    ):
        cmos.put(cell, value)
    cmos.put(B, B_24_HOURS | B_BINARY)
    century, year, month, day, hour, minute, second = cmos.time()
    datetime(century * 100 + year, month, day, hour, minute, second, tzinfo=UTC)


def test_a_day_past_the_end_of_its_month_counts_on() -> None:
    assert rtc_time.to_seconds(2027, 2, 31, 0, 0, 0) == rtc_time.to_seconds(2027, 3, 3, 0, 0, 0)
    assert rtc_time.to_seconds(9999, 99, 99, 99, 99, 99) == 253_402_300_799


@given(st.integers(-(1 << 70), 1 << 70))
def test_every_number_of_seconds_is_a_moment(seconds: int) -> None:
    moment = rtc_time.from_seconds(seconds)
    again = rtc_time.to_seconds(
        moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second
    )
    assert rtc_time.from_seconds(again) == moment
