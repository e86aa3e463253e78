"""The vCPU of the engine in pure Python: plays a script, step by step."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from wardian.base.errors import BugError
from wardian.cpu.contract import (
    FAIL,
    INTERRUPTED,
    MMIO_READ,
    MMIO_WRITE,
    PIO_READ,
    PIO_WRITE,
    SHUTDOWN,
    VmExit,
)
from wardian.testing.steps import (
    Fail,
    Guest,
    Halt,
    In,
    Load,
    Out,
    Raise,
    Spin,
    Step,
    Store,
    TripleFault,
)

if TYPE_CHECKING:
    from wardian.testing.fake_engine import FakeVm


class FakeVcpu:
    """Runs one script."""

    def __init__(self, vm: FakeVm, guest: Guest) -> None:
        self._vm = vm
        self._guest = guest
        self._running = threading.Lock()
        self._kicked = False
        self._owes_answer = False
        self._answer = 0
        self._message = ""
        self._steps = 0
        self._state: dict[str, Any] = {"gpr": [0] * 16, "rip": 0xFFF0, "activity": "running"}

    def run(self) -> VmExit:
        """Plays the script until a step needs the machine."""
        assert self._running.acquire(blocking=False), "two threads run one vCPU"
        try:
            self._vm.ran = True
            assert not self._owes_answer, "run before complete_read"
            while True:
                if self._take_kick():
                    return (INTERRUPTED, 0, 0, 0, 0)
                exit = self._play(self._next_step())
                if exit:
                    return exit
        finally:
            self._running.release()

    def complete_read(self, value: int) -> None:
        """Gives the script the value it waits for."""
        assert self._owes_answer, "complete_read without a read"
        assert value >= 0
        self._owes_answer = False
        self._answer = value

    def kick(self) -> None:
        """Ends this run, or the next."""
        with self._vm.changed:
            self._kicked = True
            self._vm.changed.notify_all()

    def get_state(self) -> dict[str, Any]:
        """What `set_state` gave, with every step counted as one byte of code."""
        assert not self._running.locked(), "get_state while the vCPU runs"
        return {**self._state, "rip": self._state["rip"] + self._steps}

    def set_state(self, state: dict[str, Any]) -> None:
        """Keeps the state."""
        self._state.update(state)

    def last_error(self) -> str:
        """The message of the last `Fail`."""
        return self._message

    def stats(self) -> dict[str, int]:
        """Counts steps as instructions."""
        assert not self._running.locked(), "stats while the vCPU runs"
        return {"instructions": self._steps}

    def _take_kick(self) -> bool:
        with self._vm.changed:
            kicked, self._kicked = self._kicked, False
            return kicked

    def _next_step(self) -> Step:
        answer, self._answer = self._answer, 0
        self._steps += 1
        try:
            return self._guest.send(answer) if self._steps > 1 else next(self._guest)
        except StopIteration:
            return Spin()

    def _play(self, step: Step) -> VmExit | None:
        vm = self._vm
        match step:
            case Halt():
                with vm.changed:
                    rises = vm.rises
                    vm.changed.wait_for(lambda: self._kicked or vm.rises != rises)
            case Spin():
                with vm.changed:
                    vm.changed.wait_for(lambda: self._kicked)
            case TripleFault():
                return (SHUTDOWN, 0, 0, 0, 0)
            case Fail(message, value):
                self._message = message
                return (FAIL, 0, 0, 0, value)
            case Raise(error):
                raise error
            case In() | Out() | Load() | Store():
                return self._access(step)
        return None

    def _access(self, step: In | Out | Load | Store) -> VmExit | None:
        vm = self._vm
        if isinstance(step, Load | Store) and self._ram_access(step):
            return None
        found = vm.route(step)
        reads = isinstance(step, In | Load)
        if found is None:
            vm.unclaimed += 1
            self._answer = (1 << 8 * step.size) - 1 if reads else 0
            return None
        token, offset = found
        self._owes_answer = reads
        match step:
            case In():
                return (PIO_READ, token, offset, step.size, 0)
            case Load():
                return (MMIO_READ, token, offset, step.size, 0)
            case Out():
                return (PIO_WRITE, token, offset, step.size, step.value)
            case Store():
                return (MMIO_WRITE, token, offset, step.size, step.value)

    def _ram_access(self, step: Load | Store) -> bool:
        try:
            if isinstance(step, Load):
                self._answer = int.from_bytes(self._vm.read_ram(step.gpa, step.size), "little")
            else:
                self._vm.write_ram(step.gpa, step.value.to_bytes(step.size, "little"))
        except BugError:
            return False
        return True
