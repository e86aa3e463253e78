"""The symbol table that a Linux kernel carries in its own memory.

Nearly every distribution's kernel has one (CONFIG_KALLSYMS), compressed by scripts/kallsyms.c of
the kernel's sources. It is a handful of tables in read-only data, each at an address divisible
by 8:

  names         for each symbol a length and as many token numbers; spelled out, a type letter and
                the name. A length of 128 or more has a second byte (since 6.1).
  token_table   256 strings, each ended by a zero; tokens that are not sequences stand for
                themselves, so the digits are found next to each other
  token_index   where in token_table each token starts, 16 bits each
  offsets       for each symbol a 32-bit offset: from relative_base, or, in kernels with
                CONFIG_KALLSYMS_ABSOLUTE_PERCPU, absolute if positive and back from
                relative_base - 1 if negative
  num_syms      a 32-bit count, right before names

Up to 6.3 offsets and relative_base come before num_syms; since 6.4 they follow token_index.

Nothing in here is marked, so it is looked for, and what is found is believed only if it spells
the address of a symbol that is known from elsewhere. A guest may put anything into its memory: all
work is bounded, and the worst it can do is to have its own blocks called wrong names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from wardian.profile.symbols import Symbol, Symbols

_TOKENS: Final = 256
_DIGITS: Final = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))
#: Tokens are one byte to a whole name; with all of them the table ends within this.
_LONGEST_TOKEN_TABLE: Final = 16 << 10
#: Kernels have 50,000 to 300,000 symbols.
_FEWEST: Final = 1_000
_MOST: Final = 2_000_000
#: Before the token table: names and markers of the most symbols.
_FURTHEST: Final = 64 << 20
#: What a name and its share of the tables behind it take on average: about 12 bytes.
_NAME_BYTES: Final = (4, 32)
#: Of each, this many places that look right are looked at closely.
_CANDIDATES: Final = 1_000


def read_kallsyms(memory: bytes, name: str, address: int) -> Symbols | None:
    """Finds the table in `memory`, an excerpt of a kernel's image that starts at a multiple of 8.

    None if it holds none that says that the symbol `name` is at `address`.
    """
    for tokens, table_at, index_end in _token_tables(memory):
        for count, names_at in _counts(memory, table_at):
            names = _names(memory, names_at, count, table_at, tokens)
            if names is None or name not in (text[1:] for text in names):
                continue
            for addresses in _addresses(memory, names_at - 8, index_end, count):
                if (address, name) in zip(addresses, (text[1:] for text in names), strict=True):
                    return Symbols(
                        Symbol(at, text[0], text[1:])
                        for at, text in zip(addresses, names, strict=True)
                        if text[1:]
                    )
    return None


def _token_tables(memory: bytes) -> Iterator[tuple[list[str], int, int]]:
    """Every token table: its tokens, where it starts, and where its index ends."""
    for digits in list(_DIGITS.finditer(memory))[:_CANDIDATES]:
        zero = digits.start()
        first = zero + 7 & -8
        for at in range(first, min(zero + _LONGEST_TOKEN_TABLE, len(memory) - 2 * _TOKENS), 8):
            index = struct.unpack_from(f"<{_TOKENS}H", memory, at)
            start = zero - index[ord("0")]
            if index[0] or start < 0 or not all(a < b for a, b in pairwise(index)):
                continue
            strings = memory[start:at].split(b"\0", _TOKENS)[:_TOKENS]
            starts = [0]
            for string in strings:
                starts.append(starts[-1] + len(string) + 1)
            if starts[:_TOKENS] == list(index):
                yield [s.decode("latin-1") for s in strings], start, at + 2 * _TOKENS


def _counts(memory: bytes, table_at: int) -> Iterator[tuple[int, int]]:
    """Every place before the token table that may be num_syms: the count, and where names start."""
    start = max(0, table_at - _FURTHEST) & -8
    words = struct.iter_unpack("<II", memory[start : table_at & -8])
    left = _CANDIDATES
    for number, (count, padding) in enumerate(words):
        if padding == 0 and _FEWEST <= count <= _MOST:
            names_at = start + 8 * number + 8
            shortest, longest = (size * count for size in _NAME_BYTES)
            if shortest <= table_at - names_at <= longest and 2 <= memory[names_at] < 0x80:
                yield count, names_at
                left -= 1
                if not left:
                    return


def _names(memory: bytes, at: int, count: int, end: int, tokens: list[str]) -> list[str] | None:
    """The names that start at `at`, spelled out; None if they do not fit before `end`."""
    names = []
    for _ in range(count):
        length = memory[at]
        at += 1
        if length >= 0x80:
            length = length & 0x7F | memory[at] << 7
            at += 1
        if not length or at + length >= end:
            return None
        names.append("".join([tokens[token] for token in memory[at : at + length]]))
        at += length
    return names


def _addresses(memory: bytes, count_at: int, index_end: int, count: int) -> Iterator[list[int]]:
    """The addresses of all symbols, by every layout and encoding that there is."""
    size = 4 * count + 7 & -8
    for offsets_at, base_at in (
        (count_at - 8 - size, count_at - 8),
        (index_end, index_end + size),
    ):
        if offsets_at < 0 or base_at + 8 > len(memory):
            continue
        (base,) = struct.unpack_from("<Q", memory, base_at)
        signed = struct.unpack_from(f"<{count}i", memory, offsets_at)
        yield [base + (offset & 0xFFFF_FFFF) for offset in signed]
        yield [offset if offset >= 0 else base - 1 - offset for offset in signed]
