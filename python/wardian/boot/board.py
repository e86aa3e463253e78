"""The ports and interrupt lines that the ACPI tables announce and the builder wires up."""

from __future__ import annotations

from typing import Final

#: PM1a event block: status and enable, two bytes each (ACPI 6.5, 4.8.3.1).
PM1_EVENT: Final = 0x600
PM1_CONTROL: Final = 0x604
PM_TIMER: Final = 0x608
#: The system control interrupt: level-triggered, active high, as on PC chipsets.
SCI_GSI: Final = 9
#: What the guest writes to SLP_TYP of PM1_CONTROL for S5, soft off (the \\_S5 object).
SLP_TYP_S5: Final = 5

RESET_PORT: Final = 0xCF9
#: Full reset of the CPU: RST_CPU and SYS_RST (Intel PCH datasheets, register RST_CNT).
RESET_VALUE: Final = 6

COM1_PORT: Final = 0x3F8
COM1_GSI: Final = 4
RTC_PORT: Final = 0x70
#: The byte of CMOS RAM with the century.
RTC_CENTURY: Final = 0x32
#: The 8254's interrupt is ISA IRQ 0 but arrives at I/O APIC input 2, as on every PC.
TIMER_GSI: Final = 2

PCI_CONFIG_PORT: Final = 0xCF8
PCI_GSI_BASE: Final = 16
PCI_GSI_COUNT: Final = 8


def pci_intx_gsi(device: int, pin: int) -> int:
    """The global system interrupt (16 to 23) of a PCI pin on bus 0.

    `device` is 0 to 31, `pin` 0 (INTA#) to 3 (INTD#). Neighbouring devices get different lines,
    as PCI bridges do it (PCI-to-PCI Bridge 1.2, 9.1), here over eight lines instead of four.
    """
    return PCI_GSI_BASE + (device + pin) % PCI_GSI_COUNT
