//! Whether two outcomes of one case agree.

use iced_x86::{Code, Instruction, MemorySize, Mnemonic, Register, UsedMemory};

use crate::layout::{USER_CS_32, data_offset};
use crate::parts::Parts;
use crate::state::{Case, End, MXCSR, Outcome, X87_REGISTERS, XMM_REGISTERS};

/// RF: tells a fault's handler to resume; no ring-3 instruction can read it.
const FLAG_RESUME: u64 = 1 << 16;
/// Error code bit P: Linux sets it for every address of the kernel's half, to hide its layout.
const FAULT_PRESENT: u32 = 1;
const FAULT_WRITE: u32 = 1 << 1;
/// Linux's TASK_SIZE_MAX: the last user page belongs to the kernel already.
const KERNEL_HALF: u64 = (1 << 47) - 4096;

/// Compares ends and registers; memory is the caller's. `instruction` is the one that ended the case,
/// `unpromised` are the flags that no manual promises at the end.
pub fn differing(
    host: &Outcome,
    subject: &Outcome,
    instruction: &Instruction,
    case: &Case,
    unpromised: u64,
) -> Parts {
    let mut parts = Parts::default();
    if sets_misaligned_mode(host, case) {
        return parts;
    }
    parts.add(Parts::END, !same_end(&host.end, &subject.end, instruction));
    let (a, b) = (&host.state.registers, &subject.state.registers);
    let general = (0..16).any(|number| {
        (a.gpr[number] ^ b.gpr[number]) & !unpromised_bits(host, instruction, number) != 0
    });
    parts.add(Parts::GENERAL, general);
    parts.add(Parts::RIP, a.rip != b.rip);
    let ignored = FLAG_RESUME | unpromised;
    parts.add(Parts::FLAGS, (a.rflags ^ b.rflags) & !ignored != 0);
    let segments_differ = a.selectors != b.selectors
        || a.fs_base != b.fs_base && !loads_null(instruction, Register::FS, a.selectors[4])
        || a.gs_base != b.gs_base && !loads_null(instruction, Register::GS, a.selectors[5]);
    parts.add(Parts::SEGMENTS, segments_differ);
    let (x, y) = (&host.state.xsave.0, &subject.state.xsave.0);
    if x != y {
        // AMD's processors enter MMX state before MASKMOVQ's store faults.
        let entered = instruction.mnemonic() == Mnemonic::Maskmovq && host.end != End::Completed;
        parts.add(Parts::X87, !entered && !same_x87(x, y, host, instruction));
        parts.add(Parts::VECTOR, x[XMM_REGISTERS..] != y[XMM_REGISTERS..]);
    }
    parts
}

/// Whether a load of MXCSR set bit 17: misaligned SSE mode on AMD's processors, #GP on Intel's.
pub(crate) fn sets_misaligned_mode(host: &Outcome, case: &Case) -> bool {
    const MODE: u8 = 1 << 1;
    const BYTE: usize = MXCSR + 2;
    host.state.xsave.0[BYTE] & !case.state.xsave.0[BYTE] & MODE != 0
}

/// Instructions of several accesses whose order belongs to the implementation: which of two faults
/// is reported, and for which address, is not promised (SDM vol. 3, 6.9 orders faults of one access
/// only).
pub(crate) fn is_unordered(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    let many = matches!(
        instruction.mnemonic(),
        M::Iret
            | M::Iretd
            | M::Iretq
            | M::Retf
            | M::Enter
            | M::Fldenv
            | M::Fnstenv
            | M::Frstor
            | M::Fnsave
            | M::Fxsave
            | M::Fxsave64
            | M::Fxrstor
            | M::Fxrstor64
            | M::Pusha
            | M::Pushad
            | M::Popa
            | M::Popad
            | M::Lss
            | M::Lds
            | M::Les
            | M::Lfs
            | M::Lgs
            | M::Bound
            | M::Cmpsb
            | M::Cmpsw
            | M::Cmpsd
            | M::Cmpsq
            | M::Fbld
            | M::Fbstp
            | M::Maskmovq
            | M::Maskmovdqu
            | M::Vmaskmovdqu
    );
    let extended = instruction.memory_size() == MemorySize::Float80;
    // Whether the target or the stack is looked at first.
    let call = instruction.is_call_near_indirect();
    many || extended
        || call
        || instruction.is_call_far_indirect()
        || instruction.is_jmp_far_indirect()
        || instruction.is_call_far()
}

const RSP: usize = 4;

/// AVX masked moves: whether the whole operand or each selected lane is looked at.
pub(crate) fn is_masked(instruction: &Instruction) -> bool {
    matches!(
        instruction.mnemonic(),
        Mnemonic::Vmaskmovps | Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovd | Mnemonic::Vpmaskmovq
    )
}

/// Bits of a general register that no manual promises after the instruction.
fn unpromised_bits(host: &Outcome, instruction: &Instruction, number: usize) -> u64 {
    let pops_all = matches!(instruction.mnemonic(), Mnemonic::Popa | Mnemonic::Popad);
    if pops_all && host.end != End::Completed && number != RSP {
        // AMD's processors have popped some registers already.
        return !0;
    }
    const LIMIT_IN_RIGHTS: u64 = 0xf_0000;
    let lar = instruction.mnemonic() == Mnemonic::Lar
        && instruction.op0_register().full_register().number() == number;
    if lar {
        return LIMIT_IN_RIGHTS;
    }
    // A transfer to 32-bit code gives up the high halves; Linux's signal frame shows it in RSP.
    if host.state.registers.selectors[1] == USER_CS_32 && number == RSP {
        return !0 << 32;
    }
    0
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

/// x87 state and MXCSR. The interpreter runs SSE arithmetic with all exceptions masked and derives
/// which would have been raised. What that cannot tell is not compared: whether PE goes with an
/// unmasked overflow or underflow, and in which step of DPPS and DPPD the first exception fell.
fn same_x87(host: &[u8], subject: &[u8], outcome: &Outcome, instruction: &Instruction) -> bool {
    const PRECISION: u8 = 1 << 5;
    const RANGE: u8 = 3 << 3;
    const FLAGS: u8 = 0x3f;
    let mut ignored = 0;
    if outcome.end.vector() == Some(19) {
        let masks = (host[MXCSR] >> 7) | (host[MXCSR + 1] << 1);
        if host[MXCSR] & !masks & RANGE != 0 {
            ignored |= PRECISION;
        }
        let dot = matches!(
            instruction.mnemonic(),
            Mnemonic::Dpps | Mnemonic::Dppd | Mnemonic::Vdpps | Mnemonic::Vdppd
        );
        if dot {
            ignored |= FLAGS;
        }
    }
    host[..MXCSR] == subject[..MXCSR]
        && (host[MXCSR] ^ subject[MXCSR]) & !ignored == 0
        && host[MXCSR + 1..XMM_REGISTERS] == subject[MXCSR + 1..XMM_REGISTERS]
}

fn same_end(host: &End, subject: &End, instruction: &Instruction) -> bool {
    let (
        End::Exception {
            vector,
            error,
            address,
        },
        End::Exception {
            vector: v,
            error: e,
            address: a,
        },
    ) = (host, subject)
    else {
        return host == subject;
    };
    match (*vector, *v) {
        (14, 14) => {
            let mut compared = !0;
            if *address >= KERNEL_HALF {
                compared &= !FAULT_PRESENT;
            }
            if is_unordered(instruction) {
                compared &= !(FAULT_PRESENT | FAULT_WRITE);
            }
            (address == a || is_unordered(instruction)) && error & compared == e & compared
        }
        _ if host == subject => true,
        (12..=14 | 17, 12..=14 | 17) if is_unordered(instruction) => true,
        (12..=14, 12..=14) if is_masked(instruction) => true,
        // Whether a vector operand's alignment or its address is looked at first.
        (12 | 13, 12 | 13) => *error == 0 && *e == 0 && instruction.memory_size().size() >= 16,
        // Whether it is too long or undefined comes first.
        (6 | 13, 6 | 13) => *error == 0 && *e == 0 && instruction.is_invalid(),
        _ => false,
    }
}

/// Parts of the data window that the instruction stores and that no manual promises: the x87
/// instruction and data pointers, MXCSR_MASK and reserved bytes.
pub fn unpromised(
    instruction: &Instruction,
    accesses: &[(UsedMemory, u64)],
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
        // Intel's processors write the selector only, AMD's the whole slot (SDM vol. 2, PUSH).
        Mnemonic::Push if instruction.op0_register().is_segment_register() => {
            match instruction.code() {
                Code::Pushd_ES
                | Code::Pushd_CS
                | Code::Pushd_SS
                | Code::Pushd_DS
                | Code::Pushd_FS
                | Code::Pushd_GS => &[(2, 4)],
                _ => &[],
            }
        }
        _ => &[],
    };
    let Some((_, linear)) = accesses.first() else {
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
