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
work is bounded, names are plain text, and the worst that is left to it is to call its own code by
wrong names.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Final

from wardian.profile.symbols import Symbol, Symbols

_TOKENS: Final = 256
_DIGITS: Final = re.compile(b"".join(b"%d\0" % digit for digit in range(10)))
#: Tokens are one byte to a whole name; with all of them the table ends within this.
_LONGEST_TOKEN_TABLE: Final = 16 << 10
#: Kernels have 50,000 to 300,000 symbols.
_FEWEST: Final = 1_000
_MOST: Final = 1_000_000
#: Characters of a name (KSYM_NAME_LEN is 512).
_LONGEST_NAME: Final = 512
#: What a name and its share of the tables behind it take on average: about 12 bytes.
_NAME_BYTES: Final = (4, 32)
#: Names and markers of the most symbols end within this.
_LONGEST_NAMES: Final = 16 << 20

#: The limits of the work: places with the digits, token tables, counts for each, names in all.
_MAX_DIGITS, _MAX_TABLES, _MAX_COUNTS, _MAX_NAMES = 64, 4, 1_000, 2 * _MOST


def read_kallsyms(memory: bytes, name: str, address: int) -> Symbols | None:
    """Finds the table in `memory`, an excerpt of a kernel's image that starts at a multiple of 8.

    None if it holds none that says that the symbol `name` is at `address`.
    """
    left = _MAX_NAMES
    for tokens, table_at, index_end in islice(_token_tables(memory), _MAX_TABLES):
        for count, names_at in islice(_counts(memory, table_at), _MAX_COUNTS):
            names = list(islice(_names(memory, names_at, table_at, tokens), min(count, left)))
            left -= len(names)
            if len(names) < count or name not in (text[1:] for text in names):
                continue
            for addresses in _addresses(memory, names_at - 8, index_end, count):
                symbols = [
                    Symbol(at, text[0], text[1:]) for at, text in zip(addresses, names, strict=True)
                ]
                if any(symbol.address == address and symbol.name == name for symbol in symbols):
                    return Symbols(symbols)
    return None


def _token_tables(memory: bytes) -> Iterator[tuple[list[str], int, int]]:
    """Every token table: its tokens, where it starts, and where its index ends."""
    for digits in islice(_DIGITS.finditer(memory), _MAX_DIGITS):
        zero = digits.start()
        end = min(zero + _LONGEST_TOKEN_TABLE, len(memory) - 2 * _TOKENS)
        for at in range(zero + 7 & -8, end, 8):
            index = struct.unpack_from(f"<{_TOKENS}H", memory, at)
            start = zero - index[ord("0")]
            if index[0] or start < 0 or not all(a < b for a, b in pairwise(index)):
                continue
            tokens = memory[start:at].decode("latin-1").split("\0", _TOKENS)[:_TOKENS]
            ends = [0]
            for token in tokens:
                ends.append(ends[-1] + len(token) + 1)
            # A token goes to the user's terminal in the end.
            if ends[:-1] == list(index) and all(t.isascii() and t.isprintable() for t in tokens):
                yield tokens, start, at + 2 * _TOKENS


def _counts(memory: bytes, table_at: int) -> Iterator[tuple[int, int]]:
    """Every place before the token table that may be num_syms: the count, and where names start."""
    start = max(0, table_at - _LONGEST_NAMES) & -8
    words = struct.iter_unpack("<II", memory[start : table_at & -8])
    for number, (count, padding) in enumerate(words):
        if padding == 0 and _FEWEST <= count <= _MOST:
            names_at = start + 8 * number + 8
            shortest, longest = (size * count for size in _NAME_BYTES)
            if shortest <= table_at - names_at <= longest:
                yield count, names_at


def _names(memory: bytes, at: int, end: int, tokens: list[str]) -> Iterator[str]:
    """The names that start at `at`, spelled out, up to one that cannot be a name."""
    while True:
        length = memory[at]
        at += 1
        if length >= 0x80:
            length = length & 0x7F | memory[at] << 7
            at += 1
        if at + length >= end:
            return
        name = "".join([tokens[token] for token in memory[at : at + length]])
        if not 2 <= len(name) <= _LONGEST_NAME:
            return
        yield name
        at += length


def _addresses(memory: bytes, count_at: int, index_end: int, count: int) -> Iterator[list[int]]:
    """The addresses of all symbols, by every layout and encoding that there is."""
    size = 4 * count + 7 & -8
    before, behind = (count_at - 8 - size, count_at - 8), (index_end, index_end + size)
    for offsets_at, base_at in (before, behind):
        if offsets_at < 0 or base_at + 8 > len(memory):
            continue
        (base,) = struct.unpack_from("<Q", memory, base_at)
        offsets = struct.unpack_from(f"<{count}i", memory, offsets_at)
        yield [base + (offset & 0xFFFF_FFFF) for offset in offsets]
        yield [offset if offset >= 0 else base - 1 - offset for offset in offsets]
