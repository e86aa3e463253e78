"""Port 0x510: items as byte streams."""

from __future__ import annotations

import pytest

from wardian.devices.fw_cfg import FwCfg

GIB = 1 << 30


def read_item(device: FwCfg, key: int, length: int) -> bytes:
    device.write(0, 0, 2, key)
    return bytes(device.read(0, 1, 1) for _ in range(length))


@pytest.mark.parametrize(
    ("key", "content"),
    [
        (0x00, b"QEMU\0\0"),
        (0x01, b"\x01\0\0\0"),
        (0x03, (6 * GIB).to_bytes(8, "little") + bytes(4)),
        (0x05, b"\x04\x00"),
        (0x0F, b"\x04\x00"),
        (0x19, bytes(4)),
        (0x7777, bytes(8)),
    ],
)
def test_items(key: int, content: bytes) -> None:
    assert read_item(FwCfg(cpus=4, memory_bytes=6 * GIB), key, len(content)) == content


def test_selecting_again_starts_again() -> None:
    device = FwCfg(1, GIB)
    assert read_item(device, 0, 2) == b"QE"
    assert read_item(device, 0, 4) == b"QEMU"


def test_only_a_word_selects() -> None:
    device = FwCfg(1, GIB)
    device.write(0, 0, 1, 5)
    device.write(0, 1, 1, 5)
    assert device.read(0, 1, 1) == ord("Q")


def test_reset_selects_the_signature() -> None:
    device = FwCfg(1, GIB)
    read_item(device, 5, 1)
    device.reset()
    assert device.read(0, 1, 1) == ord("Q")
