from __future__ import annotations

from wardian.boot import board
from wardian.boot.board import pci_intx_gsi
from wardian.devices import acpi_pm, pci, reset_control, rtc, serial


def test_pci_pins_spread_over_gsi_16_to_23() -> None:
    used = {pci_intx_gsi(device, pin) for device in range(32) for pin in range(4)}
    assert used == set(range(16, 24))
    assert pci_intx_gsi(0, 0) == 16
    assert pci_intx_gsi(1, 0) == pci_intx_gsi(0, 1) == 17
    assert pci_intx_gsi(31, 3) == 18


def test_power_management_is_where_the_device_is() -> None:
    assert board.PM1_EVENT == acpi_pm.PM_BASE
    assert board.SLP_TYP_S5 == acpi_pm.S5_SLEEP_TYPE


def test_ports_are_where_the_devices_are() -> None:
    assert board.COM1_PORT == serial.COM1_BASE
    assert board.RTC_PORT == rtc.RTC_BASE
    assert board.RESET_PORT == reset_control.RESET_PORT
    assert board.PCI_CONFIG_PORT == pci.CONFIG_PORT
