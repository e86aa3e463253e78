"""A program in a terminal, as a person would see it and type into it."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
import time

LIMIT_S = 20.0


class Terminal:
    """A program in a terminal of its own, its keyboard and its screen."""

    def __init__(self, command: list[str]) -> None:
        self.keyboard, inside = pty.openpty()
        termios.tcsetwinsize(inside, (33, 101))
        self.mode = termios.tcgetattr(inside)
        self.inside = inside
        self.screen = b""
        # A session of its own, whose controlling terminal is the first that it opens.
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR));"
                "os.execv(sys.argv[1], sys.argv[1:])",
                *command,
            ],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
        )

    def type(self, keys: bytes) -> None:
        """Presses keys."""
        os.write(self.keyboard, keys)

    def expect(self, text: bytes) -> None:
        """Waits until the screen shows `text`, and forgets everything up to it."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.screen:
            assert time.monotonic() < deadline, self.screen
            self.screen += os.read(self.keyboard, 4096)
        self.screen = self.screen.split(text, 1)[1]

    def wait(self) -> int:
        """Waits for the end; the terminal must be in the mode it was in."""
        status = self.process.wait(LIMIT_S)
        assert termios.tcgetattr(self.inside) == self.mode, "the mode of the terminal"
        os.set_blocking(self.keyboard, False)
        while True:
            try:
                self.screen += os.read(self.keyboard, 4096)
            except BlockingIOError:
                break
        assert b"left:" not in self.screen
        assert b"Traceback" not in self.screen
        return status

    def close(self) -> None:
        """Ends everything."""
        self.process.kill()
        self.process.wait()
        os.close(self.keyboard)
        os.close(self.inside)


def open_terminal(
    terminals: list[Terminal], command: list[str], guest: str, *options: str
) -> Terminal:
    """Runs `guest` in a new terminal, which the fixture `terminals` closes."""
    terminals.append(Terminal([*command, guest, *options]))
    return terminals[-1]
