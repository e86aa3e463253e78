//! Whether two outcomes of one case agree.

use iced_x86::{Instruction, Mnemonic, Register, UsedMemory};

use crate::flags::undefined;
use crate::layout::data_offset;
use crate::state::{Case, End, MXCSR, Outcome, X87_REGISTERS, XMM_REGISTERS};

/// RF: tells a fault's handler to resume; no ring-3 instruction can read it.
const FLAG_RESUME: u64 = 1 << 16;
/// Error code bit P: Linux sets it for every address of the kernel's half, to hide its layout.
const FAULT_PRESENT: u32 = 1;
const KERNEL_HALF: u64 = 1 << 63;

/// The parts of an outcome, as bits: a difference is named by the parts that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parts(pub u8);

impl Parts {
    /// How the case ended.
    pub const END: Self = Self(1);
    /// General registers.
    pub const GENERAL: Self = Self(2);
    /// RIP.
    pub const RIP: Self = Self(4);
    /// RFLAGS.
    pub const FLAGS: Self = Self(8);
    /// Selectors and bases.
    pub const SEGMENTS: Self = Self(16);
    /// x87 and MMX, MXCSR.
    pub const X87: Self = Self(32);
    /// XMM and YMM.
    pub const VECTOR: Self = Self(64);
    /// The data window.
    pub const MEMORY: Self = Self(128);

    /// Adds `part` when `differs`.
    pub fn add(&mut self, part: Self, differs: bool) {
        if differs {
            self.0 |= part.0;
        }
    }

    /// Whether there is no difference.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The parts' names.
    pub fn names(self) -> String {
        const NAMES: [&str; 8] = [
            "end", "gpr", "rip", "flags", "segments", "x87", "vector", "memory",
        ];
        let present = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| self.0 & 1 << bit != 0);
        present.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
    }
}

/// Compares ends and registers; memory is the caller's.
pub fn differing(
    host: &Outcome,
    subject: &Outcome,
    instruction: &Instruction,
    case: &Case,
) -> Parts {
    let mut parts = Parts::default();
    parts.add(Parts::END, !same_end(&host.end, &subject.end));
    let (a, b) = (&host.state.registers, &subject.state.registers);
    parts.add(Parts::GENERAL, a.gpr != b.gpr);
    parts.add(Parts::RIP, a.rip != b.rip);
    let mut ignored = FLAG_RESUME;
    if host.end == End::Completed {
        ignored |= undefined(instruction, case);
    }
    parts.add(Parts::FLAGS, (a.rflags ^ b.rflags) & !ignored != 0);
    let segments_differ = a.selectors != b.selectors
        || a.fs_base != b.fs_base && !loads_null(instruction, Register::FS, a.selectors[4])
        || a.gs_base != b.gs_base && !loads_null(instruction, Register::GS, a.selectors[5]);
    parts.add(Parts::SEGMENTS, segments_differ);
    let (x, y) = (&host.state.xsave.0, &subject.state.xsave.0);
    if x != y {
        parts.add(Parts::X87, x[..XMM_REGISTERS] != y[..XMM_REGISTERS]);
        parts.add(Parts::VECTOR, x[XMM_REGISTERS..] != y[XMM_REGISTERS..]);
    }
    parts
}

/// Whether the instruction loads a null selector into FS or GS: that clears the base on Intel's
/// processors and leaves it on AMD's (APM vol. 2, 4.5.3).
fn loads_null(instruction: &Instruction, register: Register, selector: u16) -> bool {
    let loads = match instruction.mnemonic() {
        Mnemonic::Lfs => register == Register::FS,
        Mnemonic::Lgs => register == Register::GS,
        _ => instruction.op0_register() == register,
    };
    loads && selector == 0
}

fn same_end(host: &End, subject: &End) -> bool {
    match (host, subject) {
        (
            End::Exception {
                vector: 14,
                error,
                address,
            },
            End::Exception {
                vector: 14,
                error: other,
                address: other_address,
            },
        ) if *address >= KERNEL_HALF => {
            address == other_address && error & !FAULT_PRESENT == other & !FAULT_PRESENT
        }
        _ => host == subject,
    }
}

/// Parts of the data window that the instruction stores and that no manual promises: the x87
/// instruction and data pointers, MXCSR_MASK and reserved bytes.
pub fn unpromised(
    instruction: &Instruction,
    aimed: &[(UsedMemory, u64)],
) -> Vec<core::ops::Range<usize>> {
    let ranges: &[(u64, u64)] = match instruction.mnemonic() {
        Mnemonic::Fxsave | Mnemonic::Fxsave64 => {
            const POINTERS: u64 = 5;
            const MASK: u64 = MXCSR as u64 + 4;
            const FIRST: u64 = X87_REGISTERS as u64;
            &[(POINTERS, MXCSR as u64), (MASK, FIRST), (416, 512)]
        }
        Mnemonic::Fnstenv | Mnemonic::Fnsave => match instruction.memory_size().size() {
            14 | 94 => &[(6, 14)],
            _ => &[(12, 28)],
        },
        _ => &[],
    };
    let Some((_, linear)) = aimed.first() else {
        return Vec::new();
    };
    ranges
        .iter()
        .filter_map(|(from, to)| {
            let start = data_offset(linear.wrapping_add(*from), to - from)?;
            Some(start..start + (to - from) as usize)
        })
        .collect()
}
