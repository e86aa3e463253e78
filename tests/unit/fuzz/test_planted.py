"""Faults are planted whole, taken back whole, and refused where they no longer fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.planted.fault import CannotPlant, Edit, Fault, read_faults

SOURCE = "let backward = target <= from;\nlet forward = !backward;\n"


def fault(*edits: Edit) -> Fault:
    return Fault("inverted", "Back edges are not told from others.", (), edits)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "emit.rs").write_text(SOURCE)
    return tmp_path


def test_a_fault_is_there_inside_the_block_only(source: Path) -> None:
    edits = Edit("emit.rs", "target <= from", "target > from"), Edit("emit.rs", "!backward", "true")
    with fault(*edits).planted(source):
        planted = (source / "emit.rs").read_text()
    assert planted == "let backward = target > from;\nlet forward = true;\n"
    assert (source / "emit.rs").read_text() == SOURCE


def test_it_is_taken_back_when_the_suite_breaks(source: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        fault(Edit("emit.rs", "<=", ">")).planted(source),
    ):
        raise KeyboardInterrupt
    assert (source / "emit.rs").read_text() == SOURCE


@pytest.mark.parametrize(
    ("old", "count"), [("from <= target", 0), ("backward", 2)], ids=["gone", "twice"]
)
def test_text_that_is_not_there_once_is_refused(source: Path, old: str, count: int) -> None:
    with pytest.raises(CannotPlant, match=rf"(?s)inverted: emit\.rs .* {count} times.*{old}"):
        fault(Edit("emit.rs", old, "")).check(source)


def test_a_file_that_is_gone_is_refused(source: Path) -> None:
    with pytest.raises(CannotPlant, match=r"there is no stubs\.rs any more"):
        fault(Edit("stubs.rs", "a", "b")).check(source)


def test_every_fault_says_what_is_wrong_and_changes_something() -> None:
    faults = read_faults()
    assert len(faults) >= 20
    for planted in faults:
        assert planted.wrong.endswith("."), planted.name
        assert planted.edits, planted.name
        assert all(edit.old != edit.new for edit in planted.edits), planted.name
