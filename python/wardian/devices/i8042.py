"""The keyboard controller, ports 0x60 and 0x64, with nothing plugged in.

It answers a driver's probe at once, so that no guest waits for a time-out, and resets the machine
when the guest pulses the reset line, the oldest way to reboot a PC.
Source: Intel 8042 (UPI-41) command set as in the IBM PS/2 Hardware Interface Technical Reference,
"Keyboard and Auxiliary Device Controller" (1990).
"""

from __future__ import annotations

from collections.abc import Callable

from wardian.base.registers import Access, Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

DATA_PORT = 0x60
COMMAND_PORT = 0x64

DATA = RegisterMap(1, [Register("DATA", 0, 1, writable=0)])
CONTROL = RegisterMap(
    1,
    [
        Register("STATUS", 0, 1, Access.READ_ONLY),
        Register("COMMAND", 0, 1, Access.WRITE_ONLY, writable=0),
    ],
)

STATUS_OUTPUT_FULL, STATUS_SYSTEM, STATUS_COMMAND, STATUS_UNLOCKED = 0x01, 0x04, 0x08, 0x10
# Both ports off, translation on, power-on self-test passed.
_CONFIGURATION = 0x74
_RAM_BYTES = 32
_OUTPUT_RESET, _OUTPUT_A20 = 0x01, 0x02

READ_RAM, WRITE_RAM = 0x20, 0x60
TEST_AUX, SELF_TEST, TEST_KEYBOARD = 0xA9, 0xAA, 0xAB
READ_INPUT, READ_OUTPUT, WRITE_OUTPUT = 0xC0, 0xD0, 0xD1
ECHO_KEYBOARD, ECHO_AUX, SEND_AUX = 0xD2, 0xD3, 0xD4
PULSE_OUTPUT = 0xF0

_ANSWERS = {
    # "Clock line stuck low": how a port with nothing behind it tests.
    TEST_AUX: 0x01,
    SELF_TEST: 0x55,
    TEST_KEYBOARD: 0x00,
    READ_INPUT: 0x80,  # Keyboard not locked.
    READ_OUTPUT: _OUTPUT_RESET | _OUTPUT_A20,
}
_WITH_PARAMETER = {WRITE_OUTPUT, ECHO_KEYBOARD, ECHO_AUX, SEND_AUX}


class I8042(RegisterDevice):
    """A keyboard controller; `on_reset` is called when the guest pulses the reset line.

    A20 is always open. What a guest sends to a keyboard or mouse is dropped: there is none.
    """

    def __init__(self, on_reset: Callable[[], None]) -> None:
        self._on_reset = on_reset
        data = RegisterBank(
            DATA, on_read={"DATA": self._read_data}, on_write={"DATA": self._write_data}
        )
        control = RegisterBank(
            CONTROL,
            on_read={"STATUS": self._read_status},
            on_write={"COMMAND": self._write_command},
        )
        ranges = [
            Range(RangeKind.PIO, DATA_PORT, 1, "i8042 data"),
            Range(RangeKind.PIO, COMMAND_PORT, 1, "i8042 command"),
        ]
        super().__init__("i8042", ranges, [data, control])
        self._power_on()

    def reset(self) -> None:
        """Return to the power-on state."""
        super().reset()
        self._power_on()

    def _power_on(self) -> None:
        self._ram = bytearray(_RAM_BYTES)
        self._ram[0] = _CONFIGURATION
        self._output = 0
        self._output_full = False
        self._command: int | None = None  # The command that the next data byte belongs to.
        self._last_was_command = False

    def _read_status(self) -> int:
        status = STATUS_UNLOCKED | self._ram[0] & STATUS_SYSTEM
        if self._output_full:
            status |= STATUS_OUTPUT_FULL
        if self._last_was_command:
            status |= STATUS_COMMAND
        return status

    def _read_data(self) -> int:
        self._output_full = False
        return self._output

    def _answer(self, value: int) -> None:
        self._output = value
        self._output_full = True

    def _write_command(self, command: int) -> None:
        self._last_was_command = True
        self._command = None
        if command in _ANSWERS:
            self._answer(_ANSWERS[command])
        elif READ_RAM <= command < READ_RAM + _RAM_BYTES:
            self._answer(self._ram[command - READ_RAM])
        elif WRITE_RAM <= command < WRITE_RAM + _RAM_BYTES or command in _WITH_PARAMETER:
            self._command = command
        elif command >= PULSE_OUTPUT and not command & _OUTPUT_RESET:
            # Bits 3:0 name the output lines to pulse by a zero; line 0 is the CPU's reset.
            self._on_reset()

    def _write_data(self, value: int) -> None:
        self._last_was_command = False
        command, self._command = self._command, None
        if command is None:
            return  # For a keyboard, and there is none.
        if command < WRITE_RAM + _RAM_BYTES:
            self._ram[command - WRITE_RAM] = value
        elif command == WRITE_OUTPUT:
            if not value & _OUTPUT_RESET:
                self._on_reset()
        elif command in (ECHO_KEYBOARD, ECHO_AUX):
            # Never marked as from the auxiliary port: that is how a driver learns it is empty.
            self._answer(value)
