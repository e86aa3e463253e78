"""Files that hold a kernel's symbols: System.map, a copy of /proc/kallsyms, or an ELF vmlinux.

Sources: nm(1) for the lines of the first two; System V ABI, chapter 4, for section headers and
symbol tables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from wardian.base.errors import CallerError
from wardian.profile.symbols import Symbol, Symbols

_ELF: Final = b"\x7fELF"
_SHT_SYMTAB: Final = 2
_SHF_EXECINSTR: Final = 4
_SHF_WRITE: Final = 1
_STT_FUNC: Final = 2
_STB_LOCAL: Final = 0
#: Section indices from here on are special: absolute, common, ... (SHN_LORESERVE).
_SPECIAL_SECTIONS: Final = 0xFF00

#: As nm(1) prints a symbol; /proc/kallsyms puts the module's name behind it.
_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,16}) ([A-Za-z?]) ([!-~]+)(?:\s+\[[!-~]+\])?\s*")

#: Fewer than this is no kernel: Debian's System.map is one line that says where the real one is.
_FEWEST: Final = 4


def read_symbols(data: bytes, name: str) -> Symbols:
    """Reads a symbol file; `name` says in messages which one.

    Raises `CallerError` PROFILE_SYMBOLS for a file without symbols.
    """
    found = _elf(data, name) if data[:4] == _ELF else _lines(data)
    symbols = [symbol for symbol in found if symbol.address]
    if len(symbols) < _FEWEST:
        raise CallerError(
            "PROFILE_SYMBOLS",
            f"{name} holds no symbols: it must be a System.map, a root user's copy of "
            "/proc/kallsyms or an ELF file with a symbol table.",
        )
    return Symbols(symbols)


def _lines(data: bytes) -> Iterator[Symbol]:
    """The symbols of a text; none at all of a file with any other line in it."""
    lines = data.splitlines()
    matches = [_LINE.fullmatch(line) for line in lines if line.strip()]
    for match in matches if None not in matches else ():
        assert match is not None
        yield Symbol(int(match[1], 16), match[2].decode(), match[3].decode())


def _elf(data: bytes, name: str) -> Iterator[Symbol]:
    if data[4:6] != b"\x02\x01":
        raise CallerError("PROFILE_SYMBOLS", f"{name} is not a 64-bit little-endian ELF file.")
    try:
        yield from _symbol_table(data)
    except (struct.error, IndexError, ValueError):
        raise CallerError(
            "PROFILE_SYMBOLS", f"{name} is cut short or damaged: its symbol table is not whole."
        ) from None


def _symbol_table(data: bytes) -> Iterator[Symbol]:
    (at,) = struct.unpack_from("<Q", data, 0x28)
    size, count = struct.unpack_from("<HH", data, 0x3A)
    # sh_name, sh_type, sh_flags, sh_addr, sh_offset, sh_size, sh_link, sh_info
    sections = [struct.unpack_from("<IIQQQQII", data, at + size * i) for i in range(count)]
    for section in sections:
        if section[1] != _SHT_SYMTAB:
            continue
        names = sections[section[6]][4]
        table = data[section[4] : section[4] + section[5]]
        if len(table) != section[5]:
            raise ValueError("the table reaches beyond the file")
        for name_at, info, _, index, value, _ in struct.iter_unpack("<IBBHQQ", table):
            # Those without a type in code are labels of hand-written assembly, entry points too.
            if info & 0xF > _STT_FUNC or not 0 < index < min(len(sections), _SPECIAL_SECTIONS):
                continue
            start = names + name_at
            text = data[start : data.index(0, start)].decode("latin-1")
            if text.isascii() and text.isprintable() and text:
                yield Symbol(value, _kind(sections[index][2], info >> 4), text)


def _kind(section_flags: int, binding: int) -> str:
    """The letter that nm(1) would print."""
    data = "D" if section_flags & _SHF_WRITE else "R"
    letter = "T" if section_flags & _SHF_EXECINSTR else data
    return letter.lower() if binding == _STB_LOCAL else letter
