//! The part of a vCPU that only translated code and its stubs use.

use std::mem::offset_of;

use wardian_engine::state::Segment;

use super::fast::{Entry, Fast};
use super::hints::Hint;
use super::host::Mem;
use super::vcpu_memory::FAST_OFFSET;
use crate::cpu::Cpu;
use crate::cpu::msr::Msrs;
use crate::cpu::segment::index;
use crate::mmu::tlb::Table;

/// Scratch memory of translated code, and how it and the dispatcher hand things over.
#[repr(C)]
pub struct Native {
    /// Arithmetic flags while they are not in the host's EFLAGS: AH as LAHF gives it, AL = OF.
    pub(super) flags: u32,
    /// 0: the guest's vector registers are in the host's; 1: in `Cpu::vectors`.
    pub(super) vectors_away: u8,
    /// 0: they stay where they are on resumption; 1: they are loaded from `Cpu::vectors`; 2: from
    /// `spill`.
    pub(super) reload: u8,
    /// 0: the guest's x87 registers are in the host's; 1: in `Cpu::vectors`.
    pub(super) x87_away: u8,
    /// They are loaded from there on resumption.
    pub(super) x87_reload: bool,
    /// The host's x87 control word while they are in the host's.
    pub(super) host_fcw: u16,
    /// Saved across an instruction by translated code.
    pub(super) scratch: [u64; 3],
    /// What a stub was entered with in RCX, and what RCX is on resumption.
    pub(super) rcx: u64,
    /// What a stub was entered with in RAX.
    pub(super) rax: u64,
    /// Which site or exit entered a stub.
    pub(super) id: u64,
    /// The indirect branch that ran last.
    pub(super) branch: u32,
    /// Host address to go on at.
    pub(super) resume: u64,
    /// The thread's own stack pointer.
    pub(super) host_rsp: u64,
    /// The attention word of this vCPU's signal.
    pub(super) attention: *const u32,
    /// The host's MXCSR.
    pub(super) host_mxcsr: u32,
    /// The host's vector registers while the dispatcher runs, until it is known whether they have to
    /// go to `Cpu::vectors`.
    pub(super) spill: Spill,
}

/// Sixteen vector registers.
#[repr(C, align(32))]
pub(super) struct Spill(pub(super) [[u8; 32]; 16]);

impl Default for Native {
    fn default() -> Self {
        Self {
            flags: 0,
            vectors_away: 1,
            reload: 0,
            x87_away: 1,
            x87_reload: false,
            host_fcw: 0x37f,
            scratch: [0; 3],
            rcx: 0,
            rax: 0,
            id: 0,
            branch: 0,
            resume: 0,
            host_rsp: 0,
            attention: std::ptr::null(),
            host_mxcsr: 0x1f80,
            spill: Spill([[0; 32]; 16]),
        }
    }
}

macro_rules! native_field {
    ($($name:ident: $field:ident;)*) => {
        $(pub(super) fn $name() -> Mem {
            Mem::cpu((offset_of!(Cpu, native) + offset_of!(Native, $field)) as i32)
        })*
    };
}

native_field! {
    flags: flags;
    vectors_away: vectors_away;
    reload: reload;
    x87_away: x87_away;
    host_fcw: host_fcw;
    rcx: rcx;
    rax: rax;
    id: id;
    branch: branch;
    resume: resume;
    host_rsp: host_rsp;
    attention: attention;
    host_mxcsr: host_mxcsr;
}

/// Where a vector register is spilled.
pub(super) fn spill(register: usize) -> Mem {
    Mem::cpu((offset_of!(Cpu, native) + offset_of!(Native, spill) + 32 * register) as i32)
}

/// A scratch slot.
pub(super) fn scratch(n: usize) -> Mem {
    Mem::cpu((offset_of!(Cpu, native) + offset_of!(Native, scratch) + 8 * n) as i32)
}

/// A guest register's place in memory.
pub(super) fn register(guest: u8) -> Mem {
    Mem::cpu((offset_of!(Cpu, regs) + 8 * usize::from(guest)) as i32)
}

/// A segment's base.
pub(super) fn segment_base(segment: usize) -> Mem {
    Mem::cpu((offset_of!(Cpu, seg_base) + 8 * segment) as i32)
}

/// The pointer to the vector registers in memory.
pub(super) fn vectors() -> Mem {
    Mem::cpu(offset_of!(Cpu, vectors) as i32)
}

/// RFLAGS without the arithmetic flags.
pub(super) fn system_flags() -> Mem {
    Mem::cpu(offset_of!(Cpu, system_flags) as i32)
}

/// Whether an interrupt waits for the interrupt flag.
pub(super) fn interrupt_waiting() -> Mem {
    Mem::cpu(offset_of!(Cpu, interrupt_waiting) as i32)
}

/// IA32_KERNEL_GS_BASE.
pub(super) fn kernel_gs_base() -> Mem {
    Mem::cpu((offset_of!(Cpu, msrs) + offset_of!(Msrs, kernel_gs_base)) as i32)
}

/// The base in the hidden part of GS.
pub(super) fn hidden_gs_base() -> Mem {
    let gs = offset_of!(Cpu, seg) + index::GS * size_of::<Segment>();
    Mem::cpu((gs + offset_of!(Segment, base)) as i32)
}

/// Offset from the vCPU of something in [`Fast`].
pub(super) fn fast(offset: usize) -> i32 {
    (FAST_OFFSET + offset) as i32
}

/// The fields of a hint, as operands.
#[derive(Clone, Copy)]
pub(super) struct HintFields {
    /// Offset of the hint from the vCPU.
    pub(super) offset: i32,
}

impl HintFields {
    pub(super) fn of(number: u32) -> Self {
        Self {
            offset: fast(Fast::hint_offset(number)),
        }
    }

    pub(super) fn tag(self) -> Mem {
        Mem::cpu(self.offset + offset_of!(Hint, tag) as i32)
    }

    pub(super) fn host(self) -> Mem {
        Mem::cpu(self.offset + offset_of!(Hint, host) as i32)
    }

    pub(super) fn watch(self) -> Mem {
        Mem::cpu(self.offset + offset_of!(Hint, watch) as i32)
    }
}

/// The fields of a TLB entry, relative to the vCPU plus the entry's offset in its table.
#[derive(Clone, Copy)]
pub(super) struct TlbFields {
    pub(super) read: i32,
    pub(super) write: i32,
    pub(super) host: i32,
    pub(super) watch: i32,
}

impl TlbFields {
    pub(super) fn of(table: Table) -> Self {
        let base = Fast::tlb_offset(table);
        Self {
            read: fast(base + offset_of!(Entry, read)),
            write: fast(base + offset_of!(Entry, write)),
            host: fast(base + offset_of!(Entry, host)),
            watch: fast(base + offset_of!(Entry, watch)),
        }
    }
}
