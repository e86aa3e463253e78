"""The smallest file that boots, for tests that need a machine to accept its kernel."""

from __future__ import annotations

import struct

_MAGIC = 0x1BAD_B002
#: Bit 16: the address fields that follow are valid (Multiboot 0.6.96 section 3.1.3).
_FLAGS = 1 << 16
_HEADER_SIZE = 32


def multiboot_kernel(code: bytes = b"\xf4\xeb\xfd", load: int = 0x10_0000) -> bytes:
    """A Multiboot-1 kernel of its header and `code`, which runs in 32-bit protected mode.

    It is loaded at guest-physical address `load`; the default code halts for ever.
    """
    checksum = -(_MAGIC + _FLAGS) & 0xFFFF_FFFF
    entry = load + _HEADER_SIZE
    # Header address, load address, end of load (0: of the file), end of .bss (0: none), entry.
    addresses = (load, load, 0, 0, entry)
    return struct.pack("<8I", _MAGIC, _FLAGS, checksum, *addresses) + code
