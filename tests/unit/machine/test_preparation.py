"""Files, memory and engines, before anything is built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wardian.base.errors import CallerError
from wardian.machine.media import read_media
from wardian.machine.preparation import prepare
from wardian.machine.spec import MachineSpec
from wardian.testing import fake_host

MIB = 1 << 20


def refusal(spec: MachineSpec, memory_available: int = 1 << 40) -> str:
    """The code with which `spec` is refused."""
    with pytest.raises(CallerError) as caught:
        prepare(spec, fake_host(memory_available=memory_available))
    assert str(caught.value).endswith(".")
    return caught.value.code


def test_a_spec_that_can_run(kernel: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"disk")
    preparation = prepare(MachineSpec(kernel=kernel, initrd=initrd), fake_host())
    assert preparation.engine == "translate"
    assert preparation.cpu_model.startswith("x86-64-v3")
    assert preparation.media.kernel == kernel.read_bytes()
    assert preparation.media.initrd == b"disk"


def test_files_that_are_no_files(kernel: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(MachineSpec(kernel=missing)) == "SPEC_FILE_MISSING"
    assert refusal(MachineSpec(kernel=kernel / "below")) == "SPEC_FILE_MISSING"
    assert refusal(MachineSpec(kernel=tmp_path)) == "SPEC_FILE_KIND"
    assert refusal(MachineSpec(kernel=Path("/dev/zero"))) == "SPEC_FILE_KIND"
    assert refusal(MachineSpec(kernel=kernel, initrd=missing)) == "SPEC_FILE_MISSING"
    assert refusal(MachineSpec(kernel=kernel, initrd=tmp_path)) == "SPEC_FILE_KIND"
    assert refusal(MachineSpec(kernel=Path("a\0b"))) == "SPEC_FILE_UNREADABLE"
    assert refusal(MachineSpec(kernel=Path("x" * 5000))) == "SPEC_FILE_UNREADABLE"


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(MachineSpec(kernel=fifo)) == "SPEC_FILE_KIND"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(kernel: Path) -> None:
    kernel.chmod(0)
    assert refusal(MachineSpec(kernel=kernel)) == "SPEC_FILE_UNREADABLE"


def test_an_initrd_that_memory_cannot_hold(kernel: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.touch()
    os.truncate(initrd, 5 * MIB)
    spec = MachineSpec(kernel=kernel, initrd=initrd, memory_bytes=4 * MIB)
    assert refusal(spec) == "SPEC_FILE_SIZE"


def test_a_huge_kernel_file_is_not_read(tmp_path: Path) -> None:
    kernel = tmp_path / "huge"
    kernel.touch()
    os.truncate(kernel, 1 << 40)
    assert refusal(MachineSpec(kernel=kernel)) == "SPEC_FILE_SIZE"


def test_memory_that_the_host_has_not_got(kernel: Path) -> None:
    spec = MachineSpec(kernel=kernel, memory_bytes=64 * MIB)
    assert refusal(spec, 64 * MIB - 1) == "SPEC_MEMORY_HOST"
    assert prepare(spec, fake_host(memory_available=64 * MIB))


def test_an_engine_that_cannot_run(kernel: Path) -> None:
    assert refusal(MachineSpec(kernel=kernel, engine="kvm")) == "KVM_NOT_BUILT"


def test_media_without_an_initrd(kernel: Path) -> None:
    assert read_media(MachineSpec(kernel=kernel)).initrd is None
