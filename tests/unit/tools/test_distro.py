"""tools/assets/distro.py: the host's package lists first, our own only where those fail."""

from __future__ import annotations

import shutil

import pytest

from tools.assets import distro
from tools.errors import ToolError


class Apt:
    """Stands in for apt: knows a package in the host's lists, in a fresh download, or not."""

    def __init__(self, host: dict[str, str], archive: dict[str, str]) -> None:
        self.host = host
        self.archive = archive
        self.updates = 0

    def __call__(self, *command: str, cwd: str | None = None) -> list[str]:
        if command[-1] == "update":
            self.updates += 1
            return []
        known = self.archive if "-oDebug::NoLocking=1" in command else self.host
        return known.get(command[-1], "").splitlines()


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch) -> Apt:
    stand_in = Apt(
        host={"old": "Package: old\nVersion: 1.0-1"},
        archive={
            "old": "Version: 2.0-1",
            "new": "Version: 3.0-1",
            "meta": "meta\n  Depends: image-6.1\n  Depends: <virtual>",
        },
    )
    monkeypatch.setattr(distro, "_apt", stand_in)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    distro._update_own_lists.cache_clear()
    return stand_in


def test_the_hosts_lists_are_enough(apt: Apt) -> None:
    assert distro.version("old") == "1.0-1"
    assert apt.updates == 0


def test_our_own_lists_are_fetched_once(apt: Apt) -> None:
    assert distro.version("new") == "3.0-1"
    assert distro.dependencies("meta") == ["image-6.1", "<virtual>"]
    assert apt.updates == 1


def test_an_unknown_package_is_one_sentence(apt: Apt) -> None:
    with pytest.raises(ToolError, match="no package nothing"):
        distro.version("nothing")
    assert distro.dependencies("nothing") == []


def test_a_host_without_apt_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ToolError, match="no apt here"):
        distro.version("old")
