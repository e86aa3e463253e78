"""A program for the tests beside it: `wardian run` with a guest that is a script.

    python -m tests.unit.cli.fake_run KERNEL GUEST [live] [profile] [perf-map]

It exits with the status of the run, and prints `left: ...` on standard error if a thread or the
terminal's mode is not as it was.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from pathlib import Path

from tests.unit.machine.scripts import echo, power_off, say
from wardian.cli.run import run_machine
from wardian.cpu.contract import Sample
from wardian.machine.console import Console, WhenFull
from wardian.machine.machine import Machine
from wardian.machine.spec import MachineSpec, OnReset
from wardian.testing import FakeVm, Guest, Halt, Out, TripleFault, fake_host


def talk(cpu: int) -> Guest:
    """Greets, then echoes until a full stop."""
    yield from say(b"ready\r\n")
    yield from echo(cpu)


def hang(cpu: int) -> Guest:
    """Greets, then sleeps for ever."""
    yield from say(b"ready\r\n")
    while True:
        yield Halt()


def flood(cpu: int) -> Guest:
    """Prints for ever."""
    while True:
        yield from say(b"0123456789abcde\n")


def button(cpu: int) -> Guest:
    """Switches off when the power button is pressed."""
    yield Out(0x602, 1 << 8, 2)
    yield from say(b"ready\r\n")
    yield Halt()
    yield from power_off(cpu)


def crash(cpu: int) -> Guest:
    """Triple-faults."""
    yield from say(b"going down\r\n")
    yield TripleFault()


def debug(cpu: int) -> Guest:
    """Ends with the status 33."""
    yield Out(0xF4, 16)


def reset(cpu: int) -> Guest:
    """Resets the machine."""
    yield Out(0xCF9, 6)


GUESTS = {f.__name__: f for f in (talk, hang, flood, button, crash, debug, reset, power_off)}


#: What every machine here is found at: a block of the kernel, one of a program, and asleep.
SAMPLES: list[Sample] = [
    (0, 0xFFFF_FFFF_8100_0040, False, True, False, 30),
    (0, 0x40_1000, True, False, False, 10),
    (0, 0xFFFF_FFFF_8100_0080, False, False, True, 60),
]


def create_vm(guest: str, engine: str, cpus: int) -> FakeVm:
    """A machine that has been sampled already, and has translated two blocks."""
    vm = FakeVm(engine, cpus, [GUESTS[guest]])
    vm.samples = SAMPLES
    vm.translated = ["1000 40 guest:k:0xffffffff81000040", "1040 10 guest:u:0x401000"]
    return vm


def main(kernel: str, guest: str, *options: str) -> int:
    """Runs the guest and checks what is left behind."""
    spec = MachineSpec(
        kernel=Path(kernel), memory_bytes=4 << 20, on_reset=OnReset.EXIT, debug_exit=True
    )
    machine = Machine.from_spec(
        spec,
        console=Console(when_full=WhenFull.WAIT),
        create_vm=partial(create_vm, guest),
        gather_host=fake_host,
    )
    if "profile" in options:
        machine.profiling.start(50)
    status = run_machine(
        machine,
        show_stats=guest == "power_off",
        show_profile="profile" in options,
        live="live" in options,
        perf_map="perf-map" in options,
    )
    left = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
    if left:
        print(f"left: {left}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
