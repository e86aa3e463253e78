//! What a translation depends on besides the code itself.

use crate::cpu::{CodeMode, Cpu, cr};
use crate::hostexec::{X87_ERROR_SUMMARY, host_keeps_x87};
use crate::mmu::tlb::Table;

/// The privilege table that memory accesses use, and whether vector and x87 instructions run as
/// themselves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Mode(u8);

impl Mode {
    /// Which privilege table the code's accesses use.
    pub(super) fn table(self) -> Table {
        match self.0 & 3 {
            0 => Table::Kernel,
            1 => Table::KernelToUser,
            _ => Table::User,
        }
    }

    /// Ring 3.
    pub(super) fn user(self) -> bool {
        self.table() == Table::User
    }

    /// Vector instructions cannot trap: they are translated.
    pub(super) fn vectors(self) -> bool {
        self.0 & 4 != 0
    }

    /// The same for x87 and MMX instructions.
    pub(super) fn x87(self) -> bool {
        self.0 & 8 != 0
    }

    /// Both as one value.
    pub(super) fn by_themselves(self) -> u8 {
        self.0 & 12
    }
}

impl Cpu {
    /// The mode code is translated for now; `None` where only the interpreter will do: other than
    /// 64-bit code, and when every access has to be looked at.
    #[inline]
    pub(super) fn translation_mode(&self) -> Option<Mode> {
        let ring_0_or_3 = self.cpl == 0 || self.cpl == 3;
        if self.mode != CodeMode::Bits64 || self.tlb.table == Table::Slow || !ring_0_or_3 {
            return None;
        }
        Some(Mode(
            self.tlb.table as u8
                | u8::from(self.vectors_cannot_trap()) << 2
                | u8::from(self.x87_cannot_trap()) << 3,
        ))
    }

    /// Vector state is on and every SIMD exception is masked.
    fn vectors_cannot_trap(&self) -> bool {
        const ALL_MASKED: u32 = 0x1f80;
        let on = cr::CR4_OSFXSR | cr::CR4_OSXSAVE;
        self.cr0 & (cr::CR0_EM | cr::CR0_TS) == 0
            && self.cr4 & on == on
            && self.xcr0 & 6 == 6
            && self.vectors.mxcsr() & ALL_MASKED == ALL_MASKED
    }

    /// x87 state is on, every x87 exception is masked, and the image claims none. While the state is
    /// in the host's registers the image is old, but nothing has changed that there.
    fn x87_cannot_trap(&self) -> bool {
        const ALL_MASKED: u16 = 0x3f;
        self.cr0 & (cr::CR0_EM | cr::CR0_TS) == 0
            && self.vectors.fcw() & ALL_MASKED == ALL_MASKED
            && self.vectors.fsw() & X87_ERROR_SUMMARY == 0
            && host_keeps_x87()
    }
}
