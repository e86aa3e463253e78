"""Memory with a symbol table in it, as scripts/kallsyms.c of Linux lays it out."""

from __future__ import annotations

import random
import struct

from wardian.profile.symbols import Symbol

#: Tokens of several characters, in place of characters that no symbol has.
_SEQUENCES = {0x01: "entry_", 0x02: "SYSCALL", 0x80: "sym", 0xFF: "_64"}


def symbols(count: int, base: int, entry: int) -> list[Symbol]:
    """`count` symbols from `base` on, one of which is `entry_SYSCALL_64` at `entry`."""
    made = []
    for i in range(count):
        # A few are so long that their length takes two bytes.
        name = f"sym{i}_{'x' * (200 if i % 97 == 0 else i % 9)}"
        made.append(Symbol(base + 0x40 * i, "tTdB"[i % 4], name))
    made = [symbol for symbol in made if symbol.address != entry]
    made.append(Symbol(entry, "T", "entry_SYSCALL_64"))
    return sorted(made, key=lambda symbol: symbol.address)


def kallsyms_image(made: list[Symbol], *, since_6_4: bool, absolute_percpu: bool) -> bytes:
    """The tables for `made` among other bytes."""
    tokens = [chr(c) if 0x20 <= c < 0x7F else _SEQUENCES.get(c, "") for c in range(256)]
    codes = {text: code for code, text in enumerate(tokens) if len(text) > 1}
    token_table = b"".join(token.encode() + b"\0" for token in tokens)
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token) + 1)
    token_index = struct.pack("<256H", *starts[:256])

    names = bytearray()
    markers = []
    for number, symbol in enumerate(made):
        if number % 256 == 0:
            markers.append(len(names))
        text = (symbol.kind + symbol.name).encode()
        for sequence, code in codes.items():
            text = text.replace(sequence.encode(), bytes([code]))
        length = len(text)
        names += bytes([length]) if length < 0x80 else bytes([length & 0x7F | 0x80, length >> 7])
        names += text

    base = made[0].address
    if absolute_percpu:
        offsets = [base - 1 - symbol.address for symbol in made]
        packed = struct.pack(f"<{len(made)}i", *offsets)
    else:
        packed = struct.pack(f"<{len(made)}I", *(symbol.address - base for symbol in made))
    addresses = _aligned(packed) + struct.pack("<Q", base)

    noise = random.Random(1).randbytes
    spelled = (
        _aligned(struct.pack("<I", len(made)))
        + _aligned(bytes(names))
        + _aligned(struct.pack(f"<{len(markers)}I", *markers))
        + _aligned(token_table)
        + token_index
    )
    tables = spelled + addresses if since_6_4 else addresses + spelled
    # Other numbers as text, as the kernel has them for its own use.
    decoy = _aligned(b"".join(b"%d\0" % digit for digit in range(10)))
    return noise(4096) + decoy + tables + noise(64)


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
