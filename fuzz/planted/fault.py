"""What a fault is: text of a source file that is replaced by other text.

`faults/*.toml` holds them by what they break, each as a table::

    [[fault]]
    name = "short-and-unique"
    wrong = "One sentence: what is not as it should be."
    first = ["blocks", "long/smc"]    # what most likely catches it, see suite.py; may be left out
    [[fault.edit]]
    file = "crates/translate/src/translator/emit.rs"
    old = '''text that the file holds exactly once'''
    new = '''what stands there instead'''
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FAULTS = Path(__file__).parent / "faults"


class CannotPlant(Exception):
    """A fault that is not there, is not written as it must be, or no longer fits the sources."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One replacement in one file, named relative to the source tree."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A wrong translator: how it is made, and where to look for the test that notices."""

    name: str
    wrong: str
    first: tuple[str, ...]
    edits: tuple[Edit, ...]

    def check(self, source: Path) -> None:
        """Raise `CannotPlant` unless every edit's old text is there exactly once."""
        self._edited(source)

    @contextmanager
    def planted(self, source: Path) -> Iterator[None]:
        """The fault is in the tree inside the block, and gone behind it."""
        edited = self._edited(source)
        kept = {path: path.read_text() for path in edited}
        try:
            for path, text in edited.items():
                path.write_text(text)
            yield
        finally:
            for path, text in kept.items():
                path.write_text(text)

    def _edited(self, source: Path) -> dict[Path, str]:
        texts: dict[Path, str] = {}
        for edit in self.edits:
            path = source / edit.file
            if not path.is_file():
                raise CannotPlant(f"{self.name}: there is no {edit.file} any more")
            text = texts.get(path) or path.read_text()
            count = text.count(edit.old)
            if count != 1:
                raise CannotPlant(
                    f"{self.name}: {edit.file} must hold this text once, and holds it {count} "
                    f"times; the fault has to follow the source:\n{edit.old}"
                )
            texts[path] = text.replace(edit.old, edit.new)
        return texts


def read_faults() -> list[Fault]:
    """Every fault, in the order of the files and in them."""
    faults = [
        _fault(file, table)
        for file in sorted(_FAULTS.glob("*.toml"))
        for table in tomllib.loads(file.read_text())["fault"]
    ]
    names = [fault.name for fault in faults]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise CannotPlant(f"two faults have the name {', '.join(twice)}")
    return faults


def _fault(file: Path, table: dict[str, Any]) -> Fault:
    try:
        edits = tuple(Edit(**edit) for edit in table["edit"])
        return Fault(table["name"], table["wrong"], tuple(table.get("first", ())), edits)
    except (KeyError, TypeError) as error:
        raise CannotPlant(f"{file.name}: not written as fault.py says: {error}") from error
