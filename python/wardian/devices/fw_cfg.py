"""The firmware configuration port, 0x510: where test kernels ask for CPU count and memory size.

Source: QEMU, docs/specs/fw_cfg; the traditional interface only, without DMA and without files.
"""

from __future__ import annotations

from wardian.base.registers import Access, Register, RegisterBank, RegisterMap
from wardian.devices.device import Range, RangeKind
from wardian.devices.register_device import RegisterDevice

FW_CFG_PORT = 0x510

SIGNATURE, ID, UUID, RAM_SIZE, NO_GRAPHICS, CPUS = 0x00, 0x01, 0x02, 0x03, 0x04, 0x05
MAX_CPUS, FILE_DIRECTORY = 0x0F, 0x19

REGISTERS = RegisterMap(
    2,
    [
        # The selector is 16 bits wide and written as one; the data port lies inside it.
        Register("SELECTOR", 0, 2, Access.WRITE_ONLY, whole=True),
        Register("DATA", 1, 1, writable=0),
    ],
)


class FwCfg(RegisterDevice):
    """Configuration items as byte streams; an unknown item and the end of one read as zeros."""

    def __init__(self, cpus: int, memory_bytes: int) -> None:
        self._items = {
            SIGNATURE: b"QEMU",
            # Bit 0: the traditional interface. Bit 1 would be DMA.
            ID: (1).to_bytes(4, "little"),
            UUID: bytes(16),
            RAM_SIZE: memory_bytes.to_bytes(8, "little"),
            NO_GRAPHICS: (1).to_bytes(2, "little"),
            CPUS: cpus.to_bytes(2, "little"),
            MAX_CPUS: cpus.to_bytes(2, "little"),
            FILE_DIRECTORY: (0).to_bytes(4, "big"),
        }
        self._bank = RegisterBank(
            REGISTERS, on_read={"DATA": self._next_byte}, on_write={"SELECTOR": self._select}
        )
        ranges = [Range(RangeKind.PIO, FW_CFG_PORT, 2, "fw_cfg")]
        super().__init__("fw_cfg", ranges, [self._bank])
        self._select(SIGNATURE)

    def reset(self) -> None:
        """Select the first item, from its start."""
        super().reset()
        self._select(SIGNATURE)

    def _select(self, key: int) -> None:
        self._rest = self._items.get(key, b"")

    def _next_byte(self) -> int:
        if not self._rest:
            return 0
        value, self._rest = self._rest[0], self._rest[1:]
        return value
