"""A guest that makes given accesses one after the other: its program and its vCPU's state.

It runs in 32-bit protected mode without paging, where an access is one instruction and the address
is what the instruction says. Eight bytes go through an MMX register, which moves them at once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

from fuzz.bus.accesses import Access
from wardian.devices.device import RangeKind

CODE = 0x20_0000

#: The guest writes `DONE` to this port when it is through. The port belongs to no device.
DONE_PORT, DONE = 0xE0, 0x444F_4E45

# mov dx, DONE_PORT; mov eax, DONE; out dx, eax; jmp to itself
_DONE = struct.pack("<2sHBIBH", b"\x66\xba", DONE_PORT, 0xB8, DONE, 0xEF, 0xFEEB)
_VALUE_AT = 0x1_0000
_CODE_SEGMENT = (8, 0, 0xFFFF_FFFF, 0xC09B)
_DATA_SEGMENT = (16, 0, 0xFFFF_FFFF, 0xC093)
_NO_SEGMENT = (0, 0, 0xFFFF, 0x82)
_TASK = (0, 0, 0xFFFF, 0x8B)
#: CR0: PE, ET, NE. CR4: OSFXSR.
_CR0, _CR4 = 0x31, 0x200

_PORT = {
    (1, False): b"\xec",
    (2, False): b"\x66\xed",
    (4, False): b"\xed",
    (1, True): b"\xee",
    (2, True): b"\x66\xef",
    (4, True): b"\xef",
}
# mov al/ax/eax, moffs32 and back; movq mm0, [disp32] and back.
_MEMORY = {
    (1, False): b"\xa0",
    (2, False): b"\x66\xa1",
    (4, False): b"\xa1",
    (8, False): b"\x0f\x6f\x05",
    (1, True): b"\xa2",
    (2, True): b"\x66\xa3",
    (4, True): b"\xa3",
    (8, True): b"\x0f\x7f\x05",
}


def program(accesses: Iterable[Access]) -> bytes:
    """Machine code, to be placed at `CODE`, that makes `accesses` and says that it is through."""
    return b"".join(map(_code, accesses)) + _DONE


def state() -> dict[str, Any]:
    """The vCPU state in which the program starts: interrupts off, flat segments, no stack."""
    data = dict.fromkeys(("es", "ss", "ds", "fs", "gs"), _DATA_SEGMENT)
    return {
        "rip": CODE,
        "rflags": 2,
        "cr0": _CR0,
        "cr3": 0,
        "cr4": _CR4,
        "efer": 0,
        "segments": {**data, "cs": _CODE_SEGMENT, "ldtr": _NO_SEGMENT, "tr": _TASK},
        "activity": "running",
    }


def _code(access: Access) -> bytes:
    low, high = access.value & 0xFFFF_FFFF, access.value >> 32
    load = b"\xb8" + struct.pack("<I", low)  # mov eax, low
    if access.kind is RangeKind.PIO:
        port = b"\x66\xba" + struct.pack("<H", access.address)  # mov dx, port
        return load + port + _PORT[access.size, access.write]
    address = struct.pack("<I", access.address & 0xFFFF_FFFF)
    if access.size == 8 and access.write:
        load = b"".join(
            # mov dword [disp32], imm32, twice; movq mm0, [disp32].
            [
                b"\xc7\x05" + struct.pack("<II", _VALUE_AT, low),
                b"\xc7\x05" + struct.pack("<II", _VALUE_AT + 4, high),
                b"\x0f\x6f\x05" + struct.pack("<I", _VALUE_AT),
            ]
        )
    return load + _MEMORY[access.size, access.write] + address
