"""The keyboard controller: a driver's probe is answered at once, and the reset line works."""

from __future__ import annotations

import pytest

from wardian.devices.i8042 import I8042

DATA, CONTROL = 0, 1
FULL = 0x01


class Controller:
    """A controller and the number of resets it asked for."""

    def __init__(self) -> None:
        self.resets = 0
        self.device = I8042(self._reset)

    def _reset(self) -> None:
        self.resets += 1

    def command(self, value: int) -> None:
        self.device.write(CONTROL, 0, 1, value)

    def send(self, value: int) -> None:
        self.device.write(DATA, 0, 1, value)

    def status(self) -> int:
        return self.device.read(CONTROL, 0, 1)

    def answer(self) -> int:
        assert self.status() & FULL
        return self.device.read(DATA, 0, 1)


@pytest.fixture
def controller() -> Controller:
    return Controller()


def test_after_power_on_there_is_nothing_to_read_and_nothing_is_locked(
    controller: Controller,
) -> None:
    assert controller.status() == 0x14


@pytest.mark.parametrize(
    ("command", "answer"),
    [(0xAA, 0x55), (0xAB, 0x00), (0xA9, 0x01), (0x20, 0x74), (0xC0, 0x80), (0xD0, 0x03)],
)
def test_commands_that_answer(controller: Controller, command: int, answer: int) -> None:
    controller.command(command)
    assert controller.answer() == answer
    assert not controller.status() & FULL


def test_the_configuration_byte_can_be_changed(controller: Controller) -> None:
    controller.command(0x60)
    controller.send(0x65)
    controller.command(0x20)
    assert controller.answer() == 0x65


def test_every_ram_byte_keeps_its_own_value(controller: Controller) -> None:
    for at in range(32):
        controller.command(0x60 + at)
        controller.send(at ^ 0xA5)
    for at in range(32):
        controller.command(0x20 + at)
        assert controller.answer() == at ^ 0xA5


def test_the_auxiliary_loop_answers_as_if_from_the_keyboard(controller: Controller) -> None:
    controller.command(0xD3)
    controller.send(0x5A)
    assert not controller.status() & 0x20
    assert controller.answer() == 0x5A


def test_what_is_sent_to_a_keyboard_or_mouse_goes_nowhere(controller: Controller) -> None:
    controller.send(0xF2)
    assert not controller.status() & FULL
    controller.command(0xD4)
    controller.send(0xF2)
    assert not controller.status() & FULL


def test_status_tells_commands_from_data(controller: Controller) -> None:
    controller.command(0xAE)
    assert controller.status() & 0x08
    controller.send(0)
    assert not controller.status() & 0x08


@pytest.mark.parametrize("command", range(0xF0, 0x100))
def test_pulsing_line_zero_resets(controller: Controller, command: int) -> None:
    controller.command(command)
    assert controller.resets == (0 if command & 1 else 1)


@pytest.mark.parametrize(("value", "resets"), [(0xFE, 1), (0x02, 1), (0x03, 0), (0xDF, 0)])
def test_the_output_port_can_reset_too(controller: Controller, value: int, resets: int) -> None:
    controller.command(0xD1)
    controller.send(value)
    assert controller.resets == resets


def test_a_new_command_abandons_one_that_waits_for_data(controller: Controller) -> None:
    controller.command(0xD1)
    controller.command(0xAE)
    controller.send(0x00)
    assert controller.resets == 0


def test_reset_forgets_everything(controller: Controller) -> None:
    controller.command(0x60)
    controller.device.reset()
    controller.send(0xFF)
    controller.command(0x20)
    assert controller.answer() == 0x74
