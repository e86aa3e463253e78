"""What a user may say, and the sentence for what they may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wardian.base.errors import CallerError
from wardian.machine.machine import Machine
from wardian.machine.spec import MachineSpec, OnReset, parse_on_reset

KERNEL = Path("kernel")


def test_the_defaults_are_a_machine() -> None:
    spec = MachineSpec(kernel=KERNEL)
    assert (spec.cpus, spec.memory_bytes, spec.engine) == (1, 512 << 20, "auto")
    assert spec.on_reset is OnReset.REBOOT
    assert not spec.debug_exit


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cpus": 0}, "SPEC_CPUS"),
        ({"cpus": -1}, "SPEC_CPUS"),
        ({"cpus": 65}, "SPEC_CPUS"),
        ({"cpus": 10_000}, "SPEC_CPUS"),
        ({"memory_bytes": 0}, "BOOT_MEMORY_TOO_SMALL"),
        ({"memory_bytes": 1 << 20}, "BOOT_MEMORY_TOO_SMALL"),
        ({"memory_bytes": (4 << 20) + 1}, "BOOT_MEMORY_SIZE"),
        ({"memory_bytes": 1 << 50}, "BOOT_MEMORY_SIZE"),
        ({"engine": "qemu"}, "SPEC_ENGINE"),
        ({"cpu_model": "pentium"}, "CPU_MODEL_UNKNOWN"),
        ({"append": "quiet\nroot=/dev/sda"}, "SPEC_APPEND"),
        ({"append": "x" * 2048}, "SPEC_APPEND"),
        ({"append": "\0"}, "SPEC_APPEND"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(CallerError) as caught:
        MachineSpec(kernel=KERNEL, **changes)
    assert caught.value.code == code
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


def test_the_limits_themselves_are_possible() -> None:
    assert MachineSpec(kernel=KERNEL, cpus=64).cpus == 64
    assert MachineSpec(kernel=KERNEL, append="x" * 2047).append


def test_actions_on_reset() -> None:
    assert parse_on_reset("exit") is OnReset.EXIT
    with pytest.raises(CallerError, match="'halt'"):
        parse_on_reset("halt")


def test_a_machine_takes_what_a_spec_takes() -> None:
    machine = Machine(kernel="kernel", memory="1G", cpus=4, on_reset="exit", append="quiet")
    assert machine.spec == MachineSpec(
        kernel=KERNEL, memory_bytes=1 << 30, cpus=4, on_reset=OnReset.EXIT, append="quiet"
    )
    with pytest.raises(CallerError, match="lots"):
        Machine(kernel="kernel", memory="lots")
