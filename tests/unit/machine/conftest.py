"""Machines whose guests are scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wardian.machine.console import Console
from wardian.machine.machine import Machine
from wardian.machine.spec import MachineSpec, OnReset
from wardian.testing import FakeVm, fake_host, multiboot_kernel
from wardian.testing.fake_engine import Script

MakeMachine = Callable[..., Machine]


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A file that boots."""
    path = tmp_path / "kernel"
    path.write_bytes(multiboot_kernel())
    return path


@pytest.fixture
def make_machine(kernel: Path) -> Iterator[MakeMachine]:
    """Makes machines that run scripts, one per vCPU; stops them all after the test."""
    machines = []

    def make(
        *scripts: Script,
        on_reset: OnReset = OnReset.EXIT,
        debug_exit: bool = True,
        console: Console | None = None,
        vms: list[FakeVm] | None = None,
    ) -> Machine:
        spec = MachineSpec(
            kernel=kernel,
            memory_bytes=4 << 20,
            cpus=max(1, len(scripts)),
            on_reset=on_reset,
            debug_exit=debug_exit,
        )

        def create(engine: str, cpus: int) -> FakeVm:
            vm = FakeVm(engine, cpus, scripts)
            if vms is not None:
                vms.append(vm)
            return vm

        machine = Machine.from_spec(spec, console=console, create_vm=create, gather_host=fake_host)
        machines.append(machine)
        return machine

    yield make
    for machine in machines:
        machine.stop()
