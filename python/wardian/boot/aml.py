"""ACPI Machine Language, the part a DSDT without methods needs: every function returns bytes.

Source: ACPI 6.5, chapter 20.2 (AML grammar) and chapter 6.4 (resource descriptors).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

_ZERO_OP: Final = b"\x00"
_ONE_OP: Final = b"\x01"
_NAME_OP: Final = b"\x08"
_BYTE: Final = 0x0A
_WORD: Final = 0x0B
_DWORD: Final = 0x0C
_QWORD: Final = 0x0E
_SCOPE_OP: Final = b"\x10"
_BUFFER_OP: Final = b"\x11"
_PACKAGE_OP: Final = b"\x12"
_DEVICE_OP: Final = b"\x5b\x82"

# General flags of address space descriptors (table 6.40): the bridge produces what it names, and
# both ends are fixed.
_PRODUCED_FIXED: Final = 0x0C
_MEMORY: Final = 0
_IO: Final = 1
_BUS: Final = 2
_READ_WRITE: Final = 0x01
_ENTIRE_IO_RANGE: Final = 0x03


def path(text: str) -> bytes:
    """A name: one segment of up to four characters, after a backslash if it is at the root."""
    root, segment = (b"\\", text[1:]) if text.startswith("\\") else (b"", text)
    return root + segment.encode("ascii").ljust(4, b"_")


def integer(value: int) -> bytes:
    """A constant of up to 64 bits in its shortest form (20.2.3)."""
    if value == 0:
        return _ZERO_OP
    if value == 1:
        return _ONE_OP
    for op, size in ((_BYTE, 1), (_WORD, 2), (_DWORD, 4)):
        if value < 1 << 8 * size:
            return bytes([op]) + value.to_bytes(size, "little")
    return bytes([_QWORD]) + value.to_bytes(8, "little")


def eisa_id(text: str) -> bytes:
    """A Plug and Play ID such as ``PNP0A08`` as the compressed integer of 19.3.4."""
    first, second, third = (ord(letter) - ord("@") for letter in text[:3])
    vendor = first << 10 | second << 5 | third
    return bytes([_DWORD]) + struct.pack(">HH", vendor, int(text[3:], 16))


def name(of: str, value: bytes) -> bytes:
    """``Name (of, value)``."""
    return _NAME_OP + path(of) + value


def scope(of: str, *body: bytes) -> bytes:
    """``Scope (of) { body }``."""
    return _SCOPE_OP + _with_length(path(of) + b"".join(body))


def device(of: str, *body: bytes) -> bytes:
    """``Device (of) { body }``."""
    return _DEVICE_OP + _with_length(path(of) + b"".join(body))


def package(elements: Iterable[bytes]) -> bytes:
    """``Package () { elements }`` of at most 255."""
    listed = tuple(elements)
    return _PACKAGE_OP + _with_length(bytes([len(listed)]) + b"".join(listed))


def resources(*descriptors: bytes) -> bytes:
    """``ResourceTemplate () { descriptors }``: a buffer closed by an end tag (6.4.2.9)."""
    body = b"".join(descriptors) + b"\x79\x00"  # checksum 0: "treat as if it summed up"
    return _BUFFER_OP + _with_length(integer(len(body)) + body)


def io(port: int, length: int) -> bytes:
    """A fixed range of 16-bit ports (6.4.2.5)."""
    return struct.pack("<BBHHBB", 0x47, 1, port, port, 1, length)


def irq(line: int) -> bytes:
    """An ISA interrupt: edge-triggered, active high, not shared (6.4.2.1)."""
    return struct.pack("<BH", 0x22, 1 << line)


def memory32(base: int, length: int) -> bytes:
    """A fixed writable memory range below 4 GiB (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, length)


def bus_range(first: int, last: int) -> bytes:
    """The buses behind a host bridge (6.4.3.5.3)."""
    return _address_space(0x88, "H", _BUS, 0, first, last)


def io_window(first: int, last: int) -> bytes:
    """Ports that a host bridge passes on (6.4.3.5.3)."""
    return _address_space(0x88, "H", _IO, _ENTIRE_IO_RANGE, first, last)


def memory_window(first: int, last: int) -> bytes:
    """Uncached memory below 4 GiB that a host bridge passes on (6.4.3.5.2)."""
    return _address_space(0x87, "I", _MEMORY, _READ_WRITE, first, last)


def _address_space(tag: int, form: str, kind: int, flags: int, first: int, last: int) -> bytes:
    # Granularity, minimum, maximum, translation, length.
    body = struct.pack(
        f"<BBB5{form}", kind, _PRODUCED_FIXED, flags, 0, first, last, 0, last - first + 1
    )
    return struct.pack("<BH", tag, len(body)) + body


def _with_length(body: bytes) -> bytes:
    """Put the package length, which counts itself, before `body` (20.2.4)."""
    if len(body) + 1 < 1 << 6:
        return bytes([len(body) + 1]) + body
    for following in (1, 2, 3):
        total = len(body) + 1 + following
        if total < 1 << (4 + 8 * following):
            lead = following << 6 | total & 0xF
            return bytes([lead]) + (total >> 4).to_bytes(following, "little") + body
    raise ValueError("an AML package cannot have 256 MiB")
