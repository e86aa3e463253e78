"""tools/assets/libraries.py: what a program needs is found, level by level, at its own place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.assets import libraries
from tools.assets.libraries import needed_libraries
from tools.errors import ToolError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree with a program, whose needs stand in its first lines."""

    def wants(program: Path) -> set[tuple[str, str]]:
        return {("ELF64", name) for name in program.read_text().split()}

    monkeypatch.setattr(libraries, "_wants", wants)
    for place in ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "lib32"):
        (tmp_path / place).mkdir(parents=True)
    return tmp_path


def test_needs_of_needs_are_found_once(root: Path) -> None:
    program = root / "program"
    program.write_text("liba.so.1 /lib64/loader")
    (root / "usr/lib/x86_64-linux-gnu/liba.so.1").write_text("libb.so.1")
    (root / "lib/x86_64-linux-gnu/libb.so.1").write_text("liba.so.1")
    (root / "lib64/loader").write_text("")
    found = needed_libraries([program], root)
    assert set(found.files) == {
        "/usr/lib/x86_64-linux-gnu/liba.so.1",
        "/lib/x86_64-linux-gnu/libb.so.1",
        "/lib64/loader",
    }
    assert not found.missing
    assert all(file.executable for file in found.files.values())


def test_links_stay_inside_the_tree(root: Path) -> None:
    program = root / "program"
    program.write_text("/lib64/loader")
    (root / "lib64/loader").symlink_to("/lib/x86_64-linux-gnu/loader.so")
    (root / "lib/x86_64-linux-gnu/loader.so").symlink_to("loader-1.so")
    (root / "lib/x86_64-linux-gnu/loader-1.so").write_text("")
    assert set(needed_libraries([program], root).files) == {"/lib64/loader"}


def test_what_nobody_offers_is_named(root: Path) -> None:
    program = root / "program"
    program.write_text("liba.so.1")
    # A library for the other kind of program is none for this one.
    (root / "lib32/liba.so.1").write_text("")
    found = needed_libraries([program], root, extra=("libc.so.6",))
    assert found.missing == {"liba.so.1", "libc.so.6"}


def test_what_is_no_program_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ToolError, match="script is not an ELF file"):
        needed_libraries([script], tmp_path)


def test_a_real_program_needs_a_loader_and_the_c_library() -> None:
    names = {name for _, name in libraries._wants(Path(sys.executable).resolve())}
    assert "libc.so.6" in names
    assert any(name.startswith("/lib64/ld-linux") for name in names)
