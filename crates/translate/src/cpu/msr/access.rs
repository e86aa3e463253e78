//! RDMSR and WRMSR.

use super::{ARCH_CAPABILITIES, DEBUGCTL, Msrs, SPEC_CTRL, TSC_ADJUST, pvclock};
use crate::cpu::exception::Exec;
use crate::cpu::segment::index;
use crate::cpu::{Cpu, cr, event};
use crate::mmu::{Invalidate, canonical};

const TSC: u32 = 0x10;
const APIC_BASE: u32 = 0x1B;
const PRED_CMD: u32 = 0x49;
const BIOS_UPDT_TRIG: u32 = 0x79;
const TSC_DEADLINE: u32 = 0x6E0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8FF;
const EFER: u32 = 0xC000_0080;
const FS_BASE: u32 = 0xC000_0100;
const GS_BASE: u32 = 0xC000_0101;

/// APIC_BASE: x2APIC mode.
const APIC_BASE_X2: u64 = 1 << 10;
/// IBPB.
const PRED_CMD_BITS: u64 = 1;
/// Last-branch records and branch steps, neither of which there is: the bits stay clear.
const DEBUGCTL_IGNORED: u64 = 3;

/// Whether the local APIC has the register.
fn belongs_to_apic(index: u32) -> bool {
    matches!(index, APIC_BASE | TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST)
}

impl Cpu {
    /// The guest's time-stamp counter.
    #[must_use]
    pub fn tsc(&self) -> u64 {
        self.board.clock.tsc().wrapping_add(self.msrs.tsc_adjust)
    }

    /// RDMSR.
    ///
    /// # Errors
    /// #GP(0).
    pub fn read_msr(&mut self, index: u32) -> Exec<u64> {
        let value = match index {
            TSC => Some(self.tsc()),
            EFER => Some(self.efer),
            FS_BASE => Some(self.seg_base[index::FS]),
            GS_BASE => Some(self.seg_base[index::GS]),
            ARCH_CAPABILITIES if !self.features.arch_capabilities => None,
            SPEC_CTRL if !self.features.spec_ctrl => None,
            TSC_DEADLINE if !self.features.tsc_deadline => None,
            _ if belongs_to_apic(index) => {
                self.board.irqchip.lapic_msr_read(self.index, index).ok()
            }
            _ => self.msrs.read(index),
        };
        value.map_or_else(|| self.gp(0), Ok)
    }

    /// WRMSR. The instruction must end its block.
    ///
    /// # Errors
    /// #GP(0).
    pub fn write_msr(&mut self, index: u32, value: u64) -> Exec {
        match index {
            TSC => {
                self.set_tsc_adjust(value.wrapping_sub(self.board.clock.tsc()));
                Ok(())
            }
            EFER => self.write_efer(value),
            FS_BASE => self.write_base(index::FS, value),
            GS_BASE => self.write_base(index::GS, value),
            PRED_CMD if self.features.spec_ctrl && value & !PRED_CMD_BITS == 0 => Ok(()),
            DEBUGCTL if value & !DEBUGCTL_IGNORED == 0 => Ok(()),
            // A microcode update that changes nothing.
            BIOS_UPDT_TRIG => Ok(()),
            _ if belongs_to_apic(index) => self.write_apic_msr(index, value),
            _ => {
                if self.msrs.write(index, value, &self.features).is_none() {
                    return self.gp(0);
                }
                self.msr_stored(index);
                Ok(())
            }
        }
    }

    fn write_apic_msr(&mut self, index: u32, value: u64) -> Exec {
        let features = &self.features;
        let offered = match index {
            APIC_BASE => {
                let x2apic = value & APIC_BASE_X2 != 0;
                value & !features.physical_mask() == 0 && (features.x2apic || !x2apic)
            }
            TSC_DEADLINE => features.tsc_deadline,
            _ => true,
        };
        // The task priority may have fallen.
        self.events |= event::CHECK_INTERRUPTS;
        let irqchip = &self.board.irqchip;
        if !offered || irqchip.lapic_msr_write(self.index, index, value).is_err() {
            return self.gp(0);
        }
        Ok(())
    }

    /// What follows from a stored value.
    fn msr_stored(&mut self, index: u32) {
        match index {
            TSC_ADJUST => self.set_tsc_adjust(self.msrs.tsc_adjust),
            pvclock::WALL_CLOCK | pvclock::WALL_CLOCK_OLD => self.publish_wall_clock(),
            pvclock::SYSTEM_TIME | pvclock::SYSTEM_TIME_OLD => self.publish_system_time(),
            _ => {}
        }
    }

    /// Takes over registers that were loaded from a saved state: all that follows from them is
    /// brought up to date.
    pub(in crate::cpu) fn load_msrs(&mut self, msrs: Msrs) {
        let clocks = (self.msrs.system_time, self.msrs.wall_clock);
        self.msrs = msrs;
        self.set_tsc_adjust(self.msrs.tsc_adjust);
        if self.msrs.wall_clock != clocks.1 {
            self.publish_wall_clock();
        }
    }

    fn set_tsc_adjust(&mut self, adjust: u64) {
        self.msrs.tsc_adjust = adjust;
        self.board.irqchip.set_tsc_offset(self.index, adjust);
        // A TSC deadline moves with it, perhaps to before now.
        self.budget = -1;
        self.publish_system_time();
    }

    fn write_base(&mut self, which: usize, base: u64) -> Exec {
        if !canonical(base) {
            return self.gp(0);
        }
        self.set_segment_base(which, base);
        Ok(())
    }

    /// IA32_EFER: LMA follows from LME and paging, LME cannot change while paging is on (Intel SDM
    /// vol. 3, 4.1.2).
    fn write_efer(&mut self, value: u64) -> Exec {
        let changed = self.efer ^ value;
        let paging = self.cr0 & cr::CR0_PG != 0;
        if value & !self.features.efer_allowed() != 0 || paging && changed & cr::EFER_LME != 0 {
            return self.gp(0);
        }
        self.efer = value & !cr::EFER_LMA | self.efer & cr::EFER_LMA;
        if changed & cr::EFER_NXE != 0 {
            self.invalidate(Invalidate::All);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::features::Features;

    #[test]
    fn efer_keeps_lma_and_cannot_change_lme_under_paging() {
        let mut cpu = Cpu::for_test();
        cpu.write_msr(EFER, cr::EFER_LME | cr::EFER_LMA | cr::EFER_NXE)
            .unwrap();
        assert_eq!(cpu.efer, cr::EFER_LME | cr::EFER_NXE);
        assert!(cpu.write_msr(EFER, 1 << 1).is_err());
        cpu.cr0 |= cr::CR0_PG;
        assert!(cpu.write_msr(EFER, 0).is_err());
        cpu.write_msr(EFER, cr::EFER_LME | cr::EFER_SCE).unwrap();
        assert_eq!(cpu.efer, cr::EFER_LME | cr::EFER_SCE);
    }

    #[test]
    fn the_time_stamp_counter_and_its_adjustment_move_together() {
        let mut cpu = Cpu::for_test();
        cpu.board.clock.advance_ns(1000);
        cpu.write_msr(TSC, 5000).unwrap();
        assert_eq!(cpu.read_msr(TSC_ADJUST).unwrap(), 4000);
        cpu.write_msr(TSC_ADJUST, 1).unwrap();
        cpu.board.clock.advance_ns(10);
        assert_eq!(cpu.read_msr(TSC).unwrap(), 1011);
    }

    #[test]
    fn registers_of_features_that_a_model_lacks_do_not_exist() {
        let mut cpu = Cpu::for_test();
        let all = [SPEC_CTRL, ARCH_CAPABILITIES, TSC_DEADLINE];
        for index in all {
            assert!(cpu.read_msr(index).is_ok(), "{index:#x}");
        }
        cpu.features = Features::from_cpuid(&[]);
        for index in all {
            assert!(cpu.read_msr(index).is_err(), "{index:#x}");
        }
        assert!(cpu.write_msr(PRED_CMD, 1).is_err());
        let base = cpu.read_msr(APIC_BASE).unwrap();
        assert!(cpu.write_msr(APIC_BASE, base | APIC_BASE_X2).is_err());
        cpu.write_msr(APIC_BASE, base).unwrap();
    }

    #[test]
    fn bases_are_canonical() {
        let mut cpu = Cpu::for_test();
        cpu.write_msr(FS_BASE, 0x7fff_ffff_f000).unwrap();
        assert_eq!(cpu.seg_base[index::FS], 0x7fff_ffff_f000);
        assert!(cpu.write_msr(GS_BASE, 1 << 47).is_err());
        assert!(cpu.read_msr(0xC001_0010).is_err());
    }
}
