"""One thread per vCPU: run the guest, hand each exit to the bus, run on.

The loop is the machine's only hot path in Python: a character on the serial port is about three
exits. So the bus's routes are a list indexed by token, and the writes come first.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from wardian.cpu.contract import (
    DIVERGED,
    FAIL,
    INTERRUPTED,
    MMIO_READ,
    MMIO_WRITE,
    PIO_READ,
    PIO_WRITE,
    SHUTDOWN,
    Vcpu,
)
from wardian.machine.bus import Bus
from wardian.machine.console import Console
from wardian.machine.exit import ExitReason, MachineExit
from wardian.machine.wiring import End

T = TypeVar("T")

_WRITES = (PIO_WRITE, MMIO_WRITE)
_READS = (PIO_READ, MMIO_READ)

log = logging.getLogger(__name__)


class VcpuThread:
    """Runs one vCPU until the machine's life ends.

    `ended` says whether that is so, and `end` ends it for every vCPU; both come from the life
    the vCPU belongs to. A vCPU leaves the guest only for an exit or a kick, so whoever ends a
    life kicks every vCPU.
    """

    def __init__(
        self,
        index: int,
        vcpu: Vcpu,
        bus: Bus,
        console: Console,
        ended: threading.Event,
        end: End,
    ) -> None:
        self._index = index
        self._vcpu = vcpu
        self._bus = bus
        self._console = console
        self._ended = ended
        self._requests: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._asking = threading.Lock()
        #: The thread will look at its requests no more.
        self._left = False
        # `end` is the life's and is the thread's alone: kept here it would close a cycle, and
        # with it guest memory would wait for the cycle collector.
        self._thread = threading.Thread(
            target=self._main, args=(end,), name=f"vcpu{index}", daemon=True
        )

    def start(self) -> None:
        """Enters the guest. Raises `RuntimeError` where the host refuses a thread."""
        self._thread.start()

    def kick(self) -> None:
        """Makes the vCPU leave the guest, or its wait for the console, soon, or not enter it."""
        self._vcpu.kick()
        self._console.look_again()

    def join(self) -> None:
        """Waits until the thread has ended. Does nothing on itself, or before its start."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def ask(self, question: Callable[[Vcpu], T]) -> Future[T]:
        """Puts `question` to the vCPU between two instructions, on its own thread.

        A vCPU that has ended answers at once, on the caller's.
        """
        answer: Future[T] = Future()

        def put() -> None:
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(question(self._vcpu))
            except Exception as error:
                answer.set_exception(error)

        with self._asking:
            inside = not self._left
            if inside:
                self._requests.put(put)
        if inside:
            self.kick()
        else:
            put()
        return answer

    def _is_asked(self) -> bool:
        return not self._requests.empty()

    def _answer(self) -> None:
        while True:
            try:
                request = self._requests.get_nowait()
            except queue.Empty:
                return
            request()

    def _main(self, end: End) -> None:
        try:
            self._loop(end)
        except BaseException as error:
            # BaseException, because a panic in the core arrives as one.
            log.exception("vCPU %d ended by a bug", self._index)
            what = f"vCPU {self._index}: {type(error).__name__}: {error}"
            end(MachineExit(ExitReason.ENGINE_FAILURE, what))
        finally:
            with self._asking:
                self._left = True
            self._answer()

    def _loop(self, end: End) -> None:
        vcpu, console, ended = self._vcpu, self._console, self._ended
        run, complete_read, routes = vcpu.run, vcpu.complete_read, self._bus.routes
        while True:
            kind, token, offset, size, value = run()
            if kind in _WRITES:
                routes[token].write(offset, size, value)
                if console.full:
                    console.wait_for_room(self._is_asked)
            elif kind in _READS:
                complete_read(routes[token].read(offset, size))
            elif kind == INTERRUPTED:
                self._answer()
                if ended.is_set():
                    return
                if console.full:
                    console.wait_for_room(self._is_asked)
            else:
                end(self._last_words(kind, value))
                if ended.is_set():
                    return

    def _last_words(self, kind: str, value: int) -> MachineExit:
        """Why a vCPU that cannot go on ends the machine."""
        who = f"vCPU {self._index}"
        if kind == SHUTDOWN:
            return MachineExit(
                ExitReason.TRIPLE_FAULT, f"{who} triple-faulted{where(self._vcpu.get_state())}"
            )
        if kind == FAIL:
            why = ExitReason.DIVERGED if value == DIVERGED else ExitReason.ENGINE_FAILURE
            return MachineExit(why, f"{who}: {self._vcpu.last_error()}")
        return MachineExit(ExitReason.ENGINE_FAILURE, f"{who}: the engine returned {kind!r}")


def where(state: dict[str, Any]) -> str:
    """The place of a vCPU in the guest's program, for one line: rip, the stack, CR2 and CR3."""
    parts = [f"{name}={state[name]:#x}" for name in ("rip", "cr0", "cr2", "cr3") if name in state]
    if "gpr" in state:
        parts.insert(1, f"rsp={state['gpr'][4]:#x}")
    return f" at {' '.join(parts)}" if parts else ""
