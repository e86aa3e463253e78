"""Finds the symbols of the kernel that a guest runs, and never takes those of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wardian.profile.kallsyms import read_kallsyms
from wardian.profile.paging import ReadRam, physical_address
from wardian.profile.slide import LSTAR, find_slide, is_linux
from wardian.profile.symbols import Naming, Symbols

#: A kernel's read-only data follows its code, within this.
_IMAGE: Final = 64 << 20

#: Where Linux has the processor enter it for a system call.
_ENTRY: Final = "entry_SYSCALL_64"


@dataclass(frozen=True, slots=True)
class SymbolSource:
    """A file's symbols, read when they are needed; None where the file has none after all."""

    name: str
    read: Callable[[], Symbols | None]


def find_naming(
    states: Sequence[Mapping[str, Any]],
    read_ram: ReadRam,
    given: SymbolSource | None,
    candidates: Sequence[SymbolSource],
) -> Naming | None:
    """The symbols of the running kernel, or why there are none; None if it is too early to say.

    `states` are those of the vCPUs. The user's own file is `given`, and then it is that or
    nothing. Without it come the table in the kernel's memory and the `candidates`, each only if
    the kernel's registers confirm it.
    """
    state = states[0] if states else {}
    msrs: Mapping[int, int] = state.get("msrs", {})
    sources = [given] if given else candidates
    for source in sources:
        # A kernel that is no Linux runs where its file says, from its first instruction on.
        symbols = source.read()
        if symbols and not is_linux(symbols):
            return Naming(symbols, 0, source.name)
    if not msrs.get(LSTAR):
        return None
    if not given:
        own = _kernels_own(state, msrs[LSTAR], read_ram)
        if own:
            return Naming(own, 0, "the table in the guest kernel's memory")
    for source in sources:
        symbols = source.read()
        slide = find_slide(symbols, msrs) if symbols else None
        if slide is not None:
            return Naming(symbols, slide, f"{source.name}, {_moved(slide)}")
    if given:
        return Naming(
            origin=f"{given.name} is of another kernel: its {_ENTRY} is not where this one has it"
        )
    return Naming(origin="the guest's kernel keeps none in memory; name a file with --symbols")


def _kernels_own(state: Mapping[str, Any], entry: int, read_ram: ReadRam) -> Symbols | None:
    at = physical_address(state, entry, read_ram)
    if at is None:
        return None
    page = at & ~0xFFF
    return read_kallsyms(read_ram(page, _IMAGE), _ENTRY, entry)


def _moved(slide: int) -> str:
    return f"moved by {slide:#x}" if slide else "not moved"
