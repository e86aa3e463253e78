//! What becomes of each guest instruction.

use iced_x86::{Instruction, Mnemonic, OpKind, Register, RflagsBits};

use super::emit_x87;
use crate::hostexec::{FeatureSet, HostKind, Special, required_isa};
use crate::mmu::canonical;

/// The arithmetic flags.
pub(super) const ARITHMETIC: u32 = RflagsBits::OF
    | RflagsBits::SF
    | RflagsBits::ZF
    | RflagsBits::AF
    | RflagsBits::CF
    | RflagsBits::PF;

/// How an instruction is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Copied, its registers renamed and its memory operand redirected.
    Copy,
    /// As `Copy`, and it uses vector registers.
    Vector,
    /// x87 or MMX.
    X87,
    /// Nothing to do.
    Nop,
    Lea,
    Push,
    Pop,
    Leave,
    /// Shift or rotation by CL.
    ShiftByCl,
    /// One-operand MUL and IMUL.
    Multiply,
    /// DIV and IDIV.
    Divide,
    /// CBW to CQO.
    SignExtend,
    CompareExchange,
    /// MOVZX from AH, CH, DH or BH.
    HighByte,
    /// BT, BTS, BTR and BTC of memory with the offset in a register.
    BitOfString,
    PushFlags,
    ClearInterrupts,
    SetInterrupts,
    SwapGs,
    Jump,
    JumpIndirect,
    JumpIf,
    Call,
    CallIndirect,
    Return,
    /// Run by the interpreter; the block goes on behind it, or not.
    Interpret {
        ends: bool,
    },
}

impl Class {
    /// Nothing of the block follows.
    pub(super) fn ends(self) -> bool {
        matches!(
            self,
            Self::Jump
                | Self::JumpIndirect
                | Self::Call
                | Self::CallIndirect
                | Self::Return
                | Self::Interpret { ends: true }
        )
    }
}

const INTERPRET: Class = Class::Interpret { ends: false };

/// Chooses for one instruction of 64-bit code, for a guest that has `features` and, if `vectors`,
/// has its vector state set up so that nothing can trap; the same for `x87`.
pub(super) fn classify(
    ins: &Instruction,
    features: &FeatureSet,
    vectors: bool,
    x87: bool,
) -> Class {
    use Mnemonic::*;
    if ins.op0_kind() == OpKind::NearBranch64 && !canonical(ins.near_branch_target()) {
        // The branch itself faults.
        return Class::Interpret { ends: true };
    }
    if let Some(isa) = required_isa(ins) {
        return match isa.kind {
            _ if !features.contains(isa.features) => Class::Interpret { ends: true },
            // Strings compared by length take it from RAX and RDX and leave an index in RCX.
            _ if compares_strings(ins) => INTERPRET,
            // Conversions to integers from memory name no vector register, but obey MXCSR.
            HostKind::Gpr if converts(ins) && vectors => Class::Vector,
            HostKind::Gpr if converts(ins) => INTERPRET,
            // What cannot be repeated could not be checked.
            HostKind::Gpr if matches!(ins.mnemonic(), Rdrand | Rdseed) => INTERPRET,
            HostKind::Gpr => Class::Copy,
            HostKind::X87 | HostKind::Mmx if x87 && Special::of(ins) == Special::None => {
                emit_x87::class_of(ins.mnemonic(), isa.needs_osfxsr)
            }
            // From memory, some processors still enter MMX state.
            HostKind::Sse if matches!(ins.mnemonic(), Cvtpi2ps | Cvtpi2pd) => INTERPRET,
            HostKind::Sse | HostKind::Avx if vectors && runs_as_itself(ins) => Class::Vector,
            _ => INTERPRET,
        };
    }
    let operand = |n: u32, kind| n < ins.op_count() && ins.op_kind(n) == kind;
    match ins.mnemonic() {
        Nop | Endbr64 | Endbr32 | Fnop | Prefetchw | Prefetcht0 | Prefetcht1 | Prefetcht2
        | Prefetchnta | Reservednop => Class::Nop,
        Lea if ins.op0_register().size() >= 4 => Class::Lea,
        Movzx if is_high(ins.op1_register()) => Class::HighByte,
        Mov if (0..2).any(|n| operand(n, OpKind::Register) && !ins.op_register(n).is_gpr()) => {
            Class::Interpret { ends: true }
        }
        Mov | Movzx | Movsx | Movsxd | Add | Sub | Adc | Sbb | And | Or | Xor | Cmp | Test
        | Inc | Dec | Neg | Not | Shld | Shrd | Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr
            if (0..ins.op_count())
                .any(|n| operand(n, OpKind::Register) && ins.op_register(n) == Register::CL)
                && is_shift(ins.mnemonic()) =>
        {
            if operand(0, OpKind::Register) {
                Class::ShiftByCl
            } else {
                INTERPRET
            }
        }
        Bt | Bts | Btr | Btc if operand(0, OpKind::Memory) && operand(1, OpKind::Register) => {
            Class::BitOfString
        }
        Pushfq => Class::PushFlags,
        Cli => Class::ClearInterrupts,
        Sti => Class::SetInterrupts,
        Swapgs => Class::SwapGs,
        Mov | Movzx | Movsx | Movsxd | Add | Sub | Adc | Sbb | And | Or | Xor | Cmp | Test
        | Inc | Dec | Neg | Not | Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd
        | Bt | Bts | Btr | Btc | Clc | Stc | Cmc | Bsf | Bsr | Bswap | Xchg | Xadd | Lfence
        | Mfence | Sfence => Class::Copy,
        Seto | Setno | Setb | Setae | Sete | Setne | Setbe | Seta | Sets | Setns | Setp | Setnp
        | Setl | Setge | Setle | Setg | Cmovo | Cmovno | Cmovb | Cmovae | Cmove | Cmovne
        | Cmovbe | Cmova | Cmovs | Cmovns | Cmovp | Cmovnp | Cmovl | Cmovge | Cmovle | Cmovg => {
            Class::Copy
        }
        Imul if ins.op_count() > 1 => Class::Copy,
        Imul | Mul => Class::Multiply,
        Div | Idiv => Class::Divide,
        Cbw | Cwde | Cdqe | Cwd | Cdq | Cqo => Class::SignExtend,
        Cmpxchg => Class::CompareExchange,
        Push if ins.stack_pointer_increment() == -8 && !operand_is_segment(ins) => Class::Push,
        Pop if ins.stack_pointer_increment() == 8
            && operand(0, OpKind::Register)
            && !operand_is_segment(ins) =>
        {
            Class::Pop
        }
        Leave if ins.code() == iced_x86::Code::Leaveq => Class::Leave,
        Jmp if operand(0, OpKind::NearBranch64) => Class::Jump,
        Jmp if is_near_64(ins) => Class::JumpIndirect,
        Call if operand(0, OpKind::NearBranch64) => Class::Call,
        Call if is_near_64(ins) => Class::CallIndirect,
        Ret if matches!(
            ins.code(),
            iced_x86::Code::Retnq | iced_x86::Code::Retnq_imm16
        ) =>
        {
            Class::Return
        }
        _ if ins.is_jcc_short_or_near() && operand(0, OpKind::NearBranch64) => Class::JumpIf,
        Movsb | Movsw | Movsd | Movsq | Stosb | Stosw | Stosd | Stosq | Lodsb | Lodsw | Lodsd
        | Lodsq | Cmpsb | Cmpsw | Cmpsd | Cmpsq | Scasb | Scasw | Scasd | Scasq | Rdtsc
        | Rdtscp | Cpuid | Fxsave | Fxsave64 | Xsave | Xsave64 | Xsaveopt | Xsaveopt64 | Xsavec
        | Xsavec64 | Ldmxcsr | Stmxcsr | Vldmxcsr | Vstmxcsr | Lahf | Sahf | Cld | Std
        | Cmpxchg8b | Cmpxchg16b | Rdgsbase | Rdfsbase | Wrgsbase | Wrfsbase | Rdmsr | Clflush
        | Clflushopt | Xlatb | Pop | Push | Rdpid | Rdrand | Rdseed => INTERPRET,
        _ => Class::Interpret { ends: true },
    }
}

/// A vector instruction that one host instruction does exactly, traps aside.
fn runs_as_itself(ins: &Instruction) -> bool {
    matches!(
        Special::of(ins),
        Special::None | Special::ZeroUpper | Special::ZeroAll
    )
}

fn compares_strings(ins: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        ins.mnemonic(),
        Pcmpestri
            | Pcmpestri64
            | Pcmpestrm
            | Pcmpestrm64
            | Pcmpistri
            | Pcmpistrm
            | Vpcmpestri
            | Vpcmpestri64
            | Vpcmpestrm
            | Vpcmpestrm64
            | Vpcmpistri
            | Vpcmpistrm
    )
}

fn converts(ins: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(
        ins.mnemonic(),
        Cvtss2si
            | Cvttss2si
            | Cvtsd2si
            | Cvttsd2si
            | Vcvtss2si
            | Vcvttss2si
            | Vcvtsd2si
            | Vcvttsd2si
    )
}

fn is_near_64(ins: &Instruction) -> bool {
    (ins.is_jmp_near_indirect() || ins.is_call_near_indirect())
        && match ins.op0_kind() {
            OpKind::Register => ins.op0_register().size() == 8,
            _ => ins.memory_size().size() == 8,
        }
}

fn operand_is_segment(ins: &Instruction) -> bool {
    ins.op0_kind() == OpKind::Register && !ins.op0_register().is_gpr64()
}

fn is_shift(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd
    )
}

/// AH, CH, DH or BH.
pub(super) fn is_high(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}

/// What an instruction does to the arithmetic flags.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FlagUse {
    /// Reads them.
    pub(super) reads: u32,
    /// Changes them, perhaps.
    pub(super) writes: u32,
    /// Changes them whatever its operands are.
    pub(super) kills: u32,
}

impl FlagUse {
    pub(super) fn of(ins: &Instruction, class: Class) -> Self {
        let reads = ins.rflags_read() & ARITHMETIC;
        let writes = ins.rflags_modified() & ARITHMETIC;
        let kills = match class {
            Class::ShiftByCl | Class::Interpret { .. } => 0,
            // A count of 0 changes nothing.
            _ if is_shift(ins.mnemonic()) && count_is_zero(ins) => 0,
            _ => writes,
        };
        // Whatever runs outside the block may look at all of them.
        let reads = if class == (Class::Interpret { ends: true }) {
            ARITHMETIC
        } else {
            reads
        };
        Self {
            reads,
            writes,
            kills,
        }
    }
}

fn count_is_zero(ins: &Instruction) -> bool {
    let last = ins.op_count() - 1;
    let mask = if ins.op0_kind() == OpKind::Register && ins.op0_register().size() == 8
        || ins.op0_kind() == OpKind::Memory && ins.memory_size().size() == 8
    {
        63
    } else {
        31
    };
    // Narrow rotations count modulo their width, too; those are rare enough to be careful with.
    let narrow = match ins.op0_kind() {
        OpKind::Register => ins.op0_register().size() < 4,
        _ => ins.memory_size().size() < 4,
    };
    ins.op_kind(last) == OpKind::Immediate8 && (ins.immediate8() & mask == 0 || narrow)
}
