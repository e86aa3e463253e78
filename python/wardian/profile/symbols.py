"""A kernel's symbols, and what an address is called by them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

#: A name reaches to the next symbol, and no further than this: the last one has no next.
_LONGEST: Final = 1 << 20

#: The symbol types of nm(1) that mark code; all others only bound it.
_CODE: Final = frozenset("TtWw")


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol as nm(1) prints it."""

    address: int
    kind: str
    name: str


class Symbols:
    """Symbols in the order of their addresses. Of several at one address the first global wins."""

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        ordered = sorted(symbols, key=lambda s: (s.address, s.kind not in _CODE, s.kind.islower()))
        self._addresses: list[int] = []
        self._symbols: list[Symbol] = []
        self._by_name: dict[str, int] = {}
        for symbol in ordered:
            self._by_name.setdefault(symbol.name, symbol.address)
            if not self._addresses or self._addresses[-1] != symbol.address:
                self._addresses.append(symbol.address)
                self._symbols.append(symbol)

    def __len__(self) -> int:
        return len(self._addresses)

    def address(self, name: str) -> int | None:
        """The address of the symbol `name`; of several, the lowest."""
        return self._by_name.get(name)

    def name(self, address: int) -> str:
        """`symbol` or `symbol+0x1c` for an address inside code; "" for any other."""
        index = bisect_right(self._addresses, address) - 1
        if index < 0:
            return ""
        symbol = self._symbols[index]
        offset = address - symbol.address
        if symbol.kind not in _CODE or offset >= _LONGEST:
            return ""
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name


@dataclass(frozen=True, slots=True)
class Naming:
    """The symbols that hold for one running kernel, or why there are none."""

    symbols: Symbols | None = None
    #: How far above the symbols' addresses the kernel runs; may be negative.
    slide: int = 0
    #: For people: where the symbols come from, or why there are none.
    origin: str = "none, for no 64-bit Linux has set up its system calls"

    def name(self, address: int, user: bool) -> str:
        """The symbol and offset of a kernel address; "" where that is unknown."""
        if self.symbols is None or user:
            return ""
        return self.symbols.name(address - self.slide)
