"""The engine contract as Python sees it: what the machine may ask of a virtual machine.

The compiled core (`wardian._core`) fulfils it, and so does the scripted `wardian.testing.FakeVm`:
the layers above depend on these two protocols and never on one engine.
"""

from __future__ import annotations

from typing import Any, Protocol

#: What `Vcpu.run` returns: (kind, token, offset in the claim, access size in bytes, value).
VmExit = tuple[str, int, int, int, int]

#: One CPUID row: leaf, subleaf, EAX, EBX, ECX, EDX.
CpuidEntry = tuple[int, int, int, int, int, int]

#: One place of a profile: vCPU, RIP, whether at ring 3, whether its translation ran, whether the
#: vCPU slept, samples.
Sample = tuple[int, int, bool, bool, bool, int]

#: vCPUs an engine may be asked for (`MAX_VCPUS` in crates/engine).
MAX_VCPUS = 64

PIO_READ = "pio_read"
PIO_WRITE = "pio_write"
MMIO_READ = "mmio_read"
MMIO_WRITE = "mmio_write"
#: The guest triple-faulted.
SHUTDOWN = "shutdown"
#: Somebody called `Vcpu.kick`.
INTERRUPTED = "interrupted"
#: The engine cannot go on; `Vcpu.last_error` says why.
FAIL = "fail"
#: The value of a `FAIL` of an engine that checks itself and found that it is wrong.
DIVERGED = 2


class Vcpu(Protocol):
    """One virtual CPU. One thread runs it; only `kick` may come from any other thread."""

    def run(self) -> VmExit:
        """Runs guest code until something needs the machine, without holding the GIL."""

    def complete_read(self, value: int) -> None:
        """Answers the read of the last exit; due before the next `run`."""

    def kick(self) -> None:
        """Makes the current `run`, or else the next one, return `INTERRUPTED`."""

    def get_state(self) -> dict[str, Any]:
        """The architectural state at an instruction boundary."""

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads the named parts of the state; what `state` does not name stays as it was."""

    def last_error(self) -> str:
        """Why the last exit was `FAIL`."""

    def stats(self) -> dict[str, int]:
        """Counters by name: instructions, exits by route, interrupts, the engine's own, ..."""


class Vm(Protocol):
    """One virtual machine. Every method may be called from any thread."""

    def map_ram(self, gpa: int, length: int) -> None:
        """Adds zeroed RAM; both numbers are multiples of 4096. Only before the first `run`."""

    def read_ram(self, gpa: int, length: int) -> bytes:
        """Copies guest RAM out."""

    def write_ram(self, gpa: int, data: bytes) -> None:
        """Copies bytes into guest RAM."""

    def claim_pio(self, port: int, length: int, token: int) -> None:
        """Routes ports to Python; `token` comes back in the exits."""

    def claim_mmio(self, gpa: int, length: int, token: int) -> None:
        """Routes a guest-physical range to Python."""

    def release_mmio(self, token: int) -> None:
        """Takes back every memory claim made with `token`."""

    def set_irq(self, line: int, level: bool) -> None:
        """Drives global system interrupt `line` (0 to 23; 0 to 15 reach the 8259 pair too)."""

    def send_msi(self, address: int, data: int) -> None:
        """Delivers a message-signalled interrupt."""

    def set_cpuid(self, entries: list[CpuidEntry]) -> None:
        """Fixes the CPUID model. Only before the first `vcpu`."""

    def vcpu(self, index: int) -> Vcpu:
        """Hands out vCPU `index`, once."""

    def tsc_hz(self) -> int:
        """The rate of the guest's time-stamp counter."""

    def nmi(self, index: int) -> None:
        """Raises a non-maskable interrupt on vCPU `index`."""

    def stats(self) -> dict[str, int]:
        """Counters of the machine as a whole, by name; each vCPU has its own."""

    def profile_start(self, hz: int) -> None:
        """Samples where every vCPU is, `hz` times a second (1 to 10,000), from now on."""

    def profile_stop(self) -> None:
        """Ends the sampling; what it found stays."""

    def profile(self) -> list[Sample]:
        """What the vCPUs were found at so far, each place once, in no order."""

    def set_perf_map(self, descriptor: int) -> None:
        """Lists the host code of every block translated from now on in a file, for `perf`.

        The descriptor stays the caller's. Once in a machine's life.
        """

    def flush_perf_map(self) -> None:
        """Brings what was listed so far into the file."""
