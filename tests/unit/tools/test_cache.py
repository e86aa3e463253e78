"""tools/cache.py and tools/setup/stamps.py: done once, completely, and again when inputs change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import cache
from tools.setup import stamps


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(stamps, "VENV", tmp_path / "venv")


def test_an_entry_is_built_once() -> None:
    built = []

    def build(into: Path) -> None:
        built.append(into)
        (into / "file").write_text("content")

    first = cache.entry("kind", "key", build)
    assert cache.entry("kind", "key", build) == first
    assert (first / "file").read_text() == "content"
    assert len(built) == 1


def test_a_failed_build_leaves_nothing() -> None:
    def build(into: Path) -> None:
        (into / "half").write_text("")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.entry("kind", "key", build)
    assert list((cache.CACHE / "kind").iterdir()) == []


def test_whoever_finishes_second_takes_the_first_result() -> None:
    def inner(into: Path) -> None:
        (into / "file").write_text("inner")

    def outer(into: Path) -> None:
        cache.entry("kind", "key", inner)
        (into / "file").write_text("outer")

    assert (cache.entry("kind", "key", outer) / "file").read_text() == "inner"
    assert [path.name for path in (cache.CACHE / "kind").iterdir()] == ["key"]


def test_keys_tell_sequences_apart() -> None:
    keys = {cache.content_key(*parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], [])}
    assert len(keys) == 4
    assert cache.content_key("a") == cache.content_key(b"a")


def test_a_step_is_done_again_when_its_key_changes() -> None:
    done = []
    for key in ("1", "1", "2", "2", "1"):
        stamps.once("step", key, lambda key=key: done.append(key))  # type: ignore[misc]
    assert done == ["1", "2", "1"]


def test_a_step_is_done_again_when_its_product_is_gone() -> None:
    done = []
    stamps.once("step", "key", lambda: done.append(1))
    stamps.once("step", "key", lambda: done.append(2), intact=False)
    assert done == [1, 2]


def test_a_failed_step_is_not_remembered() -> None:
    def fail() -> None:
        raise RuntimeError

    stamps.once("step", "old", lambda: None)
    with pytest.raises(RuntimeError):
        stamps.once("step", "new", fail)
    done = []
    stamps.once("step", "old", lambda: done.append(1))
    assert done == [1]
