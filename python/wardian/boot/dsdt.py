"""The DSDT's contents: what is on the board that the guest cannot enumerate.

There are no processor objects: the MADT says how many CPUs there are, and with objects but no idle
states in them Linux would put its idle-state governor before every HLT.
"""

from __future__ import annotations

from wardian.boot import aml
from wardian.boot.board import (
    COM1_GSI,
    COM1_PORT,
    PCI_CONFIG_PORT,
    PM1_EVENT,
    RTC_PORT,
    SLP_TYP_S5,
    pci_intx_gsi,
)
from wardian.boot.memory_map import (
    ECAM_BASE,
    ECAM_BUSES,
    ECAM_LENGTH,
    PCI_MMIO_BASE,
    PCI_MMIO_END,
)


def definition_block() -> bytes:
    """The AML behind the DSDT's table header."""
    return _soft_off() + aml.scope("\\_SB", _root_bridge(), _motherboard(), _serial(), _clock())


def _soft_off() -> bytes:
    """\\_S5 (ACPI 6.5, 7.4.2): SLP_TYP for PM1a and PM1b, then two reserved elements."""
    return aml.name("\\_S5", aml.package([aml.integer(SLP_TYP_S5), *[aml.integer(0)] * 3]))


def _root_bridge() -> bytes:
    """PCI segment 0: one PCI Express root (PNP0A08) that also answers as PCI (PNP0A03)."""
    return aml.device(
        "PCI0",
        aml.name("_HID", aml.eisa_id("PNP0A08")),
        aml.name("_CID", aml.eisa_id("PNP0A03")),
        aml.name("_UID", aml.integer(0)),
        aml.name("_SEG", aml.integer(0)),
        aml.name("_BBN", aml.integer(0)),
        aml.name(
            "_CRS",
            aml.resources(
                aml.bus_range(0, ECAM_BUSES - 1),
                aml.io(PCI_CONFIG_PORT, 8),
                aml.io_window(0, PCI_CONFIG_PORT - 1),
                aml.io_window(PCI_CONFIG_PORT + 8, 0xFFFF),
                aml.memory_window(PCI_MMIO_BASE, PCI_MMIO_END - 1),
            ),
        ),
        aml.name("_PRT", aml.package(_interrupt_routes())),
    )


def _interrupt_routes() -> list[bytes]:
    """_PRT (ACPI 6.5, 6.2.13): every pin of devices 0 to 31 to a global system interrupt.

    "Source" is zero, which makes the fourth element the interrupt itself.
    """
    return [
        aml.package(
            [
                aml.integer(device << 16 | 0xFFFF),  # all functions of the device
                aml.integer(pin),
                aml.integer(0),
                aml.integer(pci_intx_gsi(device, pin)),
            ]
        )
        for device in range(32)
        for pin in range(4)
    ]


def _motherboard() -> bytes:
    """What no driver may be given: ECAM (PCI Firmware 3.3, 4.1.2), power-management ports."""
    return aml.device(
        "MB00",
        aml.name("_HID", aml.eisa_id("PNP0C02")),
        aml.name("_UID", aml.integer(0)),
        aml.name(
            "_CRS",
            aml.resources(aml.memory32(ECAM_BASE, ECAM_LENGTH), aml.io(PM1_EVENT, 0x10)),
        ),
    )


def _serial() -> bytes:
    """COM1, a 16550A (PNP0501)."""
    return aml.device(
        "COM1",
        aml.name("_HID", aml.eisa_id("PNP0501")),
        aml.name("_UID", aml.integer(1)),
        aml.name("_CRS", aml.resources(aml.io(COM1_PORT, 8), aml.irq(COM1_GSI))),
    )


def _clock() -> bytes:
    """The real-time clock (PNP0B00). No interrupt: the device has no line connected."""
    return aml.device(
        "RTC0",
        aml.name("_HID", aml.eisa_id("PNP0B00")),
        aml.name("_CRS", aml.resources(aml.io(RTC_PORT, 2))),
    )
