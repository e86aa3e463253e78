"""An engine in pure Python whose guests are scripts: the contract of `wardian.cpu.contract`.

It is as strict as the contract: a read that is not answered, two threads in one vCPU, or memory
mapped too late is an AssertionError in the test that does it.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Sequence

from wardian.base.errors import BugError
from wardian.cpu.contract import CpuidEntry, Sample
from wardian.testing.fake_vcpu import FakeVcpu
from wardian.testing.steps import Guest, Halt, In, Load, Out, Store

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
        #: The rate of the sampling that runs; 0 for none.
        self.profile_hz = 0
        #: What `profile` gives.
        self.samples: list[Sample] = []
        #: What a translator would list, one line each; written by `flush_perf_map`.
        self.translated: list[str] = []
        self._perf_map: int | None = None

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

    def profile_start(self, hz: int) -> None:
        """Records the rate."""
        assert 1 <= hz <= 10_000
        self.profile_hz = hz

    def profile_stop(self) -> None:
        """Forgets the rate."""
        self.profile_hz = 0

    def profile(self) -> list[Sample]:
        """What the test put into `samples`."""
        return list(self.samples)

    def set_perf_map(self, descriptor: int) -> None:
        """Keeps the descriptor."""
        assert self._perf_map is None, "a second perf map"
        self._perf_map = descriptor

    def flush_perf_map(self) -> None:
        """Writes what the test put into `translated`."""
        if self._perf_map is not None:
            os.write(self._perf_map, "".join(f"{line}\n" for line in self.translated).encode())

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


def _idle(_: int) -> Guest:
    while True:
        yield Halt()
