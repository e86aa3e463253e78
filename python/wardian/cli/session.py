"""Connects a running machine's console to standard input and output until the machine ends.

The window size: a serial line has no way to tell it. A guest program that asks the terminal
(`resize`, `stty` in many start-up scripts) gets the true answer, because its question and the
terminal's answer pass through unchanged. For a shell that does not ask, the escape menu's `w`
types the `stty` command into the guest, when the user says so and never by itself: Wardian
cannot know whether a shell or an editor is listening.
"""

from __future__ import annotations

import os
import selectors
import sys
import time

from wardian.base.errors import WardianError
from wardian.cli.escape import MENU, Command, EscapeKeys
from wardian.cli.numbers import describe_stats
from wardian.cli.terminal import RawTerminal
from wardian.cli.top import TopView
from wardian.machine.machine import Machine

#: What a pipe that is ready takes without making the writer wait (pipe(7), PIPE_BUF).
_PIPE_BUF = 4096
#: Between two looks at the console: a guest prints byte by byte, and this joins the bytes.
_PACE_S = 0.003
#: Piped input is taken only as fast as the guest reads it, this much ahead.
_AHEAD = 4096
#: How often to see whether the guest has read what was piped in.
_RETRY_S = 0.02


class OutputClosed(Exception):
    """Nobody reads the standard output any more."""


class Session:
    """One machine between the user's keyboard and screen.

    `terminal` is set when a person types: then there is an escape key, and Ctrl-C is the guest's.
    """

    def __init__(
        self, machine: Machine, terminal: RawTerminal | None, stdin: int = 0, stdout: int = 1
    ) -> None:
        self._machine = machine
        self._console = machine.console
        self._terminal = terminal
        self._stdin = stdin
        self._stdout = stdout
        self._keys = EscapeKeys()
        self._typing_ended = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        #: The number of the signal that ended the session, or 0.
        self.signal = 0

    def interrupt(self, number: int) -> None:
        """Makes `run` return soon, or at once when it starts; for signal handlers."""
        self.signal = number
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Gives back what the session holds."""
        self._console.notify(None)
        os.close(self._wake)

    def run(self) -> None:
        """Returns when the machine has ended and its last output is written, or at a signal.

        Errors: `OutputClosed` when the reader of the standard output has gone.
        """
        self._console.notify(lambda: os.eventfd_write(self._wake, 1))
        while not self._is_over():
            self._serve()
        self._show()

    def watch(self) -> None:
        """Shows where the guest spends its time until a key is pressed or the session ends.

        The guest runs on. What it prints meanwhile is shown afterwards, and a guest that prints
        more than the console keeps waits for that.
        """
        screen = self._terminal.screen if self._terminal else None
        if screen is None:
            say("wardian: neither the output nor the errors go to a terminal to draw on.")
            return
        profiling = self._machine.profiling
        was_running = profiling.running
        try:
            if not was_running:
                profiling.start()
            TopView(
                profiling.profile, self._title, self._stdin, screen, self._wake, self._is_over
            ).run()
        except WardianError as error:
            say(f"wardian: {error}")
        except OSError:
            pass  # The terminal has gone; whoever reads or writes next finds out.
        finally:
            if not was_running:
                profiling.stop()
            # The view may have taken a wake-up that was about output.
            os.eventfd_write(self._wake, 1)

    def _title(self) -> str:
        return f"wardian top (any key returns): {self._machine.description}"

    def _is_over(self) -> bool:
        return self._console.closed or bool(self.signal)

    def _serve(self) -> None:
        """Waits for the guest or the keyboard, and serves both."""
        with selectors.PollSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            listens = not self._typing_ended and self._takes_input()
            if listens:
                selector.register(self._stdin, selectors.EVENT_READ)
            waits_for_guest = not self._typing_ended and not listens
            ready = {key.fd for key, _ in selector.select(_RETRY_S if waits_for_guest else None)}
        if self._stdin in ready:
            self._type()
        if self._wake in ready:
            os.eventfd_read(self._wake)
            self._show()
            time.sleep(_PACE_S)

    def _takes_input(self) -> bool:
        # A person is always listened to: the escape key must work when the guest does not.
        return self._terminal is not None or self._console.typed < _AHEAD

    def _show(self) -> None:
        data = memoryview(self._console.read_bytes(timeout=0))
        while data and self._may_write():
            try:
                data = data[os.write(self._stdout, data[:_PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except OSError:
                # EPIPE, or EIO from a terminal that has gone.
                raise OutputClosed from None

    def _may_write(self) -> bool:
        """Waits until output is taken; False when a signal ends the session first."""
        with selectors.PollSelector() as selector:
            selector.register(self._stdout, selectors.EVENT_WRITE)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self.signal:
                if self._stdout in {key.fd for key, _ in selector.select()}:
                    return True
                os.eventfd_read(self._wake)
        return False

    def _type(self) -> None:
        try:
            typed = os.read(self._stdin, _AHEAD)
        except BlockingIOError:
            return
        except OSError:
            typed = b""  # The terminal has gone (EIO): as good as its end.
        if not typed:
            self._typing_ended = True
        if not self._terminal:
            self._console.write(typed)
            return
        for part in self._keys.feed(typed):
            if isinstance(part, bytes):
                self._console.write(part)
            else:
                self._obey(part, self._terminal)

    def _obey(self, command: Command, terminal: RawTerminal) -> None:
        match command:
            case Command.QUIT:
                self._machine.stop()
                say("wardian: switched off.")
            case Command.POWER_BUTTON:
                try:
                    self._machine.press_power_button()
                    # A guest without a driver for the button does nothing at all.
                    say("wardian: pressed the power button.")
                except WardianError as error:
                    say(f"wardian: {error}")
            case Command.STATS:
                try:
                    say(describe_stats(self._machine.stats()))
                except WardianError as error:
                    say(f"wardian: {error}")
            case Command.TOP:
                self.watch()
            case Command.WINDOW:
                rows, columns = terminal.size()
                # The leading space keeps the line out of the history of most shells.
                self._console.write(f" stty rows {rows} cols {columns}\r")
            case Command.HELP:
                say(MENU)


def say(text: str) -> None:
    """Tells the user something beside the guest's output, in a raw terminal or not."""
    if not sys.stderr:
        return  # Started with descriptor 2 closed.
    lines = "".join(f"\r{line}\r\n" for line in ["", *text.splitlines()])
    sys.stderr.write(lines if sys.stderr.isatty() else f"{text}\n")
    sys.stderr.flush()
