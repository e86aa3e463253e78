"""tools/setup/host.py and rust.py: missing things are installed by root, and named to others."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from tools.errors import ToolError
from tools.setup import host, rust
from tools.setup.host import Need

ABSENT = Need("a tool", ("tool-package", "tool-data"), lambda: False)
PRESENT = Need("another tool", ("other-package",), lambda: True)
WANTED = Need("a luxury", ("luxury-package",), lambda: False, optional=True)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Collects the commands that would have changed the host."""
    seen: list[Sequence[str]] = []
    monkeypatch.setattr(host, "run", lambda title, command, environment=None: seen.append(command))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return seen


def as_user(monkeypatch: pytest.MonkeyPatch, user: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)


def test_root_installs_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, commands: list[Sequence[str]]
) -> None:
    as_user(monkeypatch, 0)
    host.require([ABSENT, PRESENT])
    update, install = commands
    assert list(update) == ["apt-get", "update"]
    assert list(install[-2:]) == ["tool-package", "tool-data"]


def test_anybody_else_is_told_the_exact_command(
    monkeypatch: pytest.MonkeyPatch, commands: list[Sequence[str]]
) -> None:
    as_user(monkeypatch, 1000)
    with pytest.raises(ToolError, match=r"run 'sudo apt-get install .* tool-package tool-data'"):
        host.require([ABSENT, PRESENT])
    assert commands == []


def test_what_is_optional_is_done_without(
    monkeypatch: pytest.MonkeyPatch,
    commands: list[Sequence[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    as_user(monkeypatch, 1000)
    host.require([PRESENT, WANTED])
    assert "going on without a luxury" in capsys.readouterr().err
    assert commands == []


def test_nothing_happens_when_nothing_is_missing(commands: list[Sequence[str]]) -> None:
    host.require([PRESENT])
    assert commands == []


def test_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    with pytest.raises(ToolError, match="x86-64"):
        host.require([PRESENT])


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ("cargo 1.63.0 (fd9c4297c 2022-07-01)", "1.63 found: run 'rustup update stable'"),
        ("error: no default toolchain", "missing: run"),
    ],
)
def test_a_rust_that_will_not_do(
    monkeypatch: pytest.MonkeyPatch, printed: str, message: str
) -> None:
    as_user(monkeypatch, 1000)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    done = subprocess.CompletedProcess([], 0, printed, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(ToolError, match=message):
        rust.require_rust()


def test_a_recent_rust_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    done = subprocess.CompletedProcess([], 0, "cargo 1.100.2 (abc 2027-01-01)", "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    rust.require_rust()
