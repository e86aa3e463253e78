from __future__ import annotations

import pytest

from wardian.base.errors import CallerError
from wardian.boot.fields import Fields


def test_numbers_are_little_endian() -> None:
    fields = Fields(bytes(range(1, 9)), "The file")
    assert fields.u8(7) == 8
    assert fields.u16(0) == 0x0201
    assert fields.u32(4) == 0x08070605
    assert fields.u64(0) == 0x0807060504030201


@pytest.mark.parametrize(
    ("offset", "length"),
    [(8, 1), (0, 9), (-1, 1), (0, -1), (2**64, 1), (0, 2**64), (2**63, 2**63)],
)
def test_nothing_is_read_outside_the_file(offset: int, length: int) -> None:
    with pytest.raises(CallerError) as raised:
        Fields(bytes(8), "The file").slice(offset, length, "a part")
    assert raised.value.code == "BOOT_TRUNCATED"
    assert raised.value.message.startswith("The file is truncated or damaged: a part")


def test_an_empty_part_at_the_end_is_inside() -> None:
    assert len(Fields(bytes(8), "The file").slice(8, 0, "nothing")) == 0


def test_a_slice_is_a_view_that_cannot_write() -> None:
    data = bytearray(b"abcd")
    view = Fields(memoryview(data), "The file").slice(1, 2, "a part")
    data[1] = ord("X")
    assert bytes(view) == b"Xc"
    assert view.readonly
