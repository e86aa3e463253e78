//! The code around one instruction: load guest state, run it, store what it wrote.
//!
//! Registers of a thunk: RDI the frame, RSI the staging buffer, R9 scratch for flags, R10 the
//! general registers, R11 the vector state. All are caller-saved, and so are the registers the
//! rewritten instruction uses, so nothing is pushed. Only what the instruction reads or may leave
//! partly unwritten is loaded; x87 and MMX go through FXRSTOR64/FXSAVE64 of the whole image.

use std::mem::offset_of;

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

use super::area::{FDP, FIP, FOP, GUEST_MXCSR_MASK, MXCSR, MXCSR_MASK, XMM, YMM_HIGH};
use super::isa::{HostKind, Isa};
use super::op::HostFrame;
use super::rewrite::{MEMORY, Rewritten};

const FRAME: Register = Register::RDI;
const FLAGS: Register = Register::R9;
const GPRS: Register = Register::R10;
const AREA: Register = Register::R11;
/// The status flags of RFLAGS: what POPFQ may take from the guest.
const STATUS_FLAGS: u32 = 0x8D5;

/// Position-independent machine code of the thunk, callable as `extern "sysv64" fn(*mut HostFrame)`.
pub(super) fn emit(work: &Rewritten, isa: Isa, simd_fp: bool) -> Result<Vec<u8>, IcedError> {
    let whole_image = matches!(isa.kind, HostKind::X87 | HostKind::Mmx);
    let mut body = Sequence::new()?;
    load(&mut body, work, isa, simd_fp, whole_image)?;
    body.add(Ok(work.ins))?;
    if work.flags_written != 0 {
        body.add(Ok(Instruction::with(Code::Pushfq)))?;
        body.add(Instruction::with1(Code::Pop_r64, FLAGS))?;
    }
    let commit = store(work, isa, whole_image)?;
    if simd_fp {
        decide(&mut body, whole_image, commit.len())?;
    }
    body.append(&commit);
    leave(&mut body, work, isa, whole_image)?;
    Ok(body.finish())
}

fn load(
    code: &mut Sequence,
    work: &Rewritten,
    isa: Isa,
    simd_fp: bool,
    whole_image: bool,
) -> Result<(), IcedError> {
    if whole_image || !work.vectors.is_empty() {
        code.load(AREA, FRAME, offset_of!(HostFrame, vec))?;
    }
    if whole_image {
        code.memory(Code::Fnstcw_m2byte, FRAME, offset_of!(HostFrame, host_fcw))?;
        code.memory(Code::Stmxcsr_m32, FRAME, offset_of!(HostFrame, host_mxcsr))?;
        // FXRSTOR64 faults on bits that MXCSR does not have.
        let mxcsr = at(AREA, MXCSR);
        code.add(Instruction::with2(
            Code::And_rm32_imm32,
            mxcsr,
            GUEST_MXCSR_MASK,
        ))?;
        code.memory(Code::Fxrstor64_m512byte, AREA, 0)?;
    } else if simd_fp {
        code.memory(Code::Stmxcsr_m32, FRAME, offset_of!(HostFrame, host_mxcsr))?;
    }
    if simd_fp {
        code.memory(Code::Ldmxcsr_m32, FRAME, offset_of!(HostFrame, mxcsr_run))?;
    }
    for vector in work.vectors.iter().filter(|_| !whole_image) {
        let (low, high) = (
            at(AREA, XMM + 16 * vector.index),
            at(AREA, YMM_HIGH + 16 * vector.index),
        );
        let xmm = Register::XMM0 + vector.index as u32;
        let ymm = Register::YMM0 + vector.index as u32;
        if isa.vex {
            code.add(Instruction::with2(Code::VEX_Vmovdqu_xmm_xmmm128, xmm, low))?;
        } else {
            code.add(Instruction::with2(Code::Movups_xmm_xmmm128, xmm, low))?;
        }
        if vector.wide {
            let insert = Code::VEX_Vinsertf128_ymm_ymm_xmmm128_imm8;
            code.add(Instruction::with4(insert, ymm, ymm, high, 1))?;
        }
    }
    if !work.gprs.is_empty() {
        code.load(GPRS, FRAME, offset_of!(HostFrame, gpr))?;
    }
    for gpr in &work.gprs {
        if gpr.high_byte {
            let byte = at(GPRS, 8 * gpr.guest + 1);
            code.add(Instruction::with2(Code::Movzx_r64_rm8, gpr.host, byte))?;
        } else {
            code.load(gpr.host, GPRS, 8 * gpr.guest)?;
        }
    }
    if work.memory.is_some() {
        code.load(MEMORY, FRAME, offset_of!(HostFrame, mem))?;
    }
    if work.flags_read != 0 {
        code.load(FLAGS, FRAME, offset_of!(HostFrame, rflags))?;
        code.add(Instruction::with2(
            Code::And_rm64_imm32,
            FLAGS,
            STATUS_FLAGS as i32,
        ))?;
        code.add(Instruction::with1(Code::Push_r64, FLAGS))?;
        code.add(Ok(Instruction::with(Code::Popfq)))?;
    }
    Ok(())
}

/// Hands the raised SIMD exceptions to the frame and skips the `commit_length` bytes that follow
/// when one of them is unmasked.
fn decide(code: &mut Sequence, whole_image: bool, commit_length: usize) -> Result<(), IcedError> {
    code.memory(Code::Stmxcsr_m32, FRAME, offset_of!(HostFrame, simd_raised))?;
    if whole_image {
        // FXSAVE64 is about to store MXCSR: put the guest's own back.
        code.memory(Code::Ldmxcsr_m32, AREA, MXCSR)?;
    } else {
        code.memory(Code::Ldmxcsr_m32, FRAME, offset_of!(HostFrame, host_mxcsr))?;
    }
    let raised = at(FRAME, offset_of!(HostFrame, simd_raised));
    code.add(Instruction::with2(
        Code::Mov_r32_rm32,
        Register::R10D,
        raised,
    ))?;
    let unmasked = at(FRAME, offset_of!(HostFrame, simd_unmasked));
    code.add(Instruction::with2(
        Code::Test_rm32_r32,
        unmasked,
        Register::R10D,
    ))?;
    code.skip_if_not_zero(commit_length)
}

fn store(work: &Rewritten, isa: Isa, whole_image: bool) -> Result<Vec<u8>, IcedError> {
    let mut code = Sequence::new()?;
    for vector in work.vectors.iter().filter(|v| v.written && !whole_image) {
        let (low, high) = (
            at(AREA, XMM + 16 * vector.index),
            at(AREA, YMM_HIGH + 16 * vector.index),
        );
        let xmm = Register::XMM0 + vector.index as u32;
        let ymm = Register::YMM0 + vector.index as u32;
        if isa.vex {
            // A VEX instruction writes all 256 bits, zeros where the result is narrower.
            code.add(Instruction::with2(Code::VEX_Vmovdqu_xmmm128_xmm, low, xmm))?;
            let extract = Code::VEX_Vextractf128_xmmm128_ymm_imm8;
            code.add(Instruction::with3(extract, high, ymm, 1))?;
        } else {
            code.add(Instruction::with2(Code::Movups_xmmm128_xmm, low, xmm))?;
        }
    }
    if whole_image {
        code.memory(Code::Fxsave64_m512byte, AREA, 0)?;
        // The pointers are those of the thunk, and the mask is the host's: neither is the guest's.
        code.add(Instruction::with2(Code::Mov_rm16_imm16, at(AREA, FOP), 0))?;
        code.add(Instruction::with2(Code::Mov_rm64_imm32, at(AREA, FIP), 0))?;
        code.add(Instruction::with2(Code::Mov_rm64_imm32, at(AREA, FDP), 0))?;
        let mask = at(AREA, MXCSR_MASK);
        code.add(Instruction::with2(
            Code::Mov_rm32_imm32,
            mask,
            GUEST_MXCSR_MASK,
        ))?;
    }
    if work.gprs.iter().any(|gpr| gpr.written) {
        code.load(GPRS, FRAME, offset_of!(HostFrame, gpr))?;
    }
    for gpr in work.gprs.iter().filter(|gpr| gpr.written) {
        let slot = at(GPRS, 8 * gpr.guest);
        code.add(Instruction::with2(Code::Mov_rm64_r64, slot, gpr.host))?;
    }
    if work.flags_written != 0 {
        let rflags = at(FRAME, offset_of!(HostFrame, rflags));
        let written = work.flags_written as i32;
        code.add(Instruction::with2(Code::And_rm64_imm32, FLAGS, written))?;
        code.add(Instruction::with2(Code::And_rm64_imm32, rflags, !written))?;
        code.add(Instruction::with2(Code::Or_rm64_r64, rflags, FLAGS))?;
    }
    Ok(code.finish())
}

fn leave(
    code: &mut Sequence,
    work: &Rewritten,
    isa: Isa,
    whole_image: bool,
) -> Result<(), IcedError> {
    if whole_image {
        // FNINIT also drops a pending unmasked exception, which FLDCW would deliver to the host.
        code.add(Ok(Instruction::with(Code::Fninit)))?;
        code.memory(Code::Fldcw_m2byte, FRAME, offset_of!(HostFrame, host_fcw))?;
        code.memory(Code::Ldmxcsr_m32, FRAME, offset_of!(HostFrame, host_mxcsr))?;
    }
    if matches!(
        work.ins.code(),
        Code::Cvtpi2ps_xmm_mmm64 | Code::Cvtpi2pd_xmm_mmm64
    ) && !whole_image
    {
        // From memory, some processors still put the x87 registers, here the host's, in MMX state.
        code.add(Ok(Instruction::with(Code::Emms)))?;
    }
    if isa.kind == HostKind::Avx {
        code.add(Ok(Instruction::with(Code::VEX_Vzeroupper)))?;
    }
    code.add(Ok(Instruction::with(Code::Retnq)))
}

fn at(base: Register, offset: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, offset as i64)
}

/// Machine code under construction.
struct Sequence {
    encoder: Encoder,
    length: usize,
}

impl Sequence {
    fn new() -> Result<Self, IcedError> {
        Ok(Sequence {
            encoder: Encoder::try_with_capacity(64, 256)?,
            length: 0,
        })
    }

    fn add(&mut self, ins: Result<Instruction, IcedError>) -> Result<(), IcedError> {
        self.length += self.encoder.encode(&ins?, self.length as u64)?;
        Ok(())
    }

    /// `mov to, [base + offset]`
    fn load(&mut self, to: Register, base: Register, offset: usize) -> Result<(), IcedError> {
        self.add(Instruction::with2(Code::Mov_r64_rm64, to, at(base, offset)))
    }

    /// An instruction whose one operand is `[base + offset]`.
    fn memory(&mut self, code: Code, base: Register, offset: usize) -> Result<(), IcedError> {
        self.add(Instruction::with1(code, at(base, offset)))
    }

    /// Jumps over the next `distance` bytes when ZF is clear.
    fn skip_if_not_zero(&mut self, distance: usize) -> Result<(), IcedError> {
        const JNE_REL32_LENGTH: usize = 6;
        let target = (self.length + JNE_REL32_LENGTH + distance) as u64;
        self.add(Instruction::with_branch(Code::Jne_rel32_64, target))
    }

    /// Adds code that has no position-dependent parts.
    fn append(&mut self, code: &[u8]) {
        for &byte in code {
            self.encoder.write_u8(byte);
        }
        self.length += code.len();
    }

    fn finish(mut self) -> Vec<u8> {
        self.encoder.take_buffer()
    }
}
