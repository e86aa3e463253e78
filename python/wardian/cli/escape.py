"""The escape key: which keystrokes are the guest's and which are for the monitor. No terminal here.

Ctrl-] (as in telnet) opens a menu of one further key. Everything else is the guest's, byte by
byte, in order.
"""

from __future__ import annotations

from enum import Enum

ESCAPE = 0x1D
ESCAPE_NAME = "Ctrl-]"


class Command(Enum):
    """What the key after the escape key asks for; the value says it to people."""

    QUIT = "quit: switch the machine off at once"
    POWER_BUTTON = "press the power button: ask the guest to shut down"
    STATS = "statistics"
    TOP = "top: watch where the guest spends its time, until a key is pressed"
    WINDOW = "type the window size into the guest's shell (stty rows ... cols ...)"
    HELP = "this list"


KEYS = {
    ord("q"): Command.QUIT,
    ord("p"): Command.POWER_BUTTON,
    ord("s"): Command.STATS,
    ord("t"): Command.TOP,
    ord("w"): Command.WINDOW,
    ord("?"): Command.HELP,
}

MENU = "\n".join(
    [
        f"{ESCAPE_NAME} and then:",
        *(f"  {chr(key)}       {command.value}" for key, command in KEYS.items()),
        f"  {ESCAPE_NAME}  send {ESCAPE_NAME} to the guest",
        "  other   back to the guest",
    ]
)


class EscapeKeys:
    """Splits what is typed into bytes for the guest and commands for the monitor."""

    def __init__(self) -> None:
        self._escaped = False

    def feed(self, typed: bytes) -> list[bytes | Command]:
        """The next keystrokes, taken apart, in order; neighbouring bytes are joined."""
        parts: list[bytes | Command] = []
        plain = bytearray()
        for key in typed:
            if not self._escaped:
                if key == ESCAPE:
                    self._escaped = True
                else:
                    plain.append(key)
                continue
            self._escaped = False
            # A Ctrl held down a little too long turns the letter into its control character, and
            # Caps Lock into its capital. Digits share their low bits with letters: they mean none.
            letter = key if 0x20 <= key < 0x40 else key | 0x60
            command = KEYS.get(key) or KEYS.get(letter)
            if key == ESCAPE:
                plain.append(ESCAPE)
            elif command:
                if plain:
                    parts.append(bytes(plain))
                    plain.clear()
                parts.append(command)
        if plain:
            parts.append(bytes(plain))
        return parts
