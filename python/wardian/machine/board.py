"""The parts of one machine that is powered on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wardian.cpu.contract import Vcpu, Vm
from wardian.machine.bus import Bus
from wardian.machine.wiring import Wiring


@dataclass(frozen=True, slots=True)
class Board:
    """A machine that is ready to execute its first instruction."""

    vm: Vm
    bus: Bus
    wiring: Wiring
    vcpus: tuple[Vcpu, ...]
    #: The engine that runs it and how it boots, for people.
    description: str
    #: Types into the first serial port, from any thread.
    type_in: Callable[[bytes], None]
    #: How much of what was typed the guest has not read.
    unread: Callable[[], int]
    #: Presses the ACPI power button, from any thread.
    press_power_button: Callable[[], None]
