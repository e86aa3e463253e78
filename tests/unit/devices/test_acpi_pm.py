"""ACPI power management: events and the SCI, soft-off, and the PM timer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardian.base.clock import ManualClock
from wardian.devices.acpi_pm import (
    POWER_BUTTON,
    S5_SLEEP_TYPE,
    SCI_ENABLE,
    SLEEP_ENABLE,
    TIMER,
    TIMER_HZ,
    AcpiPm,
)

STATUS, ENABLE, CONTROL, TIMER_VALUE = 0, 2, 4, 8


class Power:
    """A PM block, its SCI levels and the number of power-offs."""

    def __init__(self) -> None:
        self.clock = ManualClock(monotonic_ns=987_654_321)
        self.levels: list[bool] = []
        self.power_offs = 0
        self.device = AcpiPm(self.clock.monotonic_ns, self.levels.append, self._power_off)

    def _power_off(self) -> None:
        self.power_offs += 1

    def get(self, offset: int) -> int:
        return self.device.read(0, offset, 2)

    def put(self, offset: int, value: int) -> None:
        self.device.write(0, offset, 2, value)

    def timer(self) -> int:
        return self.device.read(0, TIMER_VALUE, 4)


@pytest.fixture
def power() -> Power:
    return Power()


def test_after_power_on_the_machine_is_in_acpi_mode(power: Power) -> None:
    assert (power.get(STATUS), power.get(ENABLE), power.get(CONTROL)) == (0, 0, SCI_ENABLE)
    power.put(CONTROL, 0)
    assert power.get(CONTROL) == SCI_ENABLE


def test_the_power_button_raises_the_sci_until_its_status_is_cleared(power: Power) -> None:
    power.put(ENABLE, POWER_BUTTON)
    power.device.press_power_button()
    assert power.levels == [True]
    assert power.get(STATUS) == POWER_BUTTON
    power.put(STATUS, TIMER)
    assert power.get(STATUS) == POWER_BUTTON
    power.put(STATUS, POWER_BUTTON)
    assert power.get(STATUS) == 0
    assert power.levels == [True, False]


def test_a_press_before_the_guest_listens_is_remembered(power: Power) -> None:
    power.device.press_power_button()
    assert power.levels == []
    power.put(ENABLE, POWER_BUTTON)
    assert power.levels == [True]
    power.put(ENABLE, 0)
    assert power.levels == [True, False]


def test_status_and_enable_written_as_one_dword(power: Power) -> None:
    power.device.press_power_button()
    power.device.write(0, STATUS, 4, POWER_BUTTON << 16)
    assert power.device.read(0, STATUS, 4) == POWER_BUTTON << 16 | POWER_BUTTON
    power.device.write(0, STATUS + 1, 1, POWER_BUTTON >> 8)
    assert power.levels == [True, False]


def test_s5_powers_off(power: Power) -> None:
    power.put(CONTROL, S5_SLEEP_TYPE << 10)
    assert power.power_offs == 0
    power.put(CONTROL, S5_SLEEP_TYPE << 10 | SLEEP_ENABLE)
    assert power.power_offs == 1
    assert power.get(CONTROL) == S5_SLEEP_TYPE << 10 | SCI_ENABLE


def test_s5_through_the_high_byte_alone(power: Power) -> None:
    power.device.write(0, CONTROL + 1, 1, (S5_SLEEP_TYPE << 10 | SLEEP_ENABLE) >> 8)
    assert power.power_offs == 1


@pytest.mark.parametrize("sleep_type", [0, 1, 2, 3, 4, 6, 7])
def test_other_sleep_types_do_nothing(power: Power, sleep_type: int) -> None:
    power.put(CONTROL, sleep_type << 10 | SLEEP_ENABLE)
    assert power.power_offs == 0


def test_the_timer_counts_at_its_rate_in_24_bits(power: Power) -> None:
    assert power.timer() == 0
    power.clock.advance(1)
    assert power.timer() == TIMER_HZ
    power.clock.advance(9)
    assert power.timer() == TIMER_HZ * 10 % (1 << 24)


@given(st.lists(st.integers(0, 3 * 10**9), max_size=20))
def test_differences_between_readings_add_up_to_the_time_passed(steps_ns: list[int]) -> None:
    now = [0]
    device = AcpiPm(lambda: now[0], lambda level: None, lambda: None)
    before = total = 0
    for step_ns in steps_ns:
        now[0] += step_ns
        reading = device.read(0, TIMER_VALUE, 4)
        total += (reading - before) % (1 << 24)
        before = reading
    assert total == sum(steps_ns) * TIMER_HZ // 10**9


def test_the_timer_ignores_writes(power: Power) -> None:
    power.device.write(0, TIMER_VALUE, 4, 0x123456)
    assert power.timer() == 0


def test_timer_status_when_its_top_bit_changes(power: Power) -> None:
    power.put(ENABLE, TIMER)
    power.clock.advance((1 << 22) / TIMER_HZ)
    assert power.get(STATUS) == 0
    power.clock.advance((1 << 22) / TIMER_HZ + 1e-6)
    assert power.get(STATUS) == TIMER
    assert power.levels == [True]
    power.put(STATUS, TIMER)
    assert power.get(STATUS) == 0
    assert power.levels == [True, False]


def test_clearing_timer_status_clears_what_nobody_looked_at(power: Power) -> None:
    power.clock.advance(3)
    power.put(STATUS, TIMER)
    assert power.get(STATUS) == 0


def test_reset_clears_events_and_lowers_the_sci(power: Power) -> None:
    power.put(ENABLE, POWER_BUTTON)
    power.device.press_power_button()
    power.clock.advance(3)
    power.device.reset()
    assert power.levels == [True, False]
    assert (power.get(STATUS), power.get(ENABLE)) == (0, 0)
    assert power.timer() == 3 * TIMER_HZ
