"""One life of a machine: from power-on until something ends it. A reboot is a new life."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from wardian.base.errors import HostError
from wardian.cpu.contract import Vcpu
from wardian.machine.board import Board
from wardian.machine.console import Console
from wardian.machine.exit import ExitReason, MachineExit
from wardian.machine.stats import LifeStats
from wardian.machine.vcpu_thread import VcpuThread
from wardian.machine.wiring import End

T = TypeVar("T")

#: A vCPU answers questions at its next instruction boundary, or when its device access is done.
_ANSWER_S = 5.0


class Life:
    """The vCPU threads of one board. Ends once; `end` may be called from any thread."""

    def __init__(self, build: Callable[[End], Board], console: Console) -> None:
        self._console = console
        self._ended = threading.Event()
        self._exit: MachineExit | None = None
        self._lock = threading.Lock()
        self._threads: tuple[VcpuThread, ...] = ()
        self.board = build(self.end)
        self._threads = tuple(
            VcpuThread(index, vcpu, self.board.bus, console, self._ended, self.end)
            for index, vcpu in enumerate(self.board.vcpus)
        )

    def start(self, *others: threading.Thread) -> None:
        """Powers on: every vCPU enters the guest or waits for its start-up IPI; `others` start too.

        Errors: `HostError` HOST_THREADS where the host refuses a thread; this life is over then.
        """
        self._console.connect(self.board.type_in, self.board.unread)
        try:
            for thread in self._threads:
                thread.start()
            for other in others:
                other.start()
        except RuntimeError as error:
            # A limit on processes, as containers have it.
            self.end(MachineExit(ExitReason.ENGINE_FAILURE, str(error)))
            self.wait()
            raise HostError(
                "HOST_THREADS", f"This host refuses the machine a thread: {error}."
            ) from error

    def end(self, exit: MachineExit) -> None:
        """Ends this life for the reason in `exit`, unless it has ended for another already.

        Returns at once. After a call from a vCPU's own device access, that vCPU executes no
        further instruction, for its kick is pending.
        """
        with self._lock:
            if self._exit is not None:
                return
            self._exit = exit
        self._ended.set()
        for thread in self._threads:
            thread.kick()

    def wait(self) -> MachineExit:
        """Waits until something ends this life and every vCPU has left the guest."""
        self._ended.wait()
        self._console.disconnect()
        for thread in self._threads:
            thread.join()
        self.board.wiring.cut()
        assert self._exit is not None
        return self._exit

    def stats(self) -> LifeStats:
        """Counters so far. Waits for every vCPU to reach an instruction boundary.

        Errors: `HostError` MACHINE_BUSY when one does not in time.
        """
        return LifeStats(
            vcpus=self._ask(lambda vcpu: vcpu.stats()),
            vm=self.board.vm.stats(),
            ranges=self.board.bus.counts(),
        )

    def vcpu_states(self) -> tuple[dict[str, Any], ...]:
        """The architectural state of every vCPU, each at an instruction boundary of its own.

        Errors: those of `stats`.
        """
        return self._ask(lambda vcpu: vcpu.get_state())

    def _ask(self, question: Callable[[Vcpu], T]) -> tuple[T, ...]:
        answers = [thread.ask(question) for thread in self._threads]
        try:
            return tuple(answer.result(_ANSWER_S) for answer in answers)
        except TimeoutError:
            raise HostError(
                "MACHINE_BUSY", f"A vCPU has not answered within {_ANSWER_S:g} s."
            ) from None
