"""Getting a kernel to its first instruction: boot protocols, memory map, ACPI tables.

`plan_boot` finds the protocol a kernel file is made for and says what goes into RAM and into
vCPU 0; `acpi_tables` says what else goes into RAM; `memory_map` says where all of it is.
"""

from __future__ import annotations

from wardian.boot.acpi import acpi_tables
from wardian.boot.memory_map import RSDP, RamLayout
from wardian.boot.plan import BootPlan, plan_boot

__all__ = ["RSDP", "BootPlan", "RamLayout", "acpi_tables", "plan_boot"]
