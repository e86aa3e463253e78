//! x87, MMX, SSE, AVX, BMI and the like: executed on the host over the guest's registers.

use iced_x86::Instruction;

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::{Exec, Stop, vector};
use crate::cpu::flags::Flags;
use crate::cpu::registers::RIP;
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu, cr, event};
use crate::hostexec::{
    CompileError, GuestBytes, HostFrame, HostKind, HostOp, Isa, Outcome, Special, clear_registers,
    run_special,
};

/// Bytes of the staging buffer: the largest operand is an FSAVE image of 108 bytes.
const STAGING: usize = 128;

#[repr(C, align(64))]
struct Staging([u8; STAGING]);

pub(super) fn lower(cpu: &mut Cpu, ins: &Instruction) -> Option<Lowered> {
    match cpu.host.compile(ins) {
        Ok(host) => Some(Lowered {
            run: execute,
            keep: true,
            ends: false,
            host: Some(host),
        }),
        Err(CompileError::Full) => Lowered::ends(make_room),
        Err(CompileError::Unsupported) => None,
    }
}

/// The thunk buffer is full: everything compiled and decoded is dropped at the next instruction
/// boundary, and the instruction is then decoded again.
fn make_room(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.events |= event::DROP_CODE;
    cpu.regs[RIP] = cpu.regs[RIP].wrapping_sub(u64::from(op.len));
    Ok(())
}

fn check(cpu: &mut Cpu, isa: &Isa) -> Exec {
    let switched = cpu.cr0 & cr::CR0_TS != 0;
    let emulated = cpu.cr0 & cr::CR0_EM != 0;
    if !cpu.features.host.contains(isa.features) || isa.vex && !cpu.protected() {
        return cpu.undefined();
    }
    match isa.kind {
        HostKind::Gpr => return Ok(()),
        HostKind::X87 => {
            return if switched || emulated {
                cpu.fault(vector::NM, None)
            } else {
                Ok(())
            };
        }
        HostKind::Mmx | HostKind::Sse => {
            if emulated || isa.needs_osfxsr && cpu.cr4 & cr::CR4_OSFXSR == 0 {
                return cpu.undefined();
            }
        }
        HostKind::Avx => {
            const SSE_AND_AVX: u64 = 6;
            if cpu.cr4 & cr::CR4_OSXSAVE == 0 || cpu.xcr0 & SSE_AND_AVX != SSE_AND_AVX {
                return cpu.undefined();
            }
        }
    }
    if switched {
        cpu.fault(vector::NM, None)
    } else {
        Ok(())
    }
}

fn execute(cpu: &mut Cpu, op: &Op) -> Exec {
    let Some(host) = op.extra.as_ref().and_then(|extra| extra.host) else {
        return cpu.undefined();
    };
    check(cpu, &host.isa)?;
    if host.x87_waits && cpu.vectors.x87_unmasked() != 0 {
        // Before the operand is touched: #MF comes before any fault of it.
        return cpu.fault(vector::MF, None);
    }
    match host.special {
        Special::None => {}
        Special::ZeroUpper | Special::ZeroAll => {
            clear_registers(op.instruction(), &mut cpu.vectors);
            return Ok(());
        }
        _ => return execute_special(cpu, op, &host),
    }
    let mut staging = Staging([0; STAGING]);
    let size = usize::from(host.mem_size).min(STAGING);
    let mut gva = 0;
    if size > 0 {
        gva = cpu.address(op, size as u64, host.mem_write)?;
        if gva & (u64::from(host.mem_align) - 1) != 0 {
            return cpu.gp(0);
        }
        cpu.check_operand(gva, size as u64, checked_alignment(size))?;
        if host.mem_write {
            cpu.probe_write(gva, size as u64)?;
        }
        if host.mem_read {
            cpu.read_bytes(gva, &mut staging.0[..size])?;
        }
    }
    // A store that has to wait for a device runs again, and must find the registers as they were:
    // FSTP, for one, pops.
    let may_run_again = host.mem_write && !cpu.is_plain_store(gva, size as u64);
    let before = may_run_again.then(|| cpu.vectors.clone());
    let outcome = run(cpu, &host, &mut staging);
    match outcome {
        Outcome::Done if host.mem_write => {
            let stored = cpu.write_bytes(gva, &staging.0[..size]);
            if let (Err(_), Some(before)) = (&stored, before) {
                cpu.vectors = before;
            }
            stored
        }
        Outcome::Done | Outcome::DoneWithoutStore => Ok(()),
        Outcome::X87Pending => cpu.fault(vector::MF, None),
        Outcome::SimdException if cpu.cr4 & cr::CR4_OSXMMEXCPT != 0 => cpu.fault(vector::XM, None),
        Outcome::SimdException => cpu.undefined(),
    }
}

/// The alignment of an operand of `size` bytes where RFLAGS.AC asks for one (Intel SDM vol. 3, table
/// 6-7); vectors of 16 bytes and more are not asked (vol. 2, 2.7).
fn checked_alignment(size: usize) -> u64 {
    match size {
        2 | 4 | 8 => size as u64,
        // x87: double extended, and the environment and state images of both operand sizes.
        10 => 8,
        14 | 94 => 2,
        28 | 108 => 4,
        _ => 1,
    }
}

fn run(cpu: &mut Cpu, host: &HostOp, staging: &mut Staging) -> Outcome {
    let mut frame = HostFrame::new(
        cpu.regs.as_mut_ptr(),
        &mut *cpu.vectors,
        staging.0.as_mut_ptr(),
    );
    let touched = host.flags_read | host.flags_written;
    if touched != 0 {
        frame.rflags = cpu.flags.bits();
    }
    // SAFETY: `cpu.host` compiled the op and is reset only between blocks, when no op is left; the
    // pointers are to this vCPU's own registers and to a buffer of at least the operand's size.
    let outcome = unsafe { host.run(&mut frame) };
    if host.flags_written != 0 && outcome == Outcome::Done {
        let written = u64::from(host.flags_written);
        cpu.flags = Flags::from_bits(cpu.flags.bits() & !written | frame.rflags & written);
    }
    outcome
}

/// Guest memory for instructions that pick their own elements.
struct Elements<'a> {
    cpu: &'a mut Cpu,
    seg: usize,
}

impl GuestBytes for Elements<'_> {
    type Error = Stop;

    fn read(&mut self, ea: u64, into: &mut [u8]) -> Exec {
        let gva = self.cpu.segmented(self.seg, ea, into.len() as u64, false)?;
        self.cpu.read_bytes(gva, into)
    }

    fn probe_write(&mut self, ea: u64, length: usize) -> Exec {
        let gva = self.cpu.segmented(self.seg, ea, length as u64, true)?;
        self.cpu.probe_write(gva, length as u64)
    }

    fn write(&mut self, ea: u64, from: &[u8]) -> Exec {
        let gva = self.cpu.segmented(self.seg, ea, from.len() as u64, true)?;
        self.cpu.write_bytes(gva, from)
    }
}

/// Instructions whose memory accesses depend on register contents. The vector state is worked on in a
/// copy and put back whatever happens: a gather keeps the elements it finished.
fn execute_special(cpu: &mut Cpu, op: &Op, host: &HostOp) -> Exec {
    let mut registers = [0; 16];
    registers.copy_from_slice(&cpu.regs[..16]);
    let mut vectors = cpu.vectors.clone();
    let ins = op.instruction();
    // The lowering found the segment for explicit operands; MASKMOV's is implicit.
    let seg = if ins.op_count() > 0 && host.special == Special::ByteMaskedStore {
        segment_of(cpu, ins)
    } else {
        usize::from(op.seg)
    };
    let result = run_special(ins, &registers, &mut vectors, &mut Elements { cpu, seg });
    cpu.vectors = vectors;
    result
}

fn segment_of(cpu: &Cpu, ins: &Instruction) -> usize {
    let segment = ins.memory_segment().number();
    if cpu.mode == CodeMode::Bits64 && segment < index::FS {
        index::FLAT
    } else {
        segment
    }
}
