"""A machine's life as its user sees it, with guests that are scripts."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from pathlib import Path

import pytest

from tests.unit.machine.conftest import MakeMachine
from tests.unit.machine.scripts import (
    DEBUG_EXIT,
    RESET_CONTROL,
    echo,
    power_off,
    say,
    spin,
)
from wardian.base.errors import BugError, CallerError, HostError
from wardian.cpu.contract import DIVERGED
from wardian.machine import at_exit, life
from wardian.machine.console import Console, ConsoleClosed, WhenFull
from wardian.machine.exit import ExitReason, MachineExit, MachineTimeout
from wardian.machine.machine import Machine
from wardian.machine.spec import OnReset
from wardian.testing import (
    Fail,
    FakeVm,
    Guest,
    Halt,
    In,
    Load,
    Out,
    Raise,
    Store,
    TripleFault,
    fake_host,
)

SOON = 10.0


def test_power_off_ends_the_machine(make_machine: MakeMachine) -> None:
    with make_machine(power_off) as machine:
        assert machine.wait(SOON) == MachineExit(ExitReason.POWER_OFF)
    assert machine.exit == MachineExit(ExitReason.POWER_OFF)
    assert not machine.running


def test_the_guest_executes_nothing_after_power_off(make_machine: MakeMachine) -> None:
    after = []

    def guest(cpu: int) -> Guest:
        yield from power_off(cpu)
        after.append("executed")
        yield Halt()

    with make_machine(guest) as machine:
        machine.wait(SOON)
    assert not after


def test_power_off_ends_every_vcpu(make_machine: MakeMachine) -> None:
    with make_machine(power_off, spin, spin) as machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert not [t for t in threading.enumerate() if t.name.startswith(("vcpu", "machine"))]


def test_output_and_input_pass_through_the_console(make_machine: MakeMachine) -> None:
    with make_machine(echo) as machine:
        machine.console.write("hello")
        assert machine.console.expect("hel+o", SOON)
        machine.console.write(b" there.")
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert machine.console.read() == " there."
    assert machine.console.closed


def test_what_is_typed_before_the_start_is_not_lost(make_machine: MakeMachine) -> None:
    machine = make_machine(echo)
    machine.console.write("early.")
    with machine:
        machine.wait(SOON)
    assert machine.console.read() == "early."


def test_expect_says_when_the_machine_ended_first(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield from say(b"panic")
        yield from power_off(cpu)

    with make_machine(guest) as machine, pytest.raises(ConsoleClosed, match="panic"):
        machine.console.expect("login:", SOON)


def test_debug_exit_carries_the_guests_status(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Out(DEBUG_EXIT, 21, 4)

    with make_machine(guest) as machine:
        ended = machine.wait(SOON)
    assert (ended.reason, ended.status) == (ExitReason.DEBUG_EXIT, 43)


def test_without_debug_exit_the_port_is_nobodys(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Out(DEBUG_EXIT, 21, 4)
        yield from power_off(cpu)

    with make_machine(guest, debug_exit=False) as machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF


def test_a_triple_fault_names_the_place(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield TripleFault()

    with make_machine(guest) as machine:
        ended = machine.wait(SOON)
    assert ended.reason is ExitReason.TRIPLE_FAULT
    assert "vCPU 0 triple-faulted at rip=0x" in ended.detail
    assert machine.vcpu_states()[0]["rip"] > 0


def test_an_engine_that_gives_up_ends_the_machine_with_its_message(
    make_machine: MakeMachine,
) -> None:
    def guest(cpu: int) -> Guest:
        yield Fail("no such instruction")

    with make_machine(guest) as machine:
        ended = machine.wait(SOON)
    assert ended == MachineExit(ExitReason.ENGINE_FAILURE, "vCPU 0: no such instruction")


def test_an_engine_that_finds_itself_wrong_ends_the_machine(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Fail("rax is 6, should be 7", DIVERGED)

    with make_machine(guest) as machine:
        ended = machine.wait(SOON)
    assert ended == MachineExit(ExitReason.DIVERGED, "vCPU 0: rax is 6, should be 7")


def test_an_engine_that_raises_ends_the_machine(make_machine: MakeMachine) -> None:
    class Panic(BaseException):
        """As a panic in Rust arrives."""

    def guest(cpu: int) -> Guest:
        yield Raise(Panic("index out of bounds"))

    with make_machine(guest, spin) as machine:
        ended = machine.wait(SOON)
    assert ended.reason is ExitReason.ENGINE_FAILURE
    assert "index out of bounds" in ended.detail


def test_a_reset_ends_the_machine_where_the_spec_says_so(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Out(RESET_CONTROL, 6)

    with make_machine(guest) as machine:
        assert machine.wait(SOON).reason is ExitReason.RESET


def test_a_reset_boots_again(make_machine: MakeMachine) -> None:
    boots: list[int] = []
    vms: list[FakeVm] = []

    def guest(cpu: int) -> Guest:
        boots.append(cpu)
        yield from say(b"boot %d\n" % len(boots))
        if len(boots) < 3:
            yield Store(0x8000, 1)
            yield Out(RESET_CONTROL, 6)
        yield from power_off(cpu)

    with make_machine(guest, on_reset=OnReset.REBOOT, vms=vms) as machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert list(machine.console.lines()) == ["boot 1", "boot 2", "boot 3"]
    assert machine.stats().resets == 2
    assert vms[2].read_ram(0x8000, 4) == bytes(4), "a reset gives zeroed memory"


def test_a_reset_whose_kernel_is_gone_ends_the_machine(
    make_machine: MakeMachine, kernel: Path
) -> None:
    def guest(cpu: int) -> Guest:
        kernel.unlink()
        yield Out(RESET_CONTROL, 6)

    with make_machine(guest, on_reset=OnReset.REBOOT) as machine:
        ended = machine.wait(SOON)
    assert ended.reason is ExitReason.ENGINE_FAILURE
    assert "does not exist" in ended.detail


def test_stop_during_endless_reboots(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Out(RESET_CONTROL, 6)

    machine = make_machine(guest, on_reset=OnReset.REBOOT)
    machine.start()
    while machine.stats().resets < 3:
        time.sleep(0.001)
    machine.stop()
    assert machine.wait(0).reason in (ExitReason.STOPPED, ExitReason.RESET)


def test_stop_is_idempotent_and_possible_at_any_time(make_machine: MakeMachine) -> None:
    never_started = make_machine(spin)
    never_started.stop()
    assert never_started.wait(0) == MachineExit(ExitReason.STOPPED)
    with pytest.raises(CallerError, match="once"):
        never_started.start()

    machine = make_machine(spin, spin)
    machine.start()
    machine.start()
    for _ in range(3):
        machine.stop()
    assert machine.wait() == MachineExit(ExitReason.STOPPED)


def test_the_first_reason_counts(make_machine: MakeMachine) -> None:
    with make_machine(power_off) as machine:
        machine.wait(SOON)
        machine.stop()
        assert machine.wait().reason is ExitReason.POWER_OFF


def test_wait_has_a_limit(make_machine: MakeMachine) -> None:
    machine = make_machine(spin)
    with pytest.raises(CallerError, match="not been started"):
        machine.wait()
    with machine, pytest.raises(MachineTimeout):
        machine.wait(0.01)


def test_nothing_is_left_behind(make_machine: MakeMachine) -> None:
    vms: list[FakeVm] = []
    gc.collect()
    gc.disable()
    try:
        with make_machine(spin, spin, vms=vms) as machine:
            machine.stats()
        kept = weakref.ref(vms.pop())
        assert kept() is None, "guest memory is freed without the cycle collector's help"
    finally:
        gc.enable()
    assert not [t for t in threading.enumerate() if t.name.startswith(("vcpu", "machine"))]


def test_an_exception_in_the_context_stops_the_machine(make_machine: MakeMachine) -> None:
    machine = make_machine(spin)
    with pytest.raises(KeyError), machine:
        raise KeyError
    assert machine.exit == MachineExit(ExitReason.STOPPED)


def test_the_power_button_reaches_the_guest(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield Out(0x602, 1 << 8, 2)
        yield from say(b"ready")
        yield Halt()
        status = yield In(0x600, 2)
        yield from say(b"%#x" % (status & 1 << 8))
        yield from power_off(cpu)

    vms: list[FakeVm] = []
    machine = make_machine(guest, vms=vms)
    with pytest.raises(CallerError, match="not running"):
        machine.press_power_button()
    with machine:
        machine.console.expect("ready", SOON)
        machine.press_power_button()
        machine.wait(SOON)
    assert machine.console.read() == "0x100"
    assert (9, True) in vms[0].irqs


def test_stats_count_instructions_and_accesses(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        yield from say(b"abc")
        yield In(0x1234)
        yield from power_off(cpu)

    with make_machine(guest, spin) as machine:
        machine.wait(SOON)
    stats = machine.stats()
    serial = next(row for row in stats.ranges if row.device == "serial")
    assert (serial.reads, serial.writes, serial.errors) == (3, 3, 0)
    assert stats.vm["unclaimed"] == 1
    assert stats.totals["instructions"] >= 8
    assert stats.uptime_s > 0
    assert stats == machine.stats(), "the numbers stand still after the end"


def test_states_can_be_read_while_the_guest_runs(make_machine: MakeMachine) -> None:
    with make_machine(spin, spin) as machine:
        states = machine.vcpu_states()
        assert len(states) == 2
        assert all("gpr" in state for state in states)
        assert len(machine.stats().vcpus) == 2


def test_accesses_to_nobody_read_all_ones(make_machine: MakeMachine) -> None:
    seen = []

    def guest(cpu: int) -> Guest:
        seen.append((yield In(0x1234, 4)))
        seen.append((yield Load(0xD000_0000, 8)))
        yield Store(0xD000_0000, 5)
        yield from power_off(cpu)

    with make_machine(guest) as machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert seen == [0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF]


def test_a_full_console_holds_the_guest_until_it_is_read(make_machine: MakeMachine) -> None:
    text = b"0123456789" * 20

    def guest(cpu: int) -> Guest:
        yield from say(text)
        yield from power_off(cpu)

    console = Console(capacity=16, when_full=WhenFull.WAIT)
    with make_machine(guest, console=console) as machine:
        with pytest.raises(MachineTimeout):
            machine.wait(0.05)
        got = "".join(console)
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert got.encode() == text
    assert console.discarded == 0


def test_a_machine_with_a_full_console_can_be_stopped(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        while True:
            yield from say(b"spam")

    console = Console(capacity=16, when_full=WhenFull.WAIT)
    machine = make_machine(guest, console=console)
    machine.start()
    while not console.full:
        time.sleep(0.001)
    machine.stop()
    assert machine.exit == MachineExit(ExitReason.STOPPED)


def test_a_guest_held_by_a_full_console_answers(make_machine: MakeMachine) -> None:
    def guest(cpu: int) -> Guest:
        while True:
            yield from say(b"spam")

    console = Console(capacity=16, when_full=WhenFull.WAIT)
    with make_machine(guest, console=console) as machine:
        while not console.full:
            time.sleep(0.001)
        for _ in range(3):
            assert machine.stats().totals["instructions"]
            assert machine.vcpu_states()
        assert console.full


def test_a_vcpu_that_does_not_answer_is_named(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go = threading.Event()

    def guest(cpu: int) -> Guest:
        let_go.wait(SOON)
        yield Halt()

    monkeypatch.setattr(life, "_ANSWER_S", 0.01)
    with make_machine(guest) as machine:
        try:
            with pytest.raises(HostError) as caught:
                machine.stats()
            assert caught.value.code == "MACHINE_BUSY"
        finally:
            let_go.set()


@pytest.mark.parametrize("refused", ["vcpu0", "vcpu1", "machine"])
def test_a_host_without_threads_refuses_the_start(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if thread.name == refused:
            raise RuntimeError("can't start new thread")
        start(thread)

    machine = make_machine(spin, spin)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", limited)
        with pytest.raises(HostError) as caught:
            machine.start()
    assert caught.value.code == "HOST_THREADS"
    assert not machine.running
    assert not [t for t in threading.enumerate() if t.name in ("vcpu0", "vcpu1", "machine")]
    assert machine.stats().uptime_s == 0
    with machine:
        assert machine.running


def test_a_reset_on_a_host_without_threads_ends_the_machine(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start
    lives = 0

    def limited(thread: threading.Thread) -> None:
        nonlocal lives
        if thread.name == "vcpu0":
            lives += 1
            if lives == 2:
                raise RuntimeError("can't start new thread")
        start(thread)

    def guest(cpu: int) -> Guest:
        yield Out(RESET_CONTROL, 6)

    monkeypatch.setattr(threading.Thread, "start", limited)
    with make_machine(guest, on_reset=OnReset.REBOOT) as machine:
        ended = machine.wait(SOON)
    assert ended.reason is ExitReason.ENGINE_FAILURE
    assert "cannot reboot" in ended.detail
    assert machine.stats().resets == 1


def test_a_machine_that_was_left_running_is_stopped_at_exit(make_machine: MakeMachine) -> None:
    machine = make_machine(spin)
    machine.start()
    at_exit.stop_all()
    assert machine.exit == MachineExit(ExitReason.STOPPED)


def test_errors_at_the_start_leave_nothing(kernel: Path) -> None:
    def refuse(engine: str, cpus: int) -> FakeVm:
        raise BugError("ENGINE_CLAIM", "No.")

    machine = Machine(kernel=kernel, memory="8M")
    machine = Machine.from_spec(machine.spec, create_vm=refuse, gather_host=fake_host)
    with pytest.raises(BugError):
        machine.start()
    machine.stop()
    assert not machine.running


def test_a_board_has_its_cpu_model_memory_and_boot_state(make_machine: MakeMachine) -> None:
    vms: list[FakeVm] = []
    with make_machine(spin, vms=vms) as machine:
        assert "Multiboot" in machine.description
        vm = vms[0]
        assert vm.engine == "translate"
        assert [len(memory) for memory in vm.ram.values()] == [4 << 20]
        assert vm.read_ram(0xE0000, 8) == b"RSD PTR "
        assert any(leaf == 1 for leaf, *_ in vm.cpuid)
        assert machine.vcpu_states()[0]["rip"] >= 0x10_0020


def test_whoever_hears_of_the_end_may_stop_the_machine(make_machine: MakeMachine) -> None:
    machine = make_machine(power_off)
    stopped = threading.Event()

    def hear() -> None:
        if machine.exit:
            machine.stop()
            stopped.set()

    machine.console.notify(hear)
    with machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
        assert stopped.wait(SOON)
