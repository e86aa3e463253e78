"""The board: one file per device, each with its registers as data."""

from __future__ import annotations

from wardian.devices.acpi_pm import AcpiPm
from wardian.devices.debug_exit import DebugExit
from wardian.devices.device import Device, Range, RangeKind
from wardian.devices.fw_cfg import FwCfg
from wardian.devices.i8042 import I8042
from wardian.devices.pci import PciHost
from wardian.devices.pci_function import PciFunction
from wardian.devices.reset_control import ResetControl
from wardian.devices.rtc import CmosRtc
from wardian.devices.serial import Serial16550

__all__ = [
    "I8042",
    "AcpiPm",
    "CmosRtc",
    "DebugExit",
    "Device",
    "FwCfg",
    "PciFunction",
    "PciHost",
    "Range",
    "RangeKind",
    "ResetControl",
    "Serial16550",
]
