"""An engine in pure Python whose guests are scripts: the contract of `wardian.cpu.contract`.

It is as strict as the contract: a read that is not answered, two threads in one vCPU, or memory
mapped too late is an AssertionError in the test that does it.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Sequence
from typing import Any

from wardian.base.errors import BugError
from wardian.cpu.contract import (
    FAIL,
    INTERRUPTED,
    MMIO_READ,
    MMIO_WRITE,
    PIO_READ,
    PIO_WRITE,
    SHUTDOWN,
    CpuidEntry,
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

#: Makes the guest of a vCPU from its index.
Script = Callable[[int], Guest]

_TSC_HZ = 1_000_000_000


class FakeVm:
    """A virtual machine whose vCPU i runs `scripts[i]`; vCPUs without a script halt."""

    def __init__(self, engine: str, cpus: int, scripts: Sequence[Script] = ()) -> None:
        self.engine = engine
        self.cpus = cpus
        self.ram: dict[int, mmap.mmap] = {}
        self.cpuid: list[CpuidEntry] = []
        #: Every `set_irq`, in order.
        self.irqs: list[tuple[int, bool]] = []
        #: Every `send_msi`, in order.
        self.msis: list[tuple[int, int]] = []
        #: Accesses that nobody answered.
        self.unclaimed = 0
        self.changed = threading.Condition()
        self.rises = 0
        self._pio: list[tuple[range, int]] = []
        self._mmio: list[tuple[range, int]] = []
        self._scripts = scripts
        self._taken: set[int] = set()
        self.ran = False

    @classmethod
    def running(cls, *scripts: Script) -> Callable[[str, int], FakeVm]:
        """What to pass as `create_vm`: makes machines that run `scripts`."""
        return lambda engine, cpus: cls(engine, cpus, scripts)

    def map_ram(self, gpa: int, length: int) -> None:
        """Adds zeroed RAM."""
        assert not self.ran, "map_ram after the first run"
        assert gpa % 4096 == 0 and length % 4096 == 0 and length > 0
        self.ram[gpa] = mmap.mmap(-1, length)

    def read_ram(self, gpa: int, length: int) -> bytes:
        """Copies RAM out."""
        memory, offset = self._at(gpa, length)
        return memory[offset : offset + length]

    def write_ram(self, gpa: int, data: bytes) -> None:
        """Copies bytes into RAM."""
        memory, offset = self._at(gpa, len(data))
        memory[offset : offset + len(data)] = data

    def claim_pio(self, port: int, length: int, token: int) -> None:
        """Routes ports to Python."""
        self._claim(self._pio, range(port, port + length), token)

    def claim_mmio(self, gpa: int, length: int, token: int) -> None:
        """Routes a guest-physical range to Python."""
        self._claim(self._mmio, range(gpa, gpa + length), token)

    def release_mmio(self, token: int) -> None:
        """Takes back the memory claims of `token`."""
        self._mmio = [(claim, owner) for claim, owner in self._mmio if owner != token]

    def set_irq(self, line: int, level: bool) -> None:
        """Records the level; a rising line wakes every halted vCPU."""
        assert 0 <= line < 24
        with self.changed:
            self.irqs.append((line, level))
            self.rises += level
            self.changed.notify_all()

    def send_msi(self, address: int, data: int) -> None:
        """Records the message and wakes every halted vCPU."""
        with self.changed:
            self.msis.append((address, data))
            self.rises += 1
            self.changed.notify_all()

    def set_cpuid(self, entries: list[CpuidEntry]) -> None:
        """Records the model."""
        assert not self._taken, "set_cpuid after the first vcpu"
        self.cpuid = list(entries)

    def vcpu(self, index: int) -> FakeVcpu:
        """Hands out vCPU `index`, once."""
        assert 0 <= index < self.cpus and index not in self._taken
        script = self._scripts[index] if index < len(self._scripts) else _idle
        self._taken.add(index)
        return FakeVcpu(self, script(index))

    def tsc_hz(self) -> int:
        """One tick per nanosecond."""
        return _TSC_HZ

    def nmi(self, index: int) -> None:
        """Wakes the vCPUs, as an interrupt would."""
        self.send_msi(0, index)

    def stats(self) -> dict[str, int]:
        """The number of accesses that nobody answered."""
        return {"unclaimed": self.unclaimed}

    def route(self, step: In | Out | Load | Store) -> tuple[int, int] | None:
        """Who answers an access, as (token, offset); None for nobody."""
        claims = self._pio if isinstance(step, In | Out) else self._mmio
        address = step.port if isinstance(step, In | Out) else step.gpa
        for claim, token in claims:
            if address in claim:
                return token, address - claim.start
        return None

    def _claim(self, claims: list[tuple[range, int]], wanted: range, token: int) -> None:
        if not wanted or any(r.start < wanted.stop and wanted.start < r.stop for r, _ in claims):
            raise BugError("ENGINE_CLAIM", f"The range {wanted} overlaps another or is empty.")
        claims.append((wanted, token))

    def _at(self, gpa: int, length: int) -> tuple[mmap.mmap, int]:
        for base, memory in self.ram.items():
            if base <= gpa and gpa + length <= base + len(memory):
                return memory, gpa - base
        raise BugError("MEM_RANGE", f"There is no RAM at {gpa:#x}+{length:#x}.")


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
            case Fail(message):
                self._message = message
                return (FAIL, 0, 0, 0, 1)
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


def _idle(_: int) -> Guest:
    while True:
        yield Halt()
