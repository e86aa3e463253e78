"""Model-specific registers whose power-on values are part of a CPU model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wardian.cpu.features import Feature

MISC_ENABLE: Final = 0x1A0
ARCH_CAPABILITIES: Final = 0x10A
MTRR_DEF_TYPE: Final = 0x2FF

#: Fast strings; branch trace storage and precise events are unavailable (Intel SDM vol. 4, 2.1).
_MISC_ENABLE: Final = 1 << 0 | 1 << 11 | 1 << 12

#: MTRRs on, everything write-back, as firmware leaves them for RAM. Linux does not use the PAT
#: while MTRRs are off (SDM vol. 3A, 12.11.2.1).
_MTRR_DEF_TYPE: Final = 1 << 11 | 6

#: IA32_ARCH_CAPABILITIES (SDM vol. 4, 2.1): bit numbers by name.
#:
#: Guest code runs as instructions of our engine, between which the host's speculation does not
#: cross from the guest's user mode to its kernel in the ways these bits are about; an engine that
#: runs guest code directly has to look at this list again. The gain: Linux then needs neither
#: page-table isolation nor retpolines nor buffer clearing.
ARCH_CAPABILITY_BITS: Final = {
    "RDCL_NO": 0,
    "IBRS_ALL": 1,
    "SKIP_L1DFL_VMENTRY": 3,
    "SSB_NO": 4,
    "MDS_NO": 5,
    "IF_PSCHANGE_MC_NO": 6,
    "TAA_NO": 8,
    "SBDR_SSDP_NO": 13,
    "FBSDP_NO": 14,
    "PSDP_NO": 15,
    "BHI_NO": 20,
    "PBRSB_NO": 24,
    "GDS_NO": 26,
    "RFDS_NO": 27,
    "ITS_NO": 62,
}


def power_on_msrs(features: Sequence[Feature]) -> dict[int, int]:
    """Values by MSR index for a CPU with `features`."""
    names = {feature.name for feature in features}
    msrs = {MISC_ENABLE: _MISC_ENABLE}
    if "mtrr" in names:
        msrs[MTRR_DEF_TYPE] = _MTRR_DEF_TYPE
    if "arch_capabilities" in names:
        msrs[ARCH_CAPABILITIES] = sum(1 << bit for bit in ARCH_CAPABILITY_BITS.values())
    return msrs
