"""Port 0xF4: a value written is an odd exit status."""

from __future__ import annotations

import pytest

from wardian.devices.debug_exit import DebugExit


@pytest.mark.parametrize(
    ("size", "value", "status"),
    [
        (1, 0, 1),
        (1, 0x31, 0x63),
        (1, 0xFF, 0xFF),
        (2, 0x10, 0x21),
        (4, 0x10, 0x21),
        (4, 0x8000_0080, 1),
    ],
)
def test_the_exit_status_is_twice_the_value_plus_one(size: int, value: int, status: int) -> None:
    statuses: list[int] = []
    DebugExit(statuses.append).write(0, 0, size, value)
    assert statuses == [status]


def test_reading_does_not_exit() -> None:
    statuses: list[int] = []
    assert DebugExit(statuses.append).read(0, 0, 4) == 0
    assert statuses == []
