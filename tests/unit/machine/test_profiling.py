"""The profile over a machine's lives, with guests that are scripts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.machine.conftest import MakeMachine
from tests.unit.machine.scripts import RESET_CONTROL, power_off, spin
from wardian.base.errors import CallerError
from wardian.machine.exit import ExitReason
from wardian.machine.machine import Machine
from wardian.machine.profiling import Profiling
from wardian.machine.spec import OnReset
from wardian.profile.perf_map import PerfMapFile
from wardian.testing import FakeVm, Guest, Out

SOON = 10.0
SAMPLE = (0, 0x10_0004, False, False, False, 9)
SYMBOLS = "0000000000100000 T start\n0000000000200000 T a\n0000000000300000 T b\n00400000 T c\n"


@pytest.fixture
def vms() -> list[FakeVm]:
    return []


@pytest.fixture
def symbols(tmp_path: Path) -> Path:
    path = tmp_path / "System.map"
    path.write_text(SYMBOLS)
    return path


def test_nothing_is_sampled_unless_asked_for(make_machine: MakeMachine, vms: list[FakeVm]) -> None:
    with make_machine(power_off, vms=vms) as machine:
        machine.wait(SOON)
    assert machine.profiling.profile().total == 0
    assert not machine.profiling.running
    assert vms[0].profile_hz == 0


def test_sampling_starts_with_the_machine_or_later(
    make_machine: MakeMachine, vms: list[FakeVm]
) -> None:
    machine = make_machine(spin, vms=vms)
    machine.profiling.start(50)
    assert machine.profiling.running
    with machine:
        assert vms[0].profile_hz == 50
        machine.profiling.stop()
        assert vms[0].profile_hz == 0
        machine.profiling.start()
        assert vms[0].profile_hz == 199
        vms[0].samples = [SAMPLE]
        assert machine.profiling.profile().total == 9
    assert vms[0].profile_hz == 0


def test_the_last_profile_is_there_after_the_end(
    make_machine: MakeMachine, vms: list[FakeVm], symbols: Path
) -> None:
    machine = make_machine(spin, vms=vms)
    machine.profiling.start()
    machine.profiling.use_symbols(symbols)
    with machine:
        vms[0].samples = [SAMPLE]
    (block,) = machine.profiling.profile().hottest(5)
    assert (block.symbol, block.samples) == ("start+0x4", 9)


def test_a_reboot_is_sampled_too(make_machine: MakeMachine, vms: list[FakeVm]) -> None:
    rates = []

    def guest(cpu: int) -> Guest:
        rates.append(vms[-1].profile_hz)
        if len(vms) == 1:
            yield Out(RESET_CONTROL, 6)
        yield from power_off(cpu)

    machine = make_machine(guest, vms=vms, on_reset=OnReset.REBOOT)
    machine.profiling.start(77)
    with machine:
        assert machine.wait(SOON).reason is ExitReason.POWER_OFF
    assert rates == [77, 77]


def test_every_life_is_listed_for_perf(
    make_machine: MakeMachine, vms: list[FakeVm], symbols: Path, tmp_path: Path
) -> None:
    def guest(cpu: int) -> Guest:
        vms[-1].translated = [f"{len(vms)}000 40 guest:k:0x100008"]
        if len(vms) == 1:
            yield Out(RESET_CONTROL, 6)
        yield from power_off(cpu)

    machine = make_machine(guest, vms=vms, on_reset=OnReset.REBOOT)
    machine.profiling = Profiling(machine.spec, lambda: PerfMapFile.create(tmp_path))
    machine.profiling.use_symbols(symbols)
    files = sorted(os.listdir("/proc/self/fd"))
    path = machine.profiling.write_perf_map()
    with machine:
        machine.wait(SOON)
    assert path.read_text().splitlines() == [
        "1000 40 guest:k:start+0x8",
        "2000 40 guest:k:start+0x8",
    ]
    assert machine.profiling.blocks_listed == 2
    assert sorted(os.listdir("/proc/self/fd")) == files


@pytest.mark.parametrize("hz", [0, -1, 10_001])
def test_rates_that_cannot_be(make_machine: MakeMachine, hz: int) -> None:
    with pytest.raises(CallerError) as caught:
        make_machine(spin).profiling.start(hz)
    assert caught.value.code == "PROFILE_RATE"


def test_symbol_files_that_cannot_be(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine: Machine = make_machine(spin)
    with pytest.raises(CallerError) as caught:
        machine.profiling.use_symbols(tmp_path / "none")
    assert caught.value.code == "SPEC_FILE_MISSING"
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(CallerError, match="holds no symbols") as caught:
        machine.profiling.use_symbols(empty)
    assert caught.value.code == "PROFILE_SYMBOLS"
