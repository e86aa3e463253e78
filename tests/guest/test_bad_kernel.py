"""The stock kernel, cut off or without room: refused in one sentence, or what runs is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from wardian.cli.main import main

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")
pytestmark = pytest.mark.guest


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line with which `wardian run` refuses."""
    assert main(["run", *map(str, arguments)]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wardian: error[BOOT_"), printed.err
    assert printed.err.count("\n") == 1
    return printed.err


def test_a_kernel_cut_anywhere_is_refused(
    debian_kernel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = debian_kernel.read_bytes()
    lengths = {0, 1, 511, 512, 513, 0x1F0, 0x202, 0x268, 1024, 4096, 16384, 20480, 1 << 20}
    lengths |= {len(whole) * part // 13 for part in range(13)}
    cut = tmp_path / "cut"
    for length in sorted(lengths):
        cut.write_bytes(whole[:length])
        refused(capfd, "--kernel", cut)


def test_64_mib_are_too_little_for_it(
    debian_kernel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "--kernel", debian_kernel, "--memory", "64M")
    assert "error[BOOT_MEMORY_TOO_SMALL]" in line
    assert "at least" in line


def test_an_initrd_without_room(
    debian_kernel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    initrd = tmp_path / "initrd"
    with initrd.open("wb") as file:
        file.truncate(250 << 20)
    refused(capfd, "--kernel", debian_kernel, "--initrd", initrd, "--memory", "256M")
