"""The PCI root: configuration mechanism 1, ECAM, and the host bridge at 00:00.0.

Source: PCI Local Bus Specification 3.0, 3.2.2.3.2 (mechanism 1, ports 0xCF8 and 0xCFC); PCI
Express Base 4.0, 7.2.2 (ECAM). There is one bus, number 0.
"""

from __future__ import annotations

from wardian.base.errors import BugError
from wardian.base.registers import Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.pci_function import PciFunction, PciIdentity
from wardian.devices.register_device import RegisterDevice
from wardian.devices.reset_control import ResetControl

CONFIG_PORT = 0xCF8
ECAM_BUS_BYTES = 1 << 20
_ADDRESS_ENABLE = 1 << 31
_SLOTS, _FUNCTIONS = 32, 8

_DATA_OFFSET = 4
PORTS = RegisterMap(
    8,
    [
        # Only a 32-bit access reaches CONFIG_ADDRESS; others are plain I/O (3.2.2.3.2), and one of
        # those ports is the chipset's reset control.
        Register("CONFIG_ADDRESS", 0, 4, writable=0x80FF_FFFC, whole=True),
        Register("RST_CNT", 1, 1, writable=0, whole=True),
    ],
)

# Red Hat's identity for a generic PCI Express host bridge: no driver has quirks for it.
HOST_BRIDGE = PciIdentity(vendor=0x1B36, device=0x0008, class_code=0x060000)


class PciHost(RegisterDevice):
    """The root of the PCI tree: finds the function that a configuration access names.

    Range 0 is the eight ports from 0xCF8, range 1 is `ecam_length` bytes of ECAM at `ecam_base`,
    1 MiB for each bus. Accesses to functions that are not there read all ones (PCI 3.0, 6.1).
    """

    def __init__(self, ecam_base: int, ecam_length: int, reset_control: ResetControl) -> None:
        if ecam_length < ECAM_BUS_BYTES or ecam_length % ECAM_BUS_BYTES:
            raise BugError("PCI_ECAM", f"An ECAM window cannot have {ecam_length} bytes.")
        self._ports = RegisterBank(
            PORTS,
            on_read={"RST_CNT": lambda: reset_control.read(0, 0, 1)},
            on_write={"RST_CNT": lambda value: reset_control.write(0, 0, 1, value)},
        )
        ranges = [
            Range(RangeKind.PIO, CONFIG_PORT, 8, "pci config"),
            Range(RangeKind.MMIO, ecam_base, ecam_length, "pci ecam"),
        ]
        super().__init__("pci", ranges, [self._ports])
        self._reset_control = reset_control
        self._functions: dict[int, PciFunction] = {}
        self.attach(PciFunction(HOST_BRIDGE), slot=0)

    def attach(self, function: PciFunction, slot: int, number: int = 0) -> None:
        """Put `function` at device `slot` (0-31), function `number` (0-7) of bus 0.

        Raises `BugError` when that place is taken or does not exist.
        """
        place = slot << 3 | number
        if not 0 <= slot < _SLOTS or not 0 <= number < _FUNCTIONS or place in self._functions:
            raise BugError("PCI_SLOT", f"PCI device 00:{slot:02x}.{number} cannot be placed.")
        self._functions[place] = function

    def reset(self) -> None:
        """Reset the root, the reset control in its ports, and every function below it."""
        super().reset()
        self._reset_control.reset()
        for function in self._functions.values():
            function.reset()

    def read(self, range_index: int, offset: int, size: int) -> int:
        """Answer a configuration read, through either window."""
        if range_index == 0 and offset < _DATA_OFFSET:
            return self._ports.read(offset, size)
        function, register = self._find(range_index, offset)
        if function is None:
            return (1 << 8 * size) - 1
        return function.config_read(register, size)

    def write(self, range_index: int, offset: int, size: int, value: int) -> None:
        """Take a configuration write, through either window."""
        if range_index == 0 and offset < _DATA_OFFSET:
            self._ports.write(offset, size, value)
            return
        function, register = self._find(range_index, offset)
        if function is not None:
            function.config_write(register, size, value)

    def _find(self, range_index: int, offset: int) -> tuple[PciFunction | None, int]:
        """Return the function that an access names, and the offset in its configuration space."""
        if range_index == 1:
            # ECAM (7.2.2): bus in bits 27:20, device 19:15, function 14:12, register 11:0. The bus
            # bits stay in the key, where any bus but 0 finds nothing.
            return self._functions.get(offset >> 12), offset & 0xFFF
        address = self._ports["CONFIG_ADDRESS"]
        if not address & _ADDRESS_ENABLE:
            return None, 0
        # Mechanism 1: bus in bits 23:16, device 15:11, function 10:8, register 7:2.
        place = (address & 0xFF_FFFF) >> 8
        return self._functions.get(place), (address & 0xFC) + offset - _DATA_OFFSET
