"""Reading little-endian fields out of a file that may lie about itself."""

from __future__ import annotations

import struct
from typing import Final

from wardian.base.errors import CallerError

_U16: Final = struct.Struct("<H")
_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")


class Fields:
    """A bounded view of a file: every read either is inside it or raises BOOT_TRUNCATED.

    `what` names the file in messages, as in "the kernel". Nothing is copied.
    """

    __slots__ = ("_what", "view")

    def __init__(self, data: bytes | memoryview, what: str) -> None:
        self.view = memoryview(data).toreadonly().cast("B")
        self._what = what

    def __len__(self) -> int:
        return len(self.view)

    def slice(self, offset: int, length: int, what: str) -> memoryview:
        """The `length` bytes at `offset`; `what` names them in the message if they are not there.

        Raises `CallerError` BOOT_TRUNCATED.
        """
        if offset < 0 or length < 0 or offset + length > len(self.view):
            raise CallerError(
                "BOOT_TRUNCATED",
                f"{self._what} is truncated or damaged: {what} would be {length} bytes at offset "
                f"{offset}, but the file has {len(self.view)} bytes.",
            )
        return self.view[offset : offset + length]

    def u8(self, offset: int) -> int:
        """The byte at `offset`."""
        return self.slice(offset, 1, "a header field")[0]

    def u16(self, offset: int) -> int:
        """The 16-bit number at `offset`."""
        return self._number(_U16, offset)

    def u32(self, offset: int) -> int:
        """The 32-bit number at `offset`."""
        return self._number(_U32, offset)

    def u64(self, offset: int) -> int:
        """The 64-bit number at `offset`."""
        return self._number(_U64, offset)

    def _number(self, form: struct.Struct, offset: int) -> int:
        (value,) = form.unpack(self.slice(offset, form.size, "a header field"))
        return int(value)
