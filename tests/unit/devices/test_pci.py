"""The PCI root: both ways into configuration space, and the reset port between them."""

from __future__ import annotations

import pytest

from wardian.base.errors import BugError
from wardian.devices.pci import PciHost
from wardian.devices.pci_function import PciFunction, PciIdentity
from wardian.devices.reset_control import ResetControl

ECAM_BASE = 0xB000_0000
MIB = 1 << 20
PORTS, ECAM = 0, 1
BRIDGE = 0x0008_1B36


class Root:
    """A PCI host with one function at 00:03.1, and the number of resets asked for."""

    def __init__(self) -> None:
        self.resets = 0
        self.host = PciHost(ECAM_BASE, 256 * MIB, ResetControl(self._reset))
        self.function = PciFunction(PciIdentity(0x1234, 0x5678, 0xFF0000))
        self.host.attach(self.function, slot=3, number=1)

    def _reset(self) -> None:
        self.resets += 1

    def select(self, address: int) -> None:
        self.host.write(PORTS, 0, 4, address)

    def data(self, offset: int = 0, size: int = 4) -> int:
        return self.host.read(PORTS, 4 + offset, size)


@pytest.fixture
def root() -> Root:
    return Root()


def test_the_host_bridge_is_at_zero(root: Root) -> None:
    root.select(1 << 31)
    assert root.data() == BRIDGE
    assert root.host.read(ECAM, 0, 4) == BRIDGE
    root.select(1 << 31 | 0x08)
    assert root.data() >> 16 == 0x0600


def test_the_address_register_keeps_its_defined_bits(root: Root) -> None:
    root.select(0xFFFF_FFFF)
    assert root.host.read(PORTS, 0, 4) == 0x80FF_FFFC


def test_linux_finds_mechanism_1(root: Root) -> None:
    root.host.write(PORTS, 3, 1, 0x01)
    before = root.host.read(PORTS, 0, 4)
    root.select(0x8000_0000)
    assert root.host.read(PORTS, 0, 4) == 0x8000_0000
    root.select(before)


def test_both_windows_reach_the_same_function(root: Root) -> None:
    address = 3 << 11 | 1 << 8
    root.select(1 << 31 | address | 0x3C)
    root.host.write(PORTS, 4, 4, 0)
    root.select(1 << 31 | address | 0x0C)
    root.host.write(PORTS, 4, 1, 0x40)
    assert root.host.read(ECAM, (3 << 15 | 1 << 12) + 0x0C, 1) == 0x40
    root.select(1 << 31 | address)
    assert root.data() == 0x5678_1234


def test_narrow_data_accesses_name_bytes(root: Root) -> None:
    root.select(1 << 31 | 3 << 11 | 1 << 8)
    assert [root.data(at, 1) for at in range(4)] == [0x34, 0x12, 0x78, 0x56]
    assert root.data(2, 2) == 0x5678


@pytest.mark.parametrize("address", [0, 1 << 31 | 1 << 11, 1 << 31 | 1 << 16, 1 << 31 | 1 << 8])
def test_absent_or_disabled_functions_read_ones(root: Root, address: int) -> None:
    root.select(address)
    root.host.write(PORTS, 4, 4, 0)
    assert (root.data(), root.data(1, 1), root.data(2, 2)) == (0xFFFFFFFF, 0xFF, 0xFFFF)


@pytest.mark.parametrize("offset", [1 << 12, 1 << 15, 1 << 20, (256 << 20) - 4])
def test_absent_functions_read_ones_in_ecam(root: Root, offset: int) -> None:
    root.host.write(ECAM, offset, 4, 0)
    assert root.host.read(ECAM, offset, 4) == 0xFFFFFFFF
    assert root.host.read(ECAM, offset & ~7, 8) == (1 << 64) - 1


def test_a_byte_at_cf9_is_reset_control_and_a_dword_is_not(root: Root) -> None:
    root.select(0x0000_0600)
    assert root.resets == 0
    root.host.write(PORTS, 1, 1, 0x02)
    assert root.host.read(PORTS, 1, 1) == 0x02
    assert root.host.read(PORTS, 0, 4) == 0x0000_0600
    root.host.write(PORTS, 1, 1, 0x06)
    assert root.resets == 1


def test_reset_reaches_every_function(root: Root) -> None:
    root.select(1 << 31)
    root.function.config_write(0x04, 2, 7)
    root.host.reset()
    assert root.host.read(PORTS, 0, 4) == 0
    assert root.function.config_read(0x04, 2) == 0


@pytest.mark.parametrize(("slot", "number"), [(0, 0), (3, 1), (32, 0), (-1, 0), (1, 8), (1, -1)])
def test_a_place_that_is_taken_or_does_not_exist_is_a_bug(
    root: Root, slot: int, number: int
) -> None:
    with pytest.raises(BugError) as caught:
        root.host.attach(PciFunction(PciIdentity(1, 2, 3)), slot, number)
    assert caught.value.code == "PCI_SLOT"


@pytest.mark.parametrize("length", [0, 4096, MIB + 1])
def test_an_ecam_window_is_whole_buses(length: int) -> None:
    with pytest.raises(BugError):
        PciHost(ECAM_BASE, length, ResetControl(lambda: None))
