//! Model-specific registers (Intel SDM vol. 4, table 2-2).
//!
//! [`Msrs`] holds those that are plain storage with rules about their values; `access` adds those that
//! do something, and RDMSR and WRMSR over all of them. A register that is not here is #GP(0): Linux probes whatever CPUID does not
//! promise in a way that survives that.

mod access;
mod mtrr;
mod pvclock;

use super::features::Features;
use crate::mmu::canonical;
use mtrr::Mtrrs;

const P5_MC_ADDR: u32 = 0x0;
const P5_MC_TYPE: u32 = 0x1;
const PLATFORM_ID: u32 = 0x17;
const TSC_ADJUST: u32 = 0x3B;
const SPEC_CTRL: u32 = 0x48;
const BIOS_SIGN_ID: u32 = 0x8B;
const ARCH_CAPABILITIES: u32 = 0x10A;
const SYSENTER_CS: u32 = 0x174;
const SYSENTER_ESP: u32 = 0x175;
const SYSENTER_EIP: u32 = 0x176;
const MCG_CAP: u32 = 0x179;
const MCG_STATUS: u32 = 0x17A;
const MISC_ENABLE: u32 = 0x1A0;
const DEBUGCTL: u32 = 0x1D9;
const PAT: u32 = 0x277;
const STAR: u32 = 0xC000_0081;
const LSTAR: u32 = 0xC000_0082;
const CSTAR: u32 = 0xC000_0083;
const FMASK: u32 = 0xC000_0084;
const KERNEL_GS_BASE: u32 = 0xC000_0102;
const TSC_AUX: u32 = 0xC000_0103;

/// Fast strings; branch trace storage and precise events are unavailable.
const MISC_ENABLE_RESET: u64 = 1 | MISC_ENABLE_READ_ONLY;
const MISC_ENABLE_READ_ONLY: u64 = 1 << 11 | 1 << 12;
/// Write-back, write-through, uncached minus and uncached, twice (SDM vol. 3, table 12-12).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// IBRS, STIBP, SSBD.
const SPEC_CTRL_BITS: u64 = 7;
/// BHI_DIS_S.
const SPEC_CTRL_BHI: u64 = 1 << 10;
/// A machine check is in progress, and two more facts about it.
const MCG_STATUS_BITS: u64 = 7;

/// Registers that are storage. The time-stamp counter's is what WRMSR added to it.
#[derive(Clone, Debug)]
pub struct Msrs {
    /// Guest TSC minus the clock's, modulo 2^64; IA32_TSC_ADJUST.
    pub tsc_adjust: u64,
    /// Code segment of SYSENTER and SYSEXIT.
    pub sysenter_cs: u64,
    /// Stack pointer of SYSENTER.
    pub sysenter_esp: u64,
    /// Entry point of SYSENTER.
    pub sysenter_eip: u64,
    /// Segments of SYSCALL and SYSRET, and the 32-bit entry point.
    pub star: u64,
    /// Entry point of SYSCALL from 64-bit mode.
    pub lstar: u64,
    /// Entry point of SYSCALL from compatibility mode (AMD's; Intel's processors only store it).
    pub cstar: u64,
    /// RFLAGS bits that SYSCALL clears.
    pub fmask: u64,
    /// What SWAPGS exchanges with the base of GS.
    pub kernel_gs_base: u64,
    /// What RDTSCP and RDPID give.
    pub tsc_aux: u64,
    pat: u64,
    misc_enable: u64,
    spec_ctrl: u64,
    arch_capabilities: u64,
    bios_sign_id: u64,
    mcg_status: u64,
    mtrr: Mtrrs,
    /// Guest-physical address of this vCPU's clock page, and whether it is on.
    system_time: u64,
    wall_clock: u64,
}

impl Default for Msrs {
    /// As after power-on.
    fn default() -> Self {
        Self {
            tsc_adjust: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            fmask: 0,
            kernel_gs_base: 0,
            tsc_aux: 0,
            pat: PAT_RESET,
            misc_enable: MISC_ENABLE_RESET,
            spec_ctrl: 0,
            arch_capabilities: 0,
            bios_sign_id: 0,
            mcg_status: 0,
            mtrr: Mtrrs::default(),
            system_time: 0,
            wall_clock: 0,
        }
    }
}

impl Msrs {
    /// The registers that make up a saved state, IA32_APIC_BASE besides.
    pub(super) fn saved(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let plain = [
            TSC_ADJUST,
            SPEC_CTRL,
            BIOS_SIGN_ID,
            ARCH_CAPABILITIES,
            SYSENTER_CS,
            SYSENTER_ESP,
            SYSENTER_EIP,
            MCG_STATUS,
            MISC_ENABLE,
            PAT,
            STAR,
            LSTAR,
            CSTAR,
            FMASK,
            KERNEL_GS_BASE,
            TSC_AUX,
            pvclock::WALL_CLOCK,
            pvclock::SYSTEM_TIME,
        ];
        let all = plain.into_iter().chain(Mtrrs::indexes());
        all.filter_map(|index| self.read(index).map(|value| (index, value)))
    }

    fn read(&self, index: u32) -> Option<u64> {
        Some(match index {
            // One register bank of the Pentium that everything since reads as nothing.
            P5_MC_ADDR | P5_MC_TYPE => 0,
            PLATFORM_ID | MCG_CAP | DEBUGCTL => 0,
            TSC_ADJUST => self.tsc_adjust,
            SPEC_CTRL => self.spec_ctrl,
            BIOS_SIGN_ID => self.bios_sign_id,
            ARCH_CAPABILITIES => self.arch_capabilities,
            SYSENTER_CS => self.sysenter_cs,
            SYSENTER_ESP => self.sysenter_esp,
            SYSENTER_EIP => self.sysenter_eip,
            MCG_STATUS => self.mcg_status,
            MISC_ENABLE => self.misc_enable,
            PAT => self.pat,
            STAR => self.star,
            LSTAR => self.lstar,
            CSTAR => self.cstar,
            FMASK => self.fmask,
            KERNEL_GS_BASE => self.kernel_gs_base,
            TSC_AUX => self.tsc_aux,
            pvclock::WALL_CLOCK | pvclock::WALL_CLOCK_OLD => self.wall_clock,
            pvclock::SYSTEM_TIME | pvclock::SYSTEM_TIME_OLD => self.system_time,
            _ => return self.mtrr.read(index),
        })
    }

    /// Stores `value` if the register may hold it. Nothing else happens.
    fn write(&mut self, index: u32, value: u64, features: &Features) -> Option<()> {
        let when = |allowed: bool| allowed.then_some(value);
        let register = match index {
            TSC_ADJUST => &mut self.tsc_adjust,
            SPEC_CTRL => &mut self.spec_ctrl,
            BIOS_SIGN_ID => &mut self.bios_sign_id,
            SYSENTER_CS => &mut self.sysenter_cs,
            SYSENTER_ESP => &mut self.sysenter_esp,
            SYSENTER_EIP => &mut self.sysenter_eip,
            MCG_STATUS => &mut self.mcg_status,
            MISC_ENABLE => &mut self.misc_enable,
            PAT => &mut self.pat,
            STAR => &mut self.star,
            LSTAR => &mut self.lstar,
            CSTAR => &mut self.cstar,
            FMASK => &mut self.fmask,
            KERNEL_GS_BASE => &mut self.kernel_gs_base,
            TSC_AUX => &mut self.tsc_aux,
            pvclock::WALL_CLOCK | pvclock::WALL_CLOCK_OLD => &mut self.wall_clock,
            pvclock::SYSTEM_TIME | pvclock::SYSTEM_TIME_OLD => &mut self.system_time,
            _ => return self.mtrr.write(index, value, features.physical_mask()),
        };
        *register = match index {
            SPEC_CTRL => {
                let bhi = if features.bhi_ctrl { SPEC_CTRL_BHI } else { 0 };
                when(features.spec_ctrl && value & !(SPEC_CTRL_BITS | bhi) == 0)?
            }
            // The selector: its upper half is not implemented by any processor.
            SYSENTER_CS => value & 0xffff_ffff,
            LSTAR | CSTAR | KERNEL_GS_BASE | SYSENTER_ESP | SYSENTER_EIP => when(canonical(value))?,
            FMASK | TSC_AUX => when(value >> 32 == 0)?,
            PAT => when(
                value
                    .to_le_bytes()
                    .iter()
                    .all(|&kind| kind < 8 && kind != 2 && kind != 3),
            )?,
            MISC_ENABLE => value | MISC_ENABLE_READ_ONLY,
            MCG_STATUS => when(value & !MCG_STATUS_BITS == 0)?,
            _ => value,
        };
        Some(())
    }

    /// Stores a saved value, also in a register that the guest cannot write. `None` if this engine
    /// does not have the register, or not with this value.
    pub(super) fn load(&mut self, index: u32, value: u64, features: &Features) -> Option<()> {
        match index {
            ARCH_CAPABILITIES => self.arch_capabilities = value,
            // What a model without the feature saves.
            SPEC_CTRL if value == 0 => self.spec_ctrl = 0,
            PLATFORM_ID | MCG_CAP | DEBUGCTL => return (value == 0).then_some(()),
            mtrr::CAPABILITIES => return (self.mtrr.read(index) == Some(value)).then_some(()),
            _ => return self.write(index, value, features),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_a_register_cannot_hold_are_refused_and_change_nothing() {
        let features = Features::default();
        let mut msrs = Msrs::default();
        let refused = [
            (LSTAR, 1 << 47),
            (KERNEL_GS_BASE, 1 << 63),
            (SYSENTER_EIP, 0x8000_0000_0000),
            (FMASK, 1 << 32),
            (TSC_AUX, 1 << 32),
            (PAT, 2),
            (PAT, 8 << 56),
            (SPEC_CTRL, 8),
            (MCG_CAP, 0),
            (0xC001_0015, 0),
        ];
        for (index, value) in refused {
            let before = msrs.read(index);
            assert!(msrs.write(index, value, &features).is_none(), "{index:#x}");
            assert_eq!(msrs.read(index), before, "{index:#x}");
        }
    }

    #[test]
    fn a_saved_set_loads_into_another_vcpu() {
        let features = Features::default();
        let mut msrs = Msrs::default();
        msrs.write(LSTAR, 0xffff_ffff_8100_0000, &features).unwrap();
        msrs.write(TSC_AUX, 7, &features).unwrap();
        msrs.load(ARCH_CAPABILITIES, 0x2b, &features).unwrap();
        let mut other = Msrs::default();
        for (index, value) in msrs.saved() {
            assert!(other.load(index, value, &features).is_some(), "{index:#x}");
        }
        assert!(other.saved().eq(msrs.saved()));
    }

    #[test]
    fn a_model_without_a_register_still_loads_its_own_state() {
        let features = Features::from_cpuid(&[]);
        let msrs = Msrs::default();
        let mut other = Msrs::default();
        for (index, value) in msrs.saved() {
            assert!(other.load(index, value, &features).is_some(), "{index:#x}");
        }
    }

    #[test]
    fn read_only_bits_stay_set() {
        let mut msrs = Msrs::default();
        msrs.write(MISC_ENABLE, 0, &Features::default()).unwrap();
        assert_eq!(msrs.read(MISC_ENABLE), Some(MISC_ENABLE_READ_ONLY));
    }
}
