//! What a translation depends on besides the code itself.

use crate::cpu::{CodeMode, Cpu, cr};
use crate::mmu::tlb::Table;

/// The privilege table that memory accesses use, and whether vector instructions run as themselves.
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
            self.tlb.table as u8 | u8::from(self.vectors_cannot_trap()) << 2,
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
}
