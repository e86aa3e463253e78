"""tools/demo.py: what the guest reports becomes the exit status; everything else is an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import demo
from tools.assets.busybox import Busybox
from tools.assets.kernel import Kernel

PRINTS = "import sys; nonce = sys.argv[4].split('wardian.nonce=')[1]\n"


@pytest.fixture
def monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `wardian` command to be written by the test; nothing is downloaded or built."""
    file = tmp_path / "file"
    file.write_bytes(b"file")
    monkeypatch.setattr(demo, "VENV", tmp_path)
    monkeypatch.setattr(demo, "prepare_build", lambda: None)
    monkeypatch.setattr(demo, "debian_kernel", lambda: Kernel(file, "package", "1", "0"))
    monkeypatch.setattr(demo, "busybox", lambda: Busybox(file, ("sh",)))
    command = tmp_path / "bin" / "wardian"
    command.parent.mkdir()
    command.touch(mode=0o755)
    return command


def script(monitor: Path, text: str) -> None:
    monitor.write_text(f"#!/usr/bin/env python3\n{PRINTS}{text}\n")


def test_the_guests_status_is_ours(
    monitor: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    script(monitor, "print('hello'); print('@wardian exit', nonce, 7); print('bye')")
    assert demo.main([]) == 7
    assert capfdbinary.readouterr().out == b"hello\nbye\n"


@pytest.mark.parametrize("text", ["print('panic')", "print('@wardian exit spoof 0')", "exit(3)"])
def test_a_guest_without_a_report_is_an_error(
    monitor: Path, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    script(monitor, text)
    assert demo.main([]) == demo.NO_REPORT
    assert "error: the guest ended without a report" in capfd.readouterr().err


def test_a_status_of_zero_is_success(monitor: Path) -> None:
    script(monitor, "print('@wardian exit', nonce, 0)")
    assert demo.main(["true"]) == 0
