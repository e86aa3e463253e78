"""What nobody can boot, as a user meets it: one sentence, a code, status 2, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from wardian.cli.main import main
from wardian.testing import multiboot_kernel

pytest.importorskip("wardian._core", reason="the core is not built: run `make build`")


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A kernel that would boot."""
    path = tmp_path / "kernel"
    path.write_bytes(multiboot_kernel())
    return path


def refused(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The line with which `wardian run` refuses, after the checks that every refusal gets."""
    before = state()
    assert main(["run", *map(str, arguments)]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("wardian: error["), printed.err
    assert printed.err.endswith(".\n")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 400
    assert state() == before
    return printed.err


def state() -> tuple[list[str], list[str], int]:
    """What a command could leave behind: threads, open files, memory mappings of guest RAM."""
    threads = sorted(thread.name for thread in threading.enumerate())
    files = sorted(os.listdir("/proc/self/fd"))
    # A guest's RAM is a shared mapping of a memory file, and nothing else here is.
    maps = Path("/proc/self/maps").read_text()
    return threads, files, maps.count("memfd:")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "BOOT_NOT_A_KERNEL"),
        (b"\0" * 4096, "BOOT_NOT_A_KERNEL"),
        (b"#!/bin/sh\necho hello\n" * 100, "BOOT_NOT_A_KERNEL"),
        (b"\x7fELF" + b"\xff" * 60, "BOOT_"),
        (b"\x1f\x8b\x08" + b"\0" * 1000, "BOOT_NOT_A_KERNEL"),
        (b"MZ" + b"\xff" * 5000, "BOOT_"),
        (multiboot_kernel()[:20], "BOOT_"),
    ],
    ids=["empty", "zeros", "script", "bad-elf", "gzip", "mz", "cut"],
)
def test_a_file_that_is_not_a_kernel(
    content: bytes, code: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert f"error[{code}" in refused(capfd, "--kernel", path)


def test_kernel_files_that_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "SPEC_FILE_KIND" in refused(capfd, "--kernel", tmp_path)
    assert "SPEC_FILE_MISSING" in refused(capfd, "--kernel", tmp_path / "none")
    assert "SPEC_FILE_KIND" in refused(capfd, "--kernel", "/dev/null")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "SPEC_FILE_KIND" in refused(capfd, "--kernel", pipe)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "SPEC_FILE_UNREADABLE" in refused(capfd, "--kernel", loop)
    assert "SPEC_FILE_UNREADABLE" in refused(capfd, "--kernel", "x" * 5000)
    assert "SPEC_FILE_MISSING" in refused(capfd, "--kernel", os.fsdecode(b"\xff\n"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_kernel_without_permission(kernel: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kernel.chmod(0)
    assert "SPEC_FILE_UNREADABLE" in refused(capfd, "--kernel", kernel)


def test_initrds_that_cannot_be(
    kernel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "SPEC_FILE_MISSING" in refused(capfd, "--kernel", kernel, "--initrd", tmp_path / "none")
    assert "SPEC_FILE_KIND" in refused(capfd, "--kernel", kernel, "--initrd", tmp_path)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(63 << 20)
    memory = ("--memory", "64M")
    assert "BOOT_" in refused(capfd, "--kernel", kernel, "--initrd", big, *memory)
    with big.open("wb") as file:
        file.truncate(1 << 42)
    assert "SPEC_FILE_SIZE" in refused(capfd, "--kernel", kernel, "--initrd", big, *memory)


@pytest.mark.parametrize(
    ("memory", "code"),
    [
        ("100T", "BOOT_MEMORY_SIZE"),
        ("512G", "SPEC_MEMORY_HOST"),
        ("999999999999999999999999T", "MEM_SIZE"),
        ("0M", "MEM_SIZE"),
        ("-1M", "MEM_SIZE"),
        ("4097K", "BOOT_MEMORY_SIZE"),
        ("1e9", "MEM_SIZE"),
        ("", "MEM_SIZE"),
    ],
)
def test_memory_that_cannot_be(
    memory: str, code: str, kernel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert f"error[{code}" in refused(capfd, "--kernel", kernel, f"--memory={memory}")


@pytest.mark.parametrize(
    "append", ["x" * 3000, "two\nlines", "bell\a", "\udcff"], ids=["long", "lines", "bell", "bytes"]
)
def test_command_lines_that_cannot_be(
    append: str, kernel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "error[SPEC_APPEND" in refused(capfd, "--kernel", kernel, f"--append={append}")


@pytest.mark.parametrize(
    "option", ["--engine", "--cpu", "--cpus", "--memory", "--on-reset", "--\udcff", "--append"]
)
def test_arguments_that_are_not_text(
    option: str, kernel: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(capfd, "--kernel", kernel, f"{option}=a\nb\udcff")


def test_a_refusal_leaves_no_file_and_no_process(kernel: Path, tmp_path: Path) -> None:
    listing = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-m", "wardian", "run", "--kernel", str(kernel), "--memory", "100T"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == listing
