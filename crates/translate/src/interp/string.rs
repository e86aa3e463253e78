//! MOVS STOS LODS CMPS SCAS INS OUTS with their repeat prefixes.
//!
//! Each iteration commits its registers before the next begins, so a fault or an interrupt in the
//! middle leaves a state from which the instruction simply goes on. Long copies and fills take whole
//! runs within a page at once. A repeated instruction returns to the run loop after a bounded number
//! of iterations, with RIP still on it, so interrupts are not held up.

use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register};

use super::lower::Lowered;
use super::op::{Handler, Op};
use crate::cpu::exception::{Exec, StopReason};
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;
use crate::cpu::registers::{RAX, RCX, RDI, RDX, RIP, RSI};
use crate::cpu::segment::index;
use crate::cpu::{Cpu, flags};

/// Iterations (or bulk bytes, in pages) before interrupts are looked at again.
const CHUNK: u32 = 256;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    macro_rules! family {
        ($kind:ident, $size:expr) => {
            match $size {
                1 => run::<u8, $kind> as Handler,
                2 => run::<u16, $kind>,
                4 => run::<u32, $kind>,
                _ => run::<u64, $kind>,
            }
        };
    }
    let handler = match ins.mnemonic() {
        Mnemonic::Movsb => family!(Move, 1),
        Mnemonic::Movsw => family!(Move, 2),
        Mnemonic::Movsd if ins.code() == Code::Movsd_m32_m32 => family!(Move, 4),
        Mnemonic::Movsq => family!(Move, 8),
        Mnemonic::Stosb => family!(Store, 1),
        Mnemonic::Stosw => family!(Store, 2),
        Mnemonic::Stosd => family!(Store, 4),
        Mnemonic::Stosq => family!(Store, 8),
        Mnemonic::Lodsb => family!(Load, 1),
        Mnemonic::Lodsw => family!(Load, 2),
        Mnemonic::Lodsd => family!(Load, 4),
        Mnemonic::Lodsq => family!(Load, 8),
        Mnemonic::Cmpsb => family!(Compare, 1),
        Mnemonic::Cmpsw => family!(Compare, 2),
        Mnemonic::Cmpsd if ins.code() == Code::Cmpsd_m32_m32 => family!(Compare, 4),
        Mnemonic::Cmpsq => family!(Compare, 8),
        Mnemonic::Scasb => family!(Scan, 1),
        Mnemonic::Scasw => family!(Scan, 2),
        Mnemonic::Scasd => family!(Scan, 4),
        Mnemonic::Scasq => family!(Scan, 8),
        Mnemonic::Insb => family!(Input, 1),
        Mnemonic::Insw => family!(Input, 2),
        Mnemonic::Insd => family!(Input, 4),
        Mnemonic::Outsb => family!(Output, 1),
        Mnemonic::Outsw => family!(Output, 2),
        Mnemonic::Outsd => family!(Output, 4),
        _ => return None,
    };
    Lowered::keep_and_end(handler)
}

/// Where one execution of a string instruction stands.
struct Cursor {
    /// Mask of the address size: SI, ESI or RSI.
    mask: u64,
    /// Segment of the source operand.
    source_segment: usize,
    /// Added to the pointers after each iteration.
    step: u64,
}

impl Cursor {
    fn new<T: Int>(cpu: &Cpu, op: &Op) -> Self {
        let ins = op.instruction();
        let kinds = [ins.op0_kind(), ins.op1_kind()];
        let mask = if kinds
            .iter()
            .any(|k| matches!(k, OpKind::MemorySegRSI | OpKind::MemoryESRDI))
        {
            u64::MAX
        } else if kinds
            .iter()
            .any(|k| matches!(k, OpKind::MemorySegESI | OpKind::MemoryESEDI))
        {
            0xffff_ffff
        } else {
            0xffff
        };
        let backwards = cpu.system_flags & flags::DF != 0;
        Self {
            mask,
            source_segment: match ins.memory_segment() {
                Register::None => index::DS,
                segment => segment.number(),
            },
            step: if backwards {
                T::BYTES.wrapping_neg()
            } else {
                T::BYTES
            },
        }
    }

    /// Linear address of the source operand.
    fn source(&self, cpu: &mut Cpu, size: u64) -> Exec<u64> {
        let offset = cpu.regs[RSI] & self.mask;
        self.linear(cpu, self.source_segment, offset, size, false)
    }

    /// Linear address of the destination operand, always in ES.
    fn destination(&self, cpu: &mut Cpu, size: u64, write: bool) -> Exec<u64> {
        let offset = cpu.regs[RDI] & self.mask;
        self.linear(cpu, index::ES, offset, size, write)
    }

    fn linear(&self, cpu: &mut Cpu, seg: usize, offset: u64, size: u64, write: bool) -> Exec<u64> {
        if cpu.mode == crate::cpu::CodeMode::Bits64 {
            let base = if seg >= index::FS {
                cpu.seg_base[seg]
            } else {
                0
            };
            return Ok(base.wrapping_add(offset));
        }
        cpu.segmented(seg, offset, size, write)
    }

    /// Whether a run whose first element is known to be accessible wraps around nowhere and stays
    /// within its segment.
    fn fits(&self, cpu: &mut Cpu, seg: usize, register: usize, bytes: u64, write: bool) -> bool {
        let offset = cpu.regs[register] & self.mask;
        if bytes == 0 || bytes - 1 > self.mask - offset {
            return false;
        }
        let fits = self.linear(cpu, seg, offset, bytes, write).is_ok();
        if !fits {
            // The element beyond the limit faults when it is its turn.
            cpu.stop = StopReason::None;
        }
        fits
    }

    fn advance(&self, cpu: &mut Cpu, register: usize, iterations: u64) {
        let moved = cpu.regs[register].wrapping_add(self.step.wrapping_mul(iterations));
        self.replace(cpu, register, moved);
    }

    /// A register written in the address size: 16 bits keep the rest, 32 bits clear the upper half.
    fn replace(&self, cpu: &mut Cpu, register: usize, value: u64) {
        let kept = if self.mask == 0xffff {
            cpu.regs[register] & !0xffff
        } else {
            0
        };
        cpu.regs[register] = kept | value & self.mask;
    }
}

/// One string instruction.
trait StringOp {
    /// REPE/REPNE end on ZF.
    const COMPARES: bool = false;
    /// Executes once, or up to `limit` times at once; gives how often.
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, limit: u64) -> Exec<u64>;
}

struct Move;
struct Store;
struct Load;
struct Compare;
struct Scan;
struct Input;
struct Output;

fn run<T: Int, S: StringOp>(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let at = Cursor::new::<T>(cpu, op);
    let (repe, repne) = (ins.has_rep_prefix(), ins.has_repne_prefix());
    if !repe && !repne {
        return S::step::<T>(cpu, &at, 1).map(drop);
    }
    for _ in 0..CHUNK {
        let count = cpu.regs[RCX] & at.mask;
        if count == 0 {
            // A 32-bit count clears the upper half of RCX only if an iteration wrote it.
            return Ok(());
        }
        let done = S::step::<T>(cpu, &at, if stepping(cpu) { 1 } else { count })?;
        at.replace(cpu, RCX, count - done);
        if S::COMPARES && cpu.flags.zf() != repe {
            return Ok(());
        }
        if count == done {
            return Ok(());
        }
        if cpu.ops_end.is_null() || stepping(cpu) {
            // A device was touched, code was changed, or every iteration is a step for itself.
            break;
        }
    }
    cpu.regs[RIP] = cpu.regs[RIP].wrapping_sub(u64::from(op.len));
    // A chunk takes as long as thousands of instructions: the timers are due a look.
    cpu.budget = -1;
    Ok(())
}

/// Debug traps and data breakpoints are taken between iterations.
fn stepping(cpu: &Cpu) -> bool {
    cpu.events != 0
}

impl StringOp for Move {
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, limit: u64) -> Exec<u64> {
        let from = at.source(cpu, T::BYTES)?;
        let to = at.destination(cpu, T::BYTES, true)?;
        let done = match bulk_move::<T>(cpu, at, from, to, limit) {
            0 => {
                let value = cpu.read::<T>(from)?;
                cpu.write(to, value)?;
                1
            }
            many => many,
        };
        at.advance(cpu, RSI, done);
        at.advance(cpu, RDI, done);
        Ok(done)
    }
}

/// Iterations that lie in one source page and one destination page, forwards, and within their
/// segments: the common case of a long copy. Overlap at a distance below a host vector is left to
/// single steps, which have the right meaning for it.
fn bulk_move<T: Int>(cpu: &mut Cpu, at: &Cursor, from: u64, to: u64, limit: u64) -> u64 {
    if limit < 4 || at.step != T::BYTES {
        return 0;
    }
    let (Some((source, here)), Some((target, there))) = (cpu.bulk(from, false), cpu.bulk(to, true))
    else {
        return 0;
    };
    let count = limit.min(here / T::BYTES).min(there / T::BYTES);
    let bytes = count * T::BYTES;
    // A forward overlap repeats a pattern, which a block copy would not.
    let distance = (target.at as u64).wrapping_sub(source.at as u64);
    if distance < bytes
        || !at.fits(cpu, at.source_segment, RSI, bytes, false)
        || !at.fits(cpu, index::ES, RDI, bytes, true)
    {
        return 0;
    }
    // SAFETY: both runs lie within pages of RAM that the TLB vouches for.
    unsafe { std::ptr::copy(source.at, target.at, bytes as usize) };
    cpu.stored(&target, bytes);
    count
}

impl StringOp for Store {
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, limit: u64) -> Exec<u64> {
        let to = at.destination(cpu, T::BYTES, true)?;
        let value = cpu.get::<T>(RAX as u8 * 8);
        let done = match bulk_store(cpu, at, to, value, limit) {
            0 => {
                cpu.write(to, value)?;
                1
            }
            many => many,
        };
        at.advance(cpu, RDI, done);
        Ok(done)
    }
}

fn bulk_store<T: Int>(cpu: &mut Cpu, at: &Cursor, to: u64, value: T, limit: u64) -> u64 {
    if limit < 4 || at.step != T::BYTES {
        return 0;
    }
    let Some((target, there)) = cpu.bulk(to, true) else {
        return 0;
    };
    let count = limit.min(there / T::BYTES);
    if !at.fits(cpu, index::ES, RDI, count * T::BYTES, true) {
        return 0;
    }
    for i in 0..count {
        // SAFETY: the run lies within a page of RAM that the TLB vouches for.
        unsafe { value.store(target.at.add((i * T::BYTES) as usize)) };
    }
    cpu.stored(&target, count * T::BYTES);
    count
}

impl StringOp for Load {
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, _: u64) -> Exec<u64> {
        let from = at.source(cpu, T::BYTES)?;
        let value = cpu.read::<T>(from)?;
        cpu.set(RAX as u8 * 8, value);
        at.advance(cpu, RSI, 1);
        Ok(1)
    }
}

impl StringOp for Compare {
    const COMPARES: bool = true;

    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, _: u64) -> Exec<u64> {
        let left = at.source(cpu, T::BYTES)?;
        let a = cpu.read::<T>(left)?;
        let right = at.destination(cpu, T::BYTES, false)?;
        let b = cpu.read::<T>(right)?;
        cpu.flags = Flags::compare(a, b);
        at.advance(cpu, RSI, 1);
        at.advance(cpu, RDI, 1);
        Ok(1)
    }
}

impl StringOp for Scan {
    const COMPARES: bool = true;

    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, _: u64) -> Exec<u64> {
        let right = at.destination(cpu, T::BYTES, false)?;
        let b = cpu.read::<T>(right)?;
        cpu.flags = Flags::compare(cpu.get::<T>(RAX as u8 * 8), b);
        at.advance(cpu, RDI, 1);
        Ok(1)
    }
}

impl StringOp for Input {
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, _: u64) -> Exec<u64> {
        let port = cpu.regs[RDX] as u16;
        cpu.check_port(port, T::BYTES)?;
        let to = at.destination(cpu, T::BYTES, true)?;
        // The destination must be known to be writable before the port is read: reading has effects.
        cpu.probe_write(to, T::BYTES)?;
        let value = cpu.port_read(port, T::BYTES as u8)?;
        cpu.write(to, T::from_u64(value))?;
        at.advance(cpu, RDI, 1);
        Ok(1)
    }
}

impl StringOp for Output {
    fn step<T: Int>(cpu: &mut Cpu, at: &Cursor, _: u64) -> Exec<u64> {
        let port = cpu.regs[RDX] as u16;
        cpu.check_port(port, T::BYTES)?;
        let from = at.source(cpu, T::BYTES)?;
        let value = cpu.read::<T>(from)?;
        cpu.port_write(port, T::BYTES as u8, value.to_u64())?;
        at.advance(cpu, RSI, 1);
        Ok(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::exception::vector;
    use crate::cpu::registers::RIP;
    use crate::cpu::segment::SegmentExt;

    #[test]
    fn a_long_copy_stops_at_its_segments_limit() {
        // rep movsb and rep stosb with 32-bit addresses in real mode.
        for (code, register) in [([0xf3, 0x67, 0xa4], RSI), ([0xf3, 0x67, 0xaa], RDI)] {
            let mut cpu = Cpu::for_test();
            cpu.board.ram.write(0x100, &code).unwrap();
            let code_segment = cpu.seg[index::CS].real_mode(0);
            cpu.set_segment(index::CS, code_segment);
            cpu.regs[RIP] = 0x100;
            cpu.seg[index::DS].limit = 0x1f7f;
            cpu.seg[index::ES].limit = if register == RDI { 0x1f7f } else { 0xffff };
            (cpu.regs[RSI], cpu.regs[RDI], cpu.regs[RCX]) = (0x3000, 0x5000, 0x100);
            cpu.regs[register] = 0x1f70;
            let stop = (0..0x100)
                .map(|_| cpu.execute_one())
                .find(|stop| *stop != StopReason::None);
            assert!(matches!(stop, Some(StopReason::Exception(e)) if e.vector == vector::GP));
            assert_eq!((cpu.regs[register], cpu.regs[RCX]), (0x1f80, 0xf0));
        }
    }
}
