"""Instructions that are likely to decode: prefixes, opcode maps and operands at random."""

from __future__ import annotations

import random

#: Bytes the guest runs before it starts anew; `CHUNK` in tests/guest/micro/hostile/stream.c.
CHUNK = 64

_PREFIXES = (0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x64, 0x65, *range(0x40, 0x50))
#: Two-byte opcodes of the system: what a kernel uses and user programs cannot.
_SYSTEM = (0x00, 0x01, 0x05, 0x06, 0x07, 0x08, 0x09, 0x20, 0x21, 0x22, 0x23, 0x30, 0x31, 0x32, 0x33)
_FAR = (0x9A, 0xCA, 0xCB, 0xCC, 0xCD, 0xCF, 0xEA, 0xFF, 0x8E, 0xC4, 0xC5, 0x9D, 0xC8)
_STRING = (*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0))


def stream(seed: int, chunks: int) -> bytes:
    """`chunks` pieces of code; the same for the same seed."""
    chance = random.Random(seed)
    return b"".join(_chunk(chance) for _ in range(chunks))


def _chunk(chance: random.Random) -> bytes:
    if chance.random() < 0.2:
        return chance.randbytes(CHUNK)
    code = b""
    while len(code) < CHUNK:
        code += _instruction(chance)
    return code[:CHUNK]


def _instruction(chance: random.Random) -> bytes:
    prefixes = bytes(chance.choices(_PREFIXES, k=chance.choice((0, 0, 0, 1, 1, 2, 3))))
    return prefixes + _opcode(chance) + _operands(chance)


def _opcode(chance: random.Random) -> bytes:
    any_byte = chance.randrange(256)
    match chance.randrange(8):
        case 0:
            return bytes([0x0F, chance.choice(_SYSTEM)])
        case 1:
            return bytes([chance.choice(_FAR)])
        case 2:
            return bytes([chance.choice(_STRING)])
        case 3:
            return bytes([0x0F, chance.choice((0x38, 0x3A)), any_byte])
        case 4:  # VEX, both forms (Intel SDM vol. 2A section 2.3.5)
            if chance.random() < 0.5:
                return bytes([0xC5, chance.randrange(256), any_byte])
            byte = chance.randrange(8) << 5 | chance.randrange(1, 4)
            return bytes([0xC4, byte, chance.randrange(256), any_byte])
        case 5:
            return bytes([any_byte])
        case _:
            return bytes([0x0F, any_byte])


def _operands(chance: random.Random) -> bytes:
    modrm = chance.randrange(256)
    if chance.random() < 0.3:
        modrm = modrm & 0x38 | chance.randrange(8)  # memory at a register, which points somewhere
    return bytes([modrm]) + chance.randbytes(chance.choice((0, 0, 1, 2, 4)))
