//! Which forms are compared and which are not, each with the reason.

use iced_x86::{
    Code, CpuidFeature, EncodingKind, FlowControl, Instruction, Mnemonic, OpCodeOperandKind,
    OpKind, Register, UsedMemory,
};

use crate::compare::is_unordered;
use crate::flags::{count, width};
use crate::layout::{CODE_BASE, CODE_LEN, PAGE};
use crate::operands::segment_base;
use crate::state::{Case, Mode, X87_REGISTERS, XMM_REGISTERS};

/// What is done with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Both sides run it and must agree.
    Compare,
    /// Nobody runs it here; the reason says who tests it or why nobody can.
    Skip(&'static str),
    /// The CPU model does not have it, the host may: the interpreter must raise #UD.
    Absent(&'static str),
}

const KERNEL: &str = "enters the kernel: its effect is the kernel's; micro-guests test it";
const MODEL: &str = "the answer is the CPU model's, the host's is another";
const RANDOM: &str = "the answer is random or depends on the time";
const UMIP: &str = "the host's kernel runs with UMIP and emulates it; micro-guests test it";
const LAYOUT: &str = "the host's XCR0 has more components; micro-guests test the layout";
const INT1: &str = "hypervisors differ in the address they report";
const HYPERCALL: &str = "reaches the host's hypervisor";
/// Why AVX-512 is not compared.
pub const AVX512: &str = "AVX-512 is outside every CPU model of stage 0";
const WAIT: &str = "waits, or the host's kernel decides whether it may";

/// The forms that are not simply compared, by mnemonic.
const BY_MNEMONIC: &[(&str, &[Mnemonic])] = &[
    (
        KERNEL,
        &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Int],
    ),
    (
        MODEL,
        &[
            Mnemonic::Cpuid,
            Mnemonic::Xgetbv,
            Mnemonic::Rdpid,
            Mnemonic::Lsl,
        ],
    ),
    (
        RANDOM,
        &[
            Mnemonic::Rdtsc,
            Mnemonic::Rdtscp,
            Mnemonic::Rdrand,
            Mnemonic::Rdseed,
        ],
    ),
    (RANDOM, &[Mnemonic::Rdpmc, Mnemonic::Rdpru]),
    (
        UMIP,
        &[
            Mnemonic::Sgdt,
            Mnemonic::Sidt,
            Mnemonic::Sldt,
            Mnemonic::Smsw,
            Mnemonic::Str,
        ],
    ),
    (
        LAYOUT,
        &[
            Mnemonic::Xsave,
            Mnemonic::Xsave64,
            Mnemonic::Xsavec,
            Mnemonic::Xsavec64,
            Mnemonic::Xsaveopt,
            Mnemonic::Xsaveopt64,
            Mnemonic::Xrstor,
            Mnemonic::Xrstor64,
        ],
    ),
    (INT1, &[Mnemonic::Int1]),
    (
        HYPERCALL,
        &[Mnemonic::Vmcall, Mnemonic::Vmmcall, Mnemonic::Vmgexit],
    ),
    (
        WAIT,
        &[
            Mnemonic::Monitor,
            Mnemonic::Mwait,
            Mnemonic::Monitorx,
            Mnemonic::Mwaitx,
            Mnemonic::Umwait,
            Mnemonic::Umonitor,
            Mnemonic::Tpause,
        ],
    ),
];

/// Why a case is not compared although its form is. The CPU models are Intel's and the host may be
/// AMD's: where the manuals differ, or leave it to the implementation, nobody is wrong. `accesses` are
/// the case's memory accesses with their linear addresses.
pub fn vendor_difference(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
    treatment: Treatment,
) -> Option<&'static str> {
    undefined_result(instruction, case, accesses, treatment)
        .or_else(|| vendor_form(instruction, case, accesses))
        .or_else(|| vendor_addressing(instruction, case, accesses))
        .or_else(|| vendor_near_branch(instruction, case))
}

fn undefined_result(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
    treatment: Treatment,
) -> Option<&'static str> {
    let double_shift = matches!(instruction.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd);
    if double_shift && count(instruction, case) > width(instruction) {
        return Some("the result of a double shift by more than the width is undefined");
    }
    let repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if instruction.is_loopcc() && repeated {
        return Some("a repeat prefix is reserved here; AMD's processors test ZF by it");
    }
    let port = matches!(
        instruction.mnemonic(),
        Mnemonic::Insb
            | Mnemonic::Insw
            | Mnemonic::Insd
            | Mnemonic::Outsb
            | Mnemonic::Outsw
            | Mnemonic::Outsd
    );
    if port && repeated && string_count(instruction, case) == 0 {
        return Some("whether a count of zero needs the permission is not said");
    }
    // Nobody knows the length of what only a decoder's table calls an instruction.
    let length = if instruction.is_invalid() {
        15
    } else {
        instruction.len() as u64
    };
    let cut = case.state.registers.rip + length > CODE_BASE + CODE_LEN;
    let refused = treatment != Treatment::Compare
        || instruction.is_invalid()
        || matches!(instruction.mnemonic(), Mnemonic::Ud0 | Mnemonic::Ud1);
    if cut && refused {
        return Some("whether all of an undefined instruction is fetched is not said");
    }
    let masked_store = matches!(
        instruction.mnemonic(),
        Mnemonic::Maskmovq | Mnemonic::Maskmovdqu | Mnemonic::Vmaskmovdqu
    );
    let (_, linear) = accesses.first()?;
    if masked_store && !selects_on_every_page(instruction, case, *linear) {
        return Some("faults of bytes that are not selected are left to the implementation");
    }
    None
}

/// The count of a repeated string instruction, as wide as its addresses.
fn string_count(instruction: &Instruction, case: &Case) -> u64 {
    let mask =
        (0..instruction.op_count()).fold(!0, |mask, operand| match instruction.op_kind(operand) {
            OpKind::MemorySegSI | OpKind::MemoryESDI => 0xffff,
            OpKind::MemorySegESI | OpKind::MemoryESEDI => 0xffff_ffff,
            _ => mask,
        });
    case.state.registers.gpr[1] & mask
}

/// Whether MASKMOVQ's or MASKMOVDQU's mask selects a byte of every page that its operand touches.
fn selects_on_every_page(instruction: &Instruction, case: &Case, linear: u64) -> bool {
    let mask = instruction.op2_register();
    let image = &case.state.xsave.0;
    let bytes = if mask.is_mm() {
        // The image is relative to the top of the x87 stack, the register is not.
        let top = usize::from(image[3] >> 3 & 7);
        let start = X87_REGISTERS + (mask.number() + 8 - top) % 8 * 16;
        &image[start..start + 8]
    } else {
        let start = XMM_REGISTERS + mask.number() * 16;
        &image[start..start + 16]
    };
    let on_first_page = (PAGE - linear % PAGE).min(bytes.len() as u64) as usize;
    let (first, second) = bytes.split_at(on_first_page);
    let selects = |bytes: &[u8]| bytes.iter().any(|byte| byte & 0x80 != 0);
    selects(first) && (second.is_empty() || selects(second))
}

fn vendor_form(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
) -> Option<&'static str> {
    let code = instruction.code();
    let compatibility = case.mode == Mode::Compatibility;
    match code {
        Code::Movsxd_r16_rm16 if instruction.op1_kind() == OpKind::Memory => {
            return Some("AMD reads 32 bits where Intel reads 16");
        }
        Code::Reservednop_rm16_r16_0F0D
        | Code::Reservednop_rm32_r32_0F0D
        | Code::Reservednop_rm64_r64_0F0D => {
            return Some("PREFETCHW of a register: a NOP on Intel's, #UD on AMD's processors");
        }
        Code::Sysretd | Code::Sysretq if compatibility => {
            return Some("#UD outside 64-bit mode on Intel's, #GP on AMD's processors");
        }
        Code::VEX_Vpextrd_rm32_xmm_imm8 | Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8 if compatibility => {
            return Some("VEX.W is ignored in 32-bit code on Intel's, #UD on AMD's processors");
        }
        Code::Jmp_m1664
        | Code::Call_m1664
        | Code::Lss_r64_m1664
        | Code::Lfs_r64_m1664
        | Code::Lgs_r64_m1664 => {
            return Some("AMD: no far pointers with 64-bit offset");
        }
        _ => {}
    }
    if instruction.is_invalid() && is_locked_verify(&case.bytes) {
        return Some("AMD's processors read the operand of VERR and VERW before they refuse LOCK");
    }
    let sha = instruction.cpuid_features().contains(&CpuidFeature::SHA);
    let aligned = accesses.first().is_some_and(|(_, linear)| linear % 16 == 0);
    if sha && instruction.op1_kind() == OpKind::Memory && !aligned {
        return Some("AMD's SHA instructions take unaligned operands");
    }
    if instruction.mnemonic() == Mnemonic::Arpl && instruction.memory_segment() == Register::CS {
        return Some("AMD's ARPL needs a writable segment only if it writes");
    }
    None
}

/// Whether `bytes` are VERR or VERW of a memory operand with a LOCK prefix.
fn is_locked_verify(bytes: &[u8]) -> bool {
    const LOCK: u8 = 0xf0;
    let prefixes = prefixes(bytes);
    let verify = match bytes[prefixes.len()..] {
        [0x0f, 0x00, modifier, ..] => modifier < 0xc0 && matches!(modifier >> 3 & 7, 4 | 5),
        _ => false,
    };
    verify && prefixes.contains(&LOCK)
}

fn vendor_addressing(
    instruction: &Instruction,
    case: &Case,
    accesses: &[(UsedMemory, u64)],
) -> Option<&'static str> {
    let offset =
        |memory: &UsedMemory, linear: u64| linear.wrapping_sub(segment_base(memory.segment()));
    if case.mode == Mode::Compatibility {
        const LIMIT: u64 = 1 << 32;
        let wraps = accesses.iter().any(|(memory, linear)| {
            // The decoder gives no size to a repeated access.
            let size = memory
                .memory_size()
                .size()
                .max(instruction.memory_size().size()) as u64;
            (offset(memory, *linear) & (LIMIT - 1)) + size > LIMIT
        });
        let several = accesses.len() > 1 || instruction.memory_size().size() > 8;
        if wraps && (several || is_unordered(instruction)) {
            return Some("which access of several runs into the segment limit is not said");
        }
        let selector = matches!(
            instruction.code(),
            Code::Pushd_ES
                | Code::Pushd_CS
                | Code::Pushd_SS
                | Code::Pushd_DS
                | Code::Pushd_FS
                | Code::Pushd_GS
        );
        if selector && accesses.iter().any(|(_, linear)| linear % PAGE > PAGE - 4) {
            return Some("AMD writes 32 bits where Intel writes 16");
        }
        return None;
    }
    // A bit string's bits lie this far from its address at most.
    let reach = if instruction.op1_kind() == OpKind::Register {
        1 << 16
    } else {
        0
    };
    let carried = accesses.iter().any(|(memory, linear)| {
        let offset = offset(memory, *linear);
        let near =
            !is_canonical(offset.wrapping_sub(reach)) || !is_canonical(offset.wrapping_add(reach));
        near && segment_base(memory.segment()) != 0 && is_canonical(linear.wrapping_add(reach))
    });
    carried.then_some("AMD refuses a non-canonical offset even if base and offset are canonical")
}

fn vendor_near_branch(instruction: &Instruction, case: &Case) -> Option<&'static str> {
    let near = matches!(
        instruction.flow_control(),
        FlowControl::ConditionalBranch
            | FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Call
            | FlowControl::IndirectCall
            | FlowControl::Return
    );
    let narrow = case.mode == Mode::Long && prefixes(&case.bytes).contains(&0x66);
    (near && narrow)
        .then_some("AMD: an operand-size prefix makes a near branch 16 bits wide in 64-bit mode")
}

fn is_canonical(address: u64) -> bool {
    ((address << 16) as i64 >> 16) as u64 == address
}

/// The prefixes at the start of `bytes`, for 64-bit mode: REX before another prefix is ignored.
fn prefixes(bytes: &[u8]) -> &[u8] {
    let is_prefix = |byte: &&u8| {
        matches!(
            byte,
            0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
        )
    };
    let count = bytes.iter().take_while(is_prefix).count();
    &bytes[..count]
}

/// Features that the richest CPU model declares, and those whose encodings are hints: a CPU without
/// the feature executes them as a NOP or as the older instruction.
fn is_modelled(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    let declared = matches!(
        feature,
        F::INTEL8086
            | F::INTEL8086_ONLY
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::ADX
            | F::AES
            | F::AVX
            | F::AVX2
            | F::BMI1
            | F::BMI2
            | F::CLFLUSHOPT
            | F::CLFSH
            | F::CMOV
            | F::CMPXCHG16B
            | F::CPUID
            | F::CX8
            | F::F16C
            | F::FMA
            | F::FPU
            | F::FPU287
            | F::FPU387
            | F::FSGSBASE
            | F::FXSR
            | F::INVPCID
            | F::LZCNT
            | F::MMX
            | F::MOVBE
            | F::MSR
            | F::MULTIBYTENOP
            | F::PAUSE
            | F::PCLMULQDQ
            | F::POPCNT
            | F::PREFETCHW
            | F::RDPID
            | F::RDPMC
            | F::RDRAND
            | F::RDSEED
            | F::RDTSCP
            | F::SEP
            | F::SHA
            | F::SMAP
            | F::SSE
            | F::SSE2
            | F::SSE3
            | F::SSE4_1
            | F::SSE4_2
            | F::SSSE3
            | F::SYSCALL
            | F::TSC
            | F::XSAVE
    );
    let hint = matches!(
        feature,
        F::CET_IBT
            | F::CET_SS
            | F::CLDEMOTE
            | F::MPX
            | F::PREFETCHITI
            | F::PREFETCHWT1
            | F::WBNOINVD
    );
    declared || hint
}

/// Whether bytes that the decoder refuses are an opmask instruction or an EVEX encoding to a host
/// with AVX-512, which is less strict about unused fields.
pub fn may_be_avx512(bytes: &[u8]) -> bool {
    let (map, opcode) = match bytes[prefixes(bytes).len()..] {
        [0x62, ..] => return true,
        [0xc5, _, opcode, ..] => (1, opcode),
        [0xc4, map, _, opcode, ..] => (map & 31, opcode),
        _ => return false,
    };
    match map {
        1 => matches!(opcode, 0x41..=0x4b | 0x90..=0x93 | 0x98 | 0x99),
        3 => matches!(opcode, 0x30..=0x33),
        _ => false,
    }
}

/// The treatment of every `Code`, indexed by its number.
#[derive(Debug)]
pub struct Rules(Vec<Treatment>);

impl Default for Rules {
    fn default() -> Self {
        Self(Code::values().map(treatment).collect())
    }
}

impl Rules {
    /// The treatment of one form.
    pub fn of(&self, code: Code) -> Treatment {
        self.0[code as usize]
    }
}

fn treatment(code: Code) -> Treatment {
    let mnemonic = code.mnemonic();
    for (reason, mnemonics) in BY_MNEMONIC {
        if mnemonics.contains(&mnemonic) {
            return Treatment::Skip(reason);
        }
    }
    let mask = |kind: &OpCodeOperandKind| {
        use OpCodeOperandKind as K;
        matches!(
            kind,
            K::k_reg | K::kp1_reg | K::k_rm | K::k_vvvv | K::k_or_mem
        )
    };
    let op_code = code.op_code();
    match op_code.encoding() {
        EncodingKind::EVEX | EncodingKind::MVEX => Treatment::Absent(AVX512),
        EncodingKind::VEX if op_code.op_kinds().iter().any(mask) => Treatment::Absent(AVX512),
        _ if code
            .cpuid_features()
            .iter()
            .all(|feature| is_modelled(*feature)) =>
        {
            Treatment::Compare
        }
        _ => Treatment::Absent("no CPU model declares the feature"),
    }
}
