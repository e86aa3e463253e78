//! From bytes to an [`Op`]: the decoder's instruction is turned into operands that need no further
//! thought at run time, and the family it belongs to chooses the handler.

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

use super::op::{Addressing, Extra, Handler, Op};
use super::{
    alu, atomic, bits, branch, control, convert, far, flagops, io, legacy, mov, msr, muldiv,
    protect, segload, shift, stack, string, syscall, trap, vector, xsave,
};
use crate::cpu::exception::Exec;
use crate::cpu::registers::offset_of;
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu};
use crate::hostexec::{Feature, FeatureSet, HostOp};

/// Longest x86 instruction.
pub(super) const MAX_LENGTH: usize = 15;

/// What a family says of an instruction that is its own.
pub(super) struct Lowered {
    /// Executes it.
    pub(super) run: Handler,
    /// The handler wants the decoded instruction.
    pub(super) keep: bool,
    /// No other instruction of the block may follow without a look at the run loop's events.
    pub(super) ends: bool,
    /// Its thunk, if it is executed on the host.
    pub(super) host: Option<HostOp>,
}

impl Lowered {
    /// An ordinary instruction.
    pub(super) fn plain(run: Handler) -> Option<Self> {
        Some(Self {
            run,
            keep: false,
            ends: false,
            host: None,
        })
    }

    /// An instruction whose handler looks at its operands itself.
    pub(super) fn keep(run: Handler) -> Option<Self> {
        Some(Self {
            run,
            keep: true,
            ends: false,
            host: None,
        })
    }

    /// An instruction that may change where or how execution goes on.
    pub(super) fn ends(run: Handler) -> Option<Self> {
        Some(Self {
            run,
            keep: false,
            ends: true,
            host: None,
        })
    }

    /// Both.
    pub(super) fn keep_and_end(run: Handler) -> Option<Self> {
        Some(Self {
            run,
            keep: true,
            ends: true,
            host: None,
        })
    }
}

/// Picks the instance of a generic handler for an operand size in bytes.
macro_rules! by_size {
    ($size:expr, $handler:ident $(, $more:ty)*) => {
        match $size {
            1 => $handler::<u8 $(, $more)*> as $crate::interp::op::Handler,
            2 => $handler::<u16 $(, $more)*>,
            4 => $handler::<u32 $(, $more)*>,
            _ => $handler::<u64 $(, $more)*>,
        }
    };
}
pub(super) use by_size;

/// Size in bytes of an instruction's operand `n`.
pub(super) fn operand_size(ins: &Instruction, n: u32) -> usize {
    match ins.op_kind(n) {
        OpKind::Register => ins.op_register(n).size(),
        OpKind::Memory => ins.memory_size().size(),
        _ => 0,
    }
}

/// Decodes one instruction. `None` if `bytes` end inside it. The flag says that the block ends here.
pub(crate) fn decode(cpu: &mut Cpu, bytes: &[u8], ip: u64) -> Option<(Op, bool)> {
    let options = decoder_options(&cpu.features.host);
    let mut decoder = Decoder::with_ip(cpu.mode.bitness(), bytes, ip, options);
    let mut ins = decoder.decode();
    if is_exchange_with_r8(&ins, bytes, cpu.mode) {
        let options = options | DecoderOptions::NO_PAUSE;
        ins = Decoder::with_ip(64, bytes, ip, options).decode();
    }
    if ins.is_invalid() {
        return match decoder.last_error() {
            DecoderError::NoMoreBytes if bytes.len() < MAX_LENGTH => None,
            _ if runs_over_the_limit(cpu, bytes) => Some((bare(too_long, 15), true)),
            _ => Some((invalid(), true)),
        };
    }
    let Some(Lowered {
        run,
        keep,
        ends,
        host,
    }) = lower(cpu, &ins)
    else {
        return Some((invalid(), true));
    };
    let mut op = bare(run, ins.len() as u8);
    set_operands(&mut op, &ins, cpu.mode);
    if keep {
        op.extra = Some(Box::new(Extra {
            instruction: ins,
            host,
        }));
    }
    Some((op, ends))
}

/// More than 15 bytes is #GP, not #UD (Intel SDM vol. 2, 2.3.11). The decoder calls both invalid, but
/// with the last byte withheld it still asks for more only if nothing before it was wrong.
fn runs_over_the_limit(cpu: &Cpu, bytes: &[u8]) -> bool {
    let Some(most) = bytes.get(..MAX_LENGTH - 1) else {
        return false;
    };
    let mut decoder = Decoder::new(cpu.mode.bitness(), most, DecoderOptions::NONE);
    decoder.decode().is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes
}

/// F3 90 is PAUSE, but with REX.B it exchanges with R8, which the decoder does not look at.
fn is_exchange_with_r8(ins: &Instruction, bytes: &[u8], mode: CodeMode) -> bool {
    const REX_B: u8 = 0x41;
    let before_opcode = ins.len().checked_sub(2).and_then(|at| bytes.get(at));
    ins.mnemonic() == Mnemonic::Pause
        && mode == CodeMode::Bits64
        && before_opcode.is_some_and(|byte| byte & 0xf1 == REX_B)
}

/// Without BMI1 and LZCNT, processors ignore the prefix that makes TZCNT of BSF and LZCNT of BSR, and
/// compilers rely on it.
pub(crate) fn decoder_options(features: &FeatureSet) -> u32 {
    let mut options = DecoderOptions::NONE;
    if !features.has(Feature::Bmi1) {
        options |= DecoderOptions::NO_MPFX_0FBC;
    }
    if !features.has(Feature::Lzcnt) {
        options |= DecoderOptions::NO_MPFX_0FBD;
    }
    options
}

/// The instruction that raises #UD.
pub(super) fn invalid() -> Op {
    bare(undefined, 1)
}

fn lower(cpu: &mut Cpu, ins: &Instruction) -> Option<Lowered> {
    alu::lower(ins)
        .or_else(|| mov::lower(ins))
        .or_else(|| branch::lower(ins, cpu.mode))
        .or_else(|| stack::lower(ins, cpu.mode))
        .or_else(|| shift::lower(ins))
        .or_else(|| convert::lower(ins))
        .or_else(|| muldiv::lower(ins))
        .or_else(|| bits::lower(ins))
        .or_else(|| string::lower(ins))
        .or_else(|| atomic::lower(ins))
        .or_else(|| flagops::lower(ins))
        .or_else(|| io::lower(ins))
        .or_else(|| legacy::lower(ins))
        .or_else(|| trap::lower(ins))
        .or_else(|| syscall::lower(ins))
        .or_else(|| segload::lower(ins))
        .or_else(|| far::lower(ins))
        .or_else(|| protect::lower(ins))
        .or_else(|| control::lower(ins))
        .or_else(|| msr::lower(ins))
        .or_else(|| xsave::lower(ins))
        .or_else(|| vector::lower(cpu, ins))
}

fn bare(run: Handler, len: u8) -> Op {
    let zero = offset_of(Register::None);
    Op {
        run,
        imm: 0,
        disp: 0,
        base: zero,
        index: zero,
        scale: 0,
        seg: index::FLAT as u8,
        dst: zero,
        src: zero,
        len,
        addressing: Addressing::Plain,
        extra: None,
    }
}

fn set_operands(op: &mut Op, ins: &Instruction, mode: CodeMode) {
    let mut registers = 0;
    for n in 0..ins.op_count() {
        match ins.op_kind(n) {
            OpKind::Register if ins.op_register(n).is_gpr() => {
                let offset = offset_of(ins.op_register(n));
                match registers {
                    0 => op.dst = offset,
                    1 => op.src = offset,
                    _ => {}
                }
                registers += 1;
            }
            OpKind::Memory => set_memory(op, ins, mode),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                op.imm = ins.near_branch_target().wrapping_sub(ins.next_ip());
            }
            OpKind::Immediate8
            | OpKind::Immediate16
            | OpKind::Immediate32
            | OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => op.imm = ins.immediate(n),
            _ => {}
        }
    }
    // A memory destination leaves the only register as the source.
    if ins.op0_kind() == OpKind::Memory {
        op.src = op.dst;
    }
}

fn set_memory(op: &mut Op, ins: &Instruction, mode: CodeMode) {
    let (base, index_register) = (ins.memory_base(), ins.memory_index());
    let width = address_size(ins, mode);
    op.base = offset_of(base);
    op.index = if index_register.is_gpr() {
        offset_of(index_register)
    } else {
        offset_of(Register::None)
    };
    op.scale = ins.memory_index_scale().trailing_zeros() as u8;
    op.disp = ins.memory_displacement64();
    if base.is_ip() {
        // The decoder gives the absolute target; RIP is a register of the file here.
        op.disp = op.disp.wrapping_sub(ins.next_ip());
    }
    let segment = ins.memory_segment().number() as u8;
    op.seg = segment;
    op.addressing = match (mode, width) {
        (CodeMode::Bits64, 8) => Addressing::Plain,
        (CodeMode::Bits64, _) => Addressing::Long32,
        (_, 2) => Addressing::Segmented16,
        _ => Addressing::Segmented32,
    };
    if mode == CodeMode::Bits64 && usize::from(segment) < index::FS {
        op.seg = index::FLAT as u8;
    }
}

/// Bytes in the addresses of an instruction's memory operand.
pub(super) fn address_size(ins: &Instruction, mode: CodeMode) -> usize {
    let (base, index_register) = (ins.memory_base(), ins.memory_index());
    if base != Register::None {
        base.size()
    } else if index_register.is_gpr() {
        index_register.size()
    } else {
        match ins.memory_displ_size() {
            2 => 2,
            4 => 4,
            8 => 8,
            _ if mode == CodeMode::Bits64 => 8,
            _ => 4,
        }
    }
}

fn undefined(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.undefined()
}

fn too_long(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.gp(0)
}
