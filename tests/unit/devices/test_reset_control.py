"""Port 0xCF9: the rising RST_CPU bit resets."""

from __future__ import annotations

from wardian.devices.reset_control import ResetControl


class Control:
    """A reset register and the number of resets it asked for."""

    def __init__(self) -> None:
        self.resets = 0
        self.device = ResetControl(self._reset)

    def _reset(self) -> None:
        self.resets += 1

    def put(self, value: int) -> None:
        self.device.write(0, 0, 1, value)


def test_the_acpi_reset_value_resets_once_until_the_bit_falls() -> None:
    control = Control()
    control.put(0x06)
    control.put(0x0E)
    assert control.resets == 1
    control.put(0x02)
    control.put(0x06)
    assert control.resets == 2


def test_choosing_the_kind_of_reset_does_not_reset() -> None:
    control = Control()
    for value in (0x00, 0x02, 0x0A, 0xF3):
        control.put(value)
    assert control.resets == 0


def test_the_register_reads_back_its_three_bits() -> None:
    control = Control()
    control.put(0xFB)
    assert control.device.read(0, 0, 1) == 0x0A


def test_after_a_reset_the_same_write_resets_again() -> None:
    control = Control()
    control.put(0x06)
    control.device.reset()
    assert control.device.read(0, 0, 1) == 0
    control.put(0x06)
    assert control.resets == 2


def test_it_claims_no_range_of_its_own() -> None:
    assert Control().device.ranges == ()
