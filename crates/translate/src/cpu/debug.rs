//! Debug registers and breakpoints (Intel SDM vol. 3, 18.2).

use super::exception::{Exception, Exec, Stop, StopReason, vector};
use super::{Cpu, cr, event, flags};
use crate::mmu::Table;

/// DR7: any MOV to or from a debug register is #DB.
pub const DR7_GD: u64 = 1 << 13;
/// DR6: the trap came from EFLAGS.TF.
pub const DR6_SINGLE_STEP: u64 = 1 << 14;
/// DR6 after reset; its bits that are always one.
pub const DR6_RESET: u64 = 0xffff_0ff0;
/// DR7 after reset; its bit that is always one.
pub const DR7_RESET: u64 = 1 << 10;

/// DR6: a debug register was about to be accessed under DR7.GD.
const DR6_BD: u64 = 1 << 13;
/// Bits of DR6 that software can set: B0 to B3, BD, BS, BT.
const DR6_WRITABLE: u64 = 0xe00f;
/// Bits of DR7 that software can set: enables, GD, and type and length of each breakpoint.
const DR7_WRITABLE: u64 = 0xffff_23ff;

/// Breakpoint types in DR7.
const EXECUTE: u64 = 0;
const WRITE: u64 = 1;
const PORT: u64 = 2;
const READ_OR_WRITE: u64 = 3;

/// DR6 as software sees it after writing `value`.
pub(super) fn dr6_value(value: u64) -> u64 {
    value & DR6_WRITABLE | DR6_RESET
}

/// DR7 as software sees it after writing `value`.
pub(super) fn dr7_value(value: u64) -> u64 {
    value & DR7_WRITABLE | DR7_RESET
}

/// One of the four breakpoints, as DR7 describes it.
struct Breakpoint {
    kind: u64,
    first: u64,
    length: u64,
}

impl Breakpoint {
    /// Whether an access of `size` bytes at `at` touches it.
    fn touches(&self, at: u64, size: u64) -> bool {
        // Distances, because ranges may wrap around the address space.
        at.wrapping_sub(self.first) < self.length || self.first.wrapping_sub(at) < size
    }
}

impl Cpu {
    /// Breakpoint `n`, if it is enabled.
    fn breakpoint(&self, n: usize) -> Option<Breakpoint> {
        if self.dr7 >> (2 * n) & 3 == 0 {
            return None;
        }
        let control = self.dr7 >> (16 + 4 * n);
        // Two is eight bytes: the encoding came last.
        let length = [1, 2, 8, 4][(control >> 2 & 3) as usize];
        Some(Breakpoint {
            kind: control & 3,
            // Low bits of the address do not count (18.2.5).
            first: self.dr[n] & !(length - 1),
            length,
        })
    }

    /// DR6 bits of the enabled breakpoints that `hit` picks.
    fn matching(&self, hit: impl Fn(&Breakpoint) -> bool) -> u64 {
        (0..4)
            .filter(|&n| self.breakpoint(n).is_some_and(|b| hit(&b)))
            .fold(0, |bits, n| bits | 1 << n)
    }

    /// Whether data accesses have to be watched.
    #[must_use]
    pub fn data_breakpoints_armed(&self) -> bool {
        // Nearly always nothing is enabled at all.
        self.dr7 & 0xff != 0 && self.matching(|b| matches!(b.kind, WRITE | READ_OR_WRITE)) != 0
    }

    /// To be called for each access of the program while data breakpoints are armed: a hit becomes a
    /// trap after the instruction. Other tables' accesses are the processor's own.
    pub(crate) fn note_data_access(&mut self, table: Table, gva: u64, size: u64, write: bool) {
        if table == Table::Slow && self.dr7 & 0xff != 0 {
            let hits = self.matching(|b| {
                (b.kind == READ_OR_WRITE || b.kind == WRITE && write) && b.touches(gva, size)
            });
            self.breakpoints_hit(hits);
        }
    }

    /// To be called for each port access.
    pub fn io_breakpoint(&mut self, port: u16, size: u64) {
        if self.cr4 & cr::CR4_DE != 0 && self.dr7 & 0xff != 0 {
            let hits = self.matching(|b| b.kind == PORT && b.touches(u64::from(port), size));
            self.breakpoints_hit(hits);
        }
    }

    fn breakpoints_hit(&mut self, hits: u64) {
        if hits != 0 {
            self.pending_dr6 |= hits;
            self.events |= event::DEBUG_TRAP;
            self.end_block();
        }
    }

    /// The DR6 bits of the instruction breakpoints at a linear address, if there are any.
    #[must_use]
    pub fn code_breakpoint(&self, gva: u64) -> Option<u64> {
        let hits = self.matching(|b| b.kind == EXECUTE && b.length == 1 && b.first == gva);
        (hits != 0).then_some(hits)
    }

    /// Alignment of the program's data accesses is checked (Intel SDM vol. 3, 6.15, #AC).
    #[must_use]
    pub fn alignment_checked(&self) -> bool {
        self.cpl == 3 && self.system_flags & flags::AC != 0 && self.cr0 & cr::CR0_AM != 0
    }

    /// To be called after DR7 changed.
    pub(super) fn breakpoints_changed(&mut self) {
        if self.matching(|b| b.kind == EXECUTE) != 0 {
            self.events |= event::CODE_BREAKPOINTS;
        } else {
            self.events &= !event::CODE_BREAKPOINTS;
        }
        self.select_tlb();
    }

    /// MOV from a debug register. The caller has checked the privilege level.
    ///
    /// # Errors
    /// #UD, #DB.
    pub fn read_dr(&mut self, n: usize) -> Exec<u64> {
        self.check_dr(n)?;
        Ok(match n {
            0..=3 => self.dr[n],
            4 | 6 => self.dr6,
            _ => self.dr7,
        })
    }

    /// MOV to a debug register. The caller has checked the privilege level and ends the block.
    ///
    /// # Errors
    /// #UD, #DB, #GP.
    pub fn write_dr(&mut self, n: usize, value: u64) -> Exec {
        self.check_dr(n)?;
        if n > 3 && value >> 32 != 0 {
            return self.gp(0);
        }
        match n {
            0..=3 => self.dr[n] = value,
            4 | 6 => self.dr6 = dr6_value(value),
            _ => {
                self.dr7 = dr7_value(value);
                self.breakpoints_changed();
            }
        }
        Ok(())
    }

    fn check_dr(&mut self, n: usize) -> Exec {
        let alias = matches!(n, 4 | 5);
        if n > 7 || alias && self.cr4 & cr::CR4_DE != 0 {
            return self.undefined();
        }
        if self.dr7 & DR7_GD != 0 {
            self.stop = StopReason::Exception(Exception {
                vector: vector::DB,
                error: None,
                address: 0,
                dr6: DR6_BD,
            });
            return Err(Stop);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakpoint_is_touched_by_any_byte_in_common() {
        let four = Breakpoint {
            kind: WRITE,
            first: 0x1000,
            length: 4,
        };
        for (at, size, hit) in [
            (0x1000, 1, true),
            (0x1003, 8, true),
            (0xffd, 4, true),
            (0xffc, 4, false),
            (0x1004, 4, false),
            (0xff0, 32, true),
        ] {
            assert_eq!(four.touches(at, size), hit, "{at:#x}+{size}");
        }
        let last = Breakpoint {
            kind: WRITE,
            first: u64::MAX - 7,
            length: 8,
        };
        assert!(last.touches(u64::MAX, 1));
        assert!(!last.touches(0, 8));
    }

    #[test]
    fn fixed_bits_are_fixed() {
        assert_eq!(
            (dr6_value(0), dr6_value(0xffff_ffff)),
            (0xffff_0ff0, 0xffff_efff)
        );
        assert_eq!((dr7_value(0), dr7_value(0xffff_ffff)), (0x400, 0xffff_27ff));
    }

    #[test]
    fn armed_data_breakpoints_see_the_programs_accesses() {
        let mut cpu = Cpu::for_test();
        cpu.write_dr(0, 0x1000).unwrap();
        cpu.write_dr(1, 0x2000).unwrap();
        assert_eq!(cpu.tlb.table, Table::KernelToUser);
        // Breakpoint 0: writes of 4 bytes; 1: reads and writes of 1 byte.
        cpu.write_dr(7, 1 | 1 << 2 | (0b1101 << 16) | (0b0011 << 20))
            .unwrap();
        assert!(cpu.data_breakpoints_armed());
        assert_eq!(cpu.tlb.table, Table::Slow);
        cpu.read::<u32>(0x1000).unwrap();
        cpu.system_write(0x1000, 0u8).unwrap();
        assert_eq!(cpu.pending_dr6, 0);
        cpu.write(0x1003, 0u16).unwrap();
        assert_eq!(cpu.pending_dr6, 1);
        cpu.read::<u64>(0x1ff9).unwrap();
        assert_eq!(cpu.pending_dr6, 3);
        assert_ne!(cpu.events & event::DEBUG_TRAP, 0);
        cpu.write_dr(7, 0).unwrap();
        assert_eq!(cpu.tlb.table, Table::KernelToUser);
    }

    #[test]
    fn instruction_breakpoints_are_told_to_the_run_loop() {
        let mut cpu = Cpu::for_test();
        cpu.write_dr(2, 0x1000).unwrap();
        cpu.write_dr(3, 0x1000).unwrap();
        cpu.write_dr(7, 1 << 5 | 1 << 6).unwrap();
        assert_ne!(cpu.events & event::CODE_BREAKPOINTS, 0);
        assert!(!cpu.data_breakpoints_armed());
        assert_eq!(
            (cpu.code_breakpoint(0x1000), cpu.code_breakpoint(0x1001)),
            (Some(12), None)
        );
        cpu.write_dr(7, 0).unwrap();
        assert_eq!(cpu.events & event::CODE_BREAKPOINTS, 0);
    }

    #[test]
    fn port_breakpoints_need_debugging_extensions() {
        let mut cpu = Cpu::for_test();
        cpu.write_dr(0, 0x60).unwrap();
        cpu.write_dr(7, 1 | 0b0010 << 16).unwrap();
        cpu.io_breakpoint(0x60, 1);
        assert_eq!(cpu.pending_dr6, 0);
        cpu.cr4 |= cr::CR4_DE;
        cpu.io_breakpoint(0x5e, 4);
        assert_eq!(cpu.pending_dr6, 1);
    }

    #[test]
    fn access_to_debug_registers_can_fault() {
        let mut cpu = Cpu::for_test();
        assert!(cpu.write_dr(6, 1 << 32).is_err());
        cpu.write_dr(4, 0).unwrap();
        assert_eq!(cpu.read_dr(6).unwrap(), DR6_RESET);
        cpu.cr4 |= cr::CR4_DE;
        assert!(cpu.read_dr(5).is_err());
        cpu.write_dr(7, DR7_GD).unwrap();
        assert!(cpu.read_dr(0).is_err());
        let StopReason::Exception(exception) = cpu.stop else {
            panic!("no exception")
        };
        assert_eq!((exception.vector, exception.dr6), (vector::DB, DR6_BD));
    }
}
