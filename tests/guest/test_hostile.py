"""Guests that go wrong in every way we know: the monitor survives, says what happened, and ends.

The guests are in micro/hostile. Most run through the command line in a process of their own, so
that a crash of the monitor is seen as one.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import wardian
from fuzz.streams import states
from fuzz.streams.run import counted
from tests.guest.micro import runner

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")
pytestmark = pytest.mark.guest

_LIMIT_S = 120.0

#: Cases of ends.c that leave the CPU without what it lives on: a triple fault.
TRIPLE_FAULTS = (
    *("triple_fault", "cr3_ecam", "cr3_hole", "cr3_beyond", "idt_ecam", "idt_lapic", "idt_hole"),
    *("irq_through_ecam", "nmi_through_ecam", "irq_stack_ecam", "gdt_ecam", "gdt_hole"),
    *("stack_ecam", "stack_hole", "tss_ecam"),
)
#: Cases that fetch instructions where there is no RAM: the address is named.
JUMPS = {
    "jump_ecam": 0xB000_0000,
    "jump_ioapic": 0xFEC0_0000,
    "jump_lapic": 0xFEE0_0000,
    "jump_hole": 0xD000_0000,
    "jump_beyond": 0x3F_0000_0000,
    "run_out_of_ram": 0x3F_0000_0000,
    "init_self": 0xFFFF_F000,
}
#: Cases whose page tables lie in device memory: a page fault with the reserved bit.
WALKS = ("walk_ecam", "walk_ioapic", "walk_hole", "walk_beyond")
#: Cases that end by themselves, and their CPUs.
SURVIVED = {"remap_under_access": 2, "init_storm": 4}
#: The storm's NMIs may reach a vCPU that is still starting and has no interrupt table yet.
AN_NMI_TOO_EARLY = re.compile(
    r"wardian: error\[GUEST_TRIPLE_FAULT\]: vCPU [123] triple-faulted at rip=0x.*\n"
)
#: Cases that never end, and their CPUs.
ENDLESS = {
    "halt_for_ever": 1,
    "spin_for_ever": 1,
    "repeat_for_ever": 1,
    "interrupt_storm": 1,
    "timer_storm": 1,
    "stack_lapic": 1,
    "stack_border": 1,
    "halt_everywhere": 4,
}


def image(name: str) -> Path:
    return runner.build(runner.read_guest(runner.HERE / "hostile" / f"{name}.c"))


def run(name: str, append: str, cpus: int = 1) -> subprocess.CompletedProcess[str]:
    """Runs a guest to its end; a crash or a bug of the monitor fails the test."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "wardian", "run", "--kernel", str(image(name)), "--debug-exit"),
            *("--memory", "64M", "--cpus", str(cpus), "--append", append, "--on-reset", "exit"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_LIMIT_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "panicked" not in done.stderr
    return done


@pytest.mark.parametrize("case", TRIPLE_FAULTS)
def test_a_triple_fault_is_reported_with_its_place(case: str) -> None:
    done = run("ends", case)
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert re.fullmatch(
        r"wardian: error\[GUEST_TRIPLE_FAULT\]: vCPU 0 triple-faulted at rip=0x[0-9a-f]+ .*\.\n",
        done.stderr,
    )


@pytest.mark.parametrize("case", JUMPS)
def test_a_jump_out_of_ram_is_reported_with_its_target(case: str) -> None:
    done = run("ends", case)
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert done.stderr.count("\n") == 1
    assert f"guest-physical {JUMPS[case]:#x}: not RAM" in done.stderr


@pytest.mark.parametrize("case", WALKS)
def test_page_tables_in_device_memory_fault(case: str) -> None:
    done = run("ends", case)
    assert "panic vector=0xe error=0x9 " in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("case", SURVIVED)
def test_what_must_end_by_itself(case: str) -> None:
    done = run("ends", case, SURVIVED[case])
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert done.stderr == "" or (case == "init_storm" and AN_NMI_TOO_EARLY.fullmatch(done.stderr))


@pytest.mark.parametrize("case", ENDLESS)
def test_a_guest_that_never_ends_can_be_stopped(case: str) -> None:
    with wardian.Machine(
        kernel=image("ends"), append=case, memory="64M", cpus=ENDLESS[case], debug_exit=True
    ) as machine:
        machine.console.expect("ready", 60)
        time.sleep(0.2)
        assert machine.running
        assert len(machine.vcpu_states()) == ENDLESS[case]
        began = time.monotonic()
        machine.stop()
        assert time.monotonic() - began < 10
    assert machine.wait(0).reason is wardian.ExitReason.STOPPED
    assert not [t for t in threading.enumerate() if t.name.startswith(("vcpu", "machine"))]


@pytest.mark.parametrize("seed", range(1, 5))
def test_garbage_to_every_port_and_register(seed: int) -> None:
    done = run("garbage", str(seed))
    assert (done.returncode, done.stderr) == (runner.PASSED, "")
    assert done.stdout.endswith("done 7\n")


def test_device_memory_as_every_operand() -> None:
    done = run("operands", "")
    assert "not ok" not in done.stdout
    assert (done.returncode, done.stderr) == (runner.PASSED, "")


def test_random_instruction_streams() -> None:
    seeds = range(20)
    print("seeds", seeds)
    assert counted(seeds).total() == len(seeds)


def test_random_code_from_random_states() -> None:
    ended = states.run(seed=2026, cases=3000)
    assert ended["ended by shutdown"] > 1000
    assert min(number for name, number in ended.items() if name.startswith("mode")) > 100
