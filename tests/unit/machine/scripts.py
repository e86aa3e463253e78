"""Guests that several tests run."""

from __future__ import annotations

from wardian.testing import Guest, In, Out, Spin

COM1 = 0x3F8
LINE_STATUS = COM1 + 5
DATA_READY = 0x01
PM1_CONTROL = 0x604
#: SLP_TYP 5 and SLP_EN (ACPI 6.5, 4.8.3.2.1).
ENTER_S5 = 5 << 10 | 1 << 13
DEBUG_EXIT = 0xF4
RESET_CONTROL = 0xCF9


def power_off(cpu: int) -> Guest:
    """Switches the machine off."""
    yield Out(PM1_CONTROL, ENTER_S5, 2)


def spin(cpu: int) -> Guest:
    """Runs until it is stopped."""
    yield Spin()


def say(text: bytes) -> Guest:
    """Prints on the serial port, as a driver does: looks at the line status, then writes."""
    for letter in text:
        yield In(LINE_STATUS)
        yield Out(COM1, letter)


def echo(cpu: int) -> Guest:
    """Prints what it reads, until a full stop; then switches the machine off."""
    letter = 0
    while letter != ord("."):
        status = yield In(LINE_STATUS)
        if status & DATA_READY:
            letter = yield In(COM1)
            yield Out(COM1, letter)
    yield from power_off(cpu)
