"""The serial console of a machine, as the person or program outside holds it.

The guest's side (`put`) runs on vCPU threads, once per character, so it does as little as it can.
Everything else belongs to the reader.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from enum import StrEnum

from wardian.base.errors import GuestError

DEFAULT_CAPACITY = 4 << 20

#: Undecodable bytes arrive as the lone surrogates of PEP 383; people see U+FFFD for each.
_SURROGATES = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")

#: After a look that found nothing, a reader lets this much time pass before it looks again, so
#: that a guest that prints character by character does not wake it for each.
_SETTLE_S = 0.002

#: Characters of a line that `lines` waits for.
_LONGEST_LINE = 1 << 16


class ConsoleTimeout(GuestError, TimeoutError):
    """The guest did not print what was expected in time."""


class ConsoleClosed(GuestError, EOFError):
    """The machine ended before the guest printed what was expected."""


class WhenFull(StrEnum):
    """What happens to guest output nobody has read once the buffer is full."""

    #: The oldest output is lost, and counted in `Console.discarded`.
    DISCARD_OLDEST = "discard-oldest"
    #: The guest waits, as for a terminal that holds the line.
    WAIT = "wait"


class Console:
    """Reads what the guest prints and types what it reads. Every method is thread-safe.

    Output that nobody reads is kept up to `capacity` bytes. Text is UTF-8; bytes that are not
    become U+FFFD in the methods that return text.
    """

    def __init__(
        self, capacity: int = DEFAULT_CAPACITY, when_full: WhenFull = WhenFull.DISCARD_OLDEST
    ) -> None:
        self._changed = threading.Condition()
        #: Threads that wait for `_changed`. Telling nobody costs more than to count.
        self._waiters = 0
        self._output = bytearray()
        self._capacity = capacity
        self._waits = when_full is WhenFull.WAIT
        self._closed = False
        #: All output there ever was, in bytes: unlike the buffer's length, it always grows.
        self._received = 0
        self._discarded = 0
        self._on_output: Callable[[], None] | None = None
        self._type: Callable[[bytes], None] | None = None
        #: Whether a vCPU that finished a device access has to `wait_for_room` before it goes on.
        self.full = False
        self._unread: Callable[[], int] | None = None
        self._typed_ahead = bytearray()

    # ---- the reader's side

    @property
    def closed(self) -> bool:
        """Whether the machine has ended; output it left can still be read."""
        return self._closed

    @property
    def discarded(self) -> int:
        """Bytes of output lost because nobody read them."""
        return self._discarded

    def read_bytes(self, timeout: float | None = None) -> bytes:
        """Takes everything printed so far, waiting up to `timeout` seconds for the first byte.

        Returns b"" when the time is over or the machine has ended. None waits for ever, 0 not.
        """
        with self._changed:
            self._wait_for(lambda: self._output or self._closed, timeout)
            taken = bytes(self._output)
            self._consume(len(taken))
            return taken

    def read(self, timeout: float | None = None) -> str:
        """As `read_bytes`, as text. A character whose last bytes are still due stays unread."""
        with self._changed:
            self._wait_for(lambda: self._whole_characters() or self._closed, timeout)
            taken = bytes(self._output[: None if self._closed else self._whole_characters()])
            self._consume(len(taken))
        return taken.decode(errors="surrogateescape").translate(_SURROGATES)

    def expect(self, pattern: str | re.Pattern[str], timeout: float = 30.0) -> re.Match[str]:
        """Waits until the output matches `pattern`, and takes the output up to the match's end.

        The match's `string` is all text that was unread, so `match.string[:match.start()]` is
        what came before. Nothing is taken when it raises.

        Errors: `ConsoleTimeout` after `timeout` seconds; `ConsoleClosed` when the machine ends.
        """
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        seen = -1
        while True:
            with self._changed:
                self._wait_for_more(seen, deadline)
                seen, closed = self._received, self._closed
                raw = self._output.decode(errors="surrogateescape")
                # One character in, one out: the match's positions hold in both texts.
                text = raw.translate(_SURROGATES)
                found = wanted.search(text)
                if found:
                    self._consume(len(raw[: found.end()].encode(errors="surrogateescape")))
                    return found
            tail = text[-200:].strip() or "nothing"
            if closed:
                raise ConsoleClosed(
                    "CONSOLE_CLOSED",
                    f"the machine ended before its console matched {wanted.pattern!r}; "
                    f"the last output was: {tail}",
                )
            if time.monotonic() >= deadline:
                raise ConsoleTimeout(
                    "CONSOLE_TIMEOUT",
                    f"the console did not match {wanted.pattern!r} within {timeout:g} s; "
                    f"the last output was: {tail}",
                )
            time.sleep(min(_SETTLE_S, timeout))

    def __iter__(self) -> Iterator[str]:
        """Yields output as it comes, in pieces of any length, until the machine ends."""
        while True:
            text = self.read()
            if text:
                yield text
            elif self._closed:
                return

    def lines(self) -> Iterator[str]:
        """Yields output line by line, without line ends, until the machine ends.

        A guest that ends no line gets one ended for it after 64 Ki characters.
        """
        rest = ""
        for text in self:
            *whole, rest = (rest + text).split("\n")
            for line in whole:
                yield line.rstrip("\r")
            while len(rest) >= _LONGEST_LINE:
                yield rest[:_LONGEST_LINE]
                rest = rest[_LONGEST_LINE:]
        if rest:
            yield rest

    def write(self, data: str | bytes) -> None:
        """Types `data` into the guest's serial port; the guest reads it when it wants to.

        What is typed before the machine starts, or while it reboots, is kept for it.
        """
        typed = data.encode() if isinstance(data, str) else bytes(data)
        with self._changed:
            if self._type is None:
                self._typed_ahead += typed
                return
            type_in = self._type
        type_in(typed)

    @property
    def typed(self) -> int:
        """Bytes that were typed and that the guest has not read yet."""
        with self._changed:
            unread = self._unread
            ahead = len(self._typed_ahead)
        return ahead + unread() if unread else ahead

    def notify(self, on_output: Callable[[], None] | None) -> None:
        """Calls `on_output` whenever output or the end arrives where there was none unread.

        It is called on vCPU threads, so it must not wait. None ends that.
        """
        with self._changed:
            self._on_output = on_output
            pending = bool(self._output) or self._closed
        if pending and on_output:
            on_output()

    # ---- the machine's side

    def put(self, data: bytes) -> None:
        """Takes output from the guest. Never waits: the caller may hold a device's lock."""
        with self._changed:
            was_empty = not self._output
            self._output += data
            self._received += len(data)
            excess = len(self._output) - self._capacity
            if excess > 0:
                if self._waits:
                    self.full = True
                else:
                    del self._output[:excess]
                    self._discarded += excess
            if self._waiters:
                self._changed.notify_all()
            on_output = self._on_output if was_empty else None
        if on_output:
            on_output()

    def wait_for_room(self, is_wanted: Callable[[], bool]) -> None:
        """Holds a vCPU still while the console is full, until it is read or disconnected.

        `is_wanted` says whether the vCPU has something else to do; `look_again` makes it heard.
        """
        with self._changed:
            self._wait_for(lambda: not self.full or self._type is None or is_wanted())

    def look_again(self) -> None:
        """Makes the vCPUs in `wait_for_room` ask again whether they are wanted."""
        with self._changed:
            self._changed.notify_all()

    def connect(self, type_in: Callable[[bytes], None], unread: Callable[[], int]) -> None:
        """Gives the keyboard to a serial port, and to it whatever was typed ahead.

        `unread` says how much of what was typed the guest has not taken.
        """
        with self._changed:
            self._type, self._unread = type_in, unread
            typed = bytes(self._typed_ahead)
            self._typed_ahead.clear()
        if typed:
            type_in(typed)

    def disconnect(self) -> None:
        """Takes the keyboard from the serial port; what is typed now waits for the next."""
        with self._changed:
            self._type = self._unread = None
            self._changed.notify_all()

    def close(self) -> None:
        """The machine has ended: whoever waits goes on, with the output that is left."""
        with self._changed:
            self._closed = True
            self._type = self._unread = None
            self._changed.notify_all()
            on_output = self._on_output
        if on_output:
            on_output()

    # ---- inside

    def _wait_for(self, ready: Callable[[], object], timeout: float | None = None) -> None:
        self._waiters += 1
        try:
            self._changed.wait_for(ready, timeout)
        finally:
            self._waiters -= 1

    def _wait_for_more(self, seen: int, deadline: float) -> None:
        """Waits until more output has come than the `seen` bytes, or the machine ends."""
        self._wait_for(
            lambda: self._received != seen or self._closed,
            max(0.0, deadline - time.monotonic()),
        )

    def _consume(self, length: int) -> None:
        del self._output[:length]
        if self.full and len(self._output) <= self._capacity // 2:
            self.full = False
            self._changed.notify_all()

    def _whole_characters(self) -> int:
        """Bytes of output up to the last character that may still lack bytes (RFC 3629)."""
        end = len(self._output)
        for back in range(1, min(3, end) + 1):
            byte = self._output[end - back]
            if byte & 0xC0 == 0xC0:
                length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
                return end - back if length > back else end
            if byte < 0x80:
                break
        return end
