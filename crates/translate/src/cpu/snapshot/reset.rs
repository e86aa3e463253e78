//! The state after power-on, INIT and a start-up message (Intel SDM vol. 3, 10.1.1).

use wardian_engine::state::{Activity, Segment, TableRegister};

use super::CR0_CACHES;
use crate::cpu::debug::{DR6_RESET, DR7_RESET};
use crate::cpu::features::XCR0_X87;
use crate::cpu::msr::Msrs;
use crate::cpu::registers::{RDX, REGISTER_SLOTS, RIP};
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{Cpu, cr, event, flags};
use crate::hostexec::XsaveArea;
use crate::mmu::Invalidate;

/// FCW after reset, where FNINIT would give 37Fh.
const FCW_RESET: u16 = 0x40;
/// The tag byte after reset: no register is empty.
const FTW_RESET: u8 = 0xff;

const CODE_RESET: u32 = 0x9b;
const DATA_RESET: u32 = 0x93;
const LDT_RESET: u32 = 0x82;
const TSS_RESET: u32 = 0x8b;
const TABLE_RESET: TableRegister = TableRegister {
    base: 0,
    limit: 0xffff,
};

impl Cpu {
    /// Power-on reset (Intel SDM vol. 3, table 10-1). The vCPU is then running; whoever resets an
    /// application processor makes it wait. The local APIC is not touched.
    pub fn reset(&mut self) {
        *self.vectors = XsaveArea::default();
        self.vectors.set_fcw(FCW_RESET);
        self.vectors.set_ftw(FTW_RESET);
        self.xcr0 = XCR0_X87;
        self.load_msrs(Msrs::default());
        // Caches off, and nothing on.
        self.cr0 = CR0_CACHES;
        self.init();
    }

    /// INIT: as reset, but vector registers, XCR0, MSRs and CR0.CD and NW keep their values. The
    /// vCPU is then running, and the local APIC is not touched.
    pub fn init(&mut self) {
        self.forget_instruction();
        self.regs = [0; REGISTER_SLOTS];
        // The processor's signature, which software before CPUID looked for here.
        let (_, [signature, ..]) = self.features.cpuid_row(1, 0);
        self.regs[RDX] = u64::from(signature);
        self.regs[RIP] = 0xfff0;
        self.cr0 = self.cr0 & CR0_CACHES | cr::CR0_ET;
        self.cr2 = 0;
        self.cr3 = 0;
        self.cr4 = 0;
        self.efer = 0;
        self.pdptrs = [0; 4];
        for (which, segment) in reset_segments().into_iter().enumerate() {
            self.set_segment(which, segment);
        }
        self.gdtr = TABLE_RESET;
        self.idtr = TABLE_RESET;
        self.cpl = 0;
        self.nmi_blocked = false;
        self.interrupt_waiting = false;
        self.set_rflags(flags::FIXED_1);
        self.set_debug_registers([0; 4], DR6_RESET, DR7_RESET);
        self.set_activity(Activity::Running);
        self.events |= event::CHECK_INTERRUPTS;
        self.invalidate(Invalidate::All);
    }

    /// A start-up message: real-mode code at page `vector` of the first MiB (Intel SDM vol. 3, 9.4.4).
    pub fn start_at(&mut self, vector: u8) {
        let code = self.seg[index::CS].real_mode(u16::from(vector) << 8);
        self.set_segment(index::CS, code);
        self.regs[RIP] = 0;
        self.set_activity(Activity::Running);
    }
}

fn reset_segments() -> [Segment; 8] {
    let at_zero = |attributes| Segment {
        selector: 0,
        base: 0,
        limit: 0xffff,
        attributes,
    };
    let mut segments = [at_zero(DATA_RESET); 8];
    segments[index::CS] = Segment {
        selector: 0xf000,
        base: 0xffff_0000,
        ..at_zero(CODE_RESET)
    };
    segments[index::LDTR] = at_zero(LDT_RESET);
    segments[index::TR] = at_zero(TSS_RESET);
    segments
}
