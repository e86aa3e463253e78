//! Executing one guest x87, MMX, SSE, AVX, BMI, AES, SHA or CRC32 instruction on the host
//! processor, over guest state that is in memory.
//!
//! The interpreter has no SIMD semantics of its own: [`HostExec::compile`] wraps the instruction
//! in a thunk that loads just the registers it uses, runs it with its memory operand replaced by a
//! staging buffer, and stores just the registers it writes. Guest memory is never touched here.
//!
//! To execute an instruction the interpreter
//! 1. compiles it (once per decoded instruction) and makes the checks that [`Isa`] names;
//! 2. checks `mem_align`, and for `mem_write` proves the guest address writable, so that nothing
//!    can fault after the run has changed registers;
//! 3. copies the operand into the staging buffer if `mem_read`, and RFLAGS into the frame if
//!    `flags_read | flags_written` is not zero;
//! 4. calls [`HostOp::run`] and acts on the [`Outcome`]; on `Done` it writes the staging buffer
//!    back if `mem_write`, and RFLAGS if `flags_written` is not zero.
//!
//! Instructions whose `special` is not `None` go through [`run_special`] in place of steps 2–4.
//!
//! After every x87 and MMX instruction the last-instruction pointers of the image (FIP, FDP, FCS,
//! FDS, FOP) are zero: the real ones would be those of the thunk.

use std::collections::HashMap;
use std::io;

use iced_x86::{Instruction, InstructionInfoFactory};

mod area;
mod code_buffer;
mod host_x87;
mod isa;
mod mxcsr;
mod op;
mod operand;
mod rewrite;
mod special;
mod thunk;

pub(crate) use area::{
    ERROR_SUMMARY as X87_ERROR_SUMMARY, MXCSR as MXCSR_OFFSET, XMM as VECTOR_LOW_OFFSET,
    YMM_HIGH as VECTOR_HIGH_OFFSET,
};
pub use area::{GUEST_MXCSR_MASK, XsaveArea};
pub(crate) use host_x87::host_keeps_x87;
pub use isa::{Feature, FeatureSet, HostKind, Isa, host_features, required_isa};
pub use op::{HostFrame, HostOp, Outcome};
pub(crate) use operand::required_alignment;
pub use special::{GuestBytes, Special, clear_registers, run_special};

use code_buffer::CodeBuffer;

/// Why an instruction was not compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompileError {
    /// Not one of the extensions executed here, or the host lacks it.
    Unsupported,
    /// The code buffer is full: drop all [`HostOp`]s, [`HostExec::reset`], compile again.
    Full,
}

/// Compiles instructions to thunks. One per vCPU: ops stay valid until `reset` or drop.
pub struct HostExec {
    buffer: CodeBuffer,
    facts: InstructionInfoFactory,
    compiled: HashMap<Instruction, HostOp>,
}

impl HostExec {
    /// A compiler with room for `capacity` bytes of thunks (about 100 to 250 bytes each).
    ///
    /// # Errors
    /// The host's refusal to make or map the memory file.
    pub fn new(capacity: usize) -> io::Result<Self> {
        Ok(HostExec {
            buffer: CodeBuffer::new(capacity)?,
            facts: InstructionInfoFactory::new(),
            compiled: HashMap::new(),
        })
    }

    /// Compiles `ins`, decoded in 16-, 32- or 64-bit mode. Instructions that differ only in
    /// address and addressing mode share a thunk, so compiling one again is a look-up.
    ///
    /// # Errors
    /// See [`CompileError`].
    pub fn compile(&mut self, ins: &Instruction) -> Result<HostOp, CompileError> {
        let normal = rewrite::normal_form(ins);
        if let Some(op) = self.compiled.get(&normal) {
            return Ok(*op);
        }
        let isa = required_isa(ins)
            .filter(|isa| host_features().contains(isa.features))
            .ok_or(CompileError::Unsupported)?;
        let special = Special::of(ins);
        let mut op = HostOp {
            entry: no_thunk,
            kind: isa.kind,
            isa,
            mem_size: 0,
            mem_read: false,
            mem_write: false,
            mem_align: 1,
            flags_read: 0,
            flags_written: 0,
            may_raise_simd_fp: false,
            x87_waits: operand::waits_for_x87(ins, isa.kind),
            special,
        };
        if special != Special::None {
            return Ok(op);
        }
        let mut plain = normal;
        plain.set_code(operand::without_streaming(normal.code()));
        let work = rewrite::rewrite(&plain, &mut self.facts).ok_or(CompileError::Unsupported)?;
        op.may_raise_simd_fp = mxcsr::uses_mxcsr(ins);
        op.flags_read = work.flags_read;
        op.flags_written = work.flags_written;
        if let Some(access) = work.memory {
            op.mem_size = ins.memory_size().size() as u16;
            op.mem_read = rewrite::is_read(access);
            op.mem_write = rewrite::is_write(access);
            op.mem_align = operand::required_alignment(ins, isa);
        }
        let code =
            thunk::emit(&work, isa, op.may_raise_simd_fp).map_err(|_| CompileError::Unsupported)?;
        let entry = self.buffer.append(&code).ok_or(CompileError::Full)?;
        // SAFETY: the address is that of a complete thunk, which has this signature.
        op.entry = unsafe {
            std::mem::transmute::<*mut u8, unsafe extern "sysv64" fn(*mut HostFrame)>(
                entry.as_ptr(),
            )
        };
        self.compiled.insert(normal, op);
        Ok(op)
    }

    /// Drops all compiled code. Every [`HostOp`] from before must not be run again.
    pub fn reset(&mut self) {
        self.compiled.clear();
        self.buffer.clear();
    }
}

/// Stands in for the thunk of a special instruction.
unsafe extern "sysv64" fn no_thunk(_: *mut HostFrame) {}

#[cfg(test)]
mod tests;
