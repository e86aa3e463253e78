//! SHL SHR SAR ROL ROR RCL RCR SHLD SHRD.
//!
//! OF is defined only for counts of one; for others this computes it by the same formula, as current
//! processors do. A count of zero changes no flag.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::lower::{Lowered, by_size, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::Exec;
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;
use crate::cpu::registers::RCX;

/// A shift or rotation of one operand by a count already masked to 5 or 6 bits and not zero.
trait Shift {
    fn eval<T: Int>(flags: Flags, a: T, count: u32) -> (T, Flags);
}

struct Shl;
struct Shr;
struct Sar;
struct Rol;
struct Ror;
struct Rcl;
struct Rcr;

fn top<T: Int>(value: u64) -> bool {
    value >> (T::BITS - 1) & 1 != 0
}

impl Shift for Shl {
    #[inline(always)]
    fn eval<T: Int>(_: Flags, a: T, count: u32) -> (T, Flags) {
        let wide = u128::from(a.to_u64()) << count;
        let result = T::from_u64(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        (
            result,
            Flags::of_result(result, cf, cf != top::<T>(result.to_u64()), false),
        )
    }
}

impl Shift for Shr {
    #[inline(always)]
    fn eval<T: Int>(_: Flags, a: T, count: u32) -> (T, Flags) {
        let before = a.to_u64() >> (count - 1);
        let result = T::from_u64(before >> 1);
        let of = top::<T>(a.to_u64());
        (result, Flags::of_result(result, before & 1 != 0, of, false))
    }
}

impl Shift for Sar {
    #[inline(always)]
    fn eval<T: Int>(_: Flags, a: T, count: u32) -> (T, Flags) {
        let before = (a.sign_extend() as i64) >> (count - 1);
        let result = T::from_u64((before >> 1) as u64);
        (
            result,
            Flags::of_result(result, before & 1 != 0, false, false),
        )
    }
}

impl Shift for Rol {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T, count: u32) -> (T, Flags) {
        let n = count % T::BITS;
        let x = a.to_u64();
        let result = if n == 0 {
            x
        } else {
            x << n | x >> (T::BITS - n)
        };
        let result = T::from_u64(result);
        let cf = result.to_u64() & 1 != 0;
        (
            result,
            flags.with_cf_of(cf, cf != top::<T>(result.to_u64())),
        )
    }
}

impl Shift for Ror {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T, count: u32) -> (T, Flags) {
        let n = count % T::BITS;
        let x = a.to_u64();
        let result = if n == 0 {
            x
        } else {
            x >> n | x << (T::BITS - n)
        };
        let result = T::from_u64(result);
        let r = result.to_u64();
        (
            result,
            flags.with_cf_of(top::<T>(r), top::<T>(r) != top::<T>(r << 1)),
        )
    }
}

impl Shift for Rcl {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T, count: u32) -> (T, Flags) {
        let n = count % (T::BITS + 1);
        if n == 0 {
            let of = flags.cf() != top::<T>(a.to_u64());
            return (a, flags.with_cf_of(flags.cf(), of));
        }
        // Operand and carry as one number of BITS + 1 bits.
        let width = T::BITS + 1;
        let x = u128::from(a.to_u64()) | u128::from(flags.cf()) << T::BITS;
        let rotated = x << n | x >> (width - n);
        let result = T::from_u64(rotated as u64);
        let cf = rotated >> T::BITS & 1 != 0;
        (
            result,
            flags.with_cf_of(cf, cf != top::<T>(result.to_u64())),
        )
    }
}

impl Shift for Rcr {
    #[inline(always)]
    fn eval<T: Int>(flags: Flags, a: T, count: u32) -> (T, Flags) {
        let n = count % (T::BITS + 1);
        if n == 0 {
            let x = a.to_u64();
            return (
                a,
                flags.with_cf_of(flags.cf(), top::<T>(x) != top::<T>(x << 1)),
            );
        }
        let width = T::BITS + 1;
        let x = u128::from(a.to_u64()) | u128::from(flags.cf()) << T::BITS;
        let rotated = x >> n | x << (width - n);
        let result = T::from_u64(rotated as u64);
        let r = result.to_u64();
        let cf = rotated >> T::BITS & 1 != 0;
        (
            result,
            flags.with_cf_of(cf, top::<T>(r) != top::<T>(r << 1)),
        )
    }
}

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::Shl | Mnemonic::Sal => pick::<Shl>(ins),
        Mnemonic::Shr => pick::<Shr>(ins),
        Mnemonic::Sar => pick::<Sar>(ins),
        Mnemonic::Rol => pick::<Rol>(ins),
        Mnemonic::Ror => pick::<Ror>(ins),
        Mnemonic::Rcl => pick::<Rcl>(ins),
        Mnemonic::Rcr => pick::<Rcr>(ins),
        Mnemonic::Shld => pick_double::<true>(ins),
        Mnemonic::Shrd => pick_double::<false>(ins),
        _ => return None,
    })
}

fn pick<O: Shift>(ins: &Instruction) -> Handler {
    let size = operand_size(ins, 0);
    let by_cl = ins.op1_kind() == OpKind::Register && ins.op1_register() == Register::CL;
    match (ins.op0_kind(), by_cl) {
        (OpKind::Register, false) => by_size!(size, reg_imm, O),
        (OpKind::Register, true) => by_size!(size, reg_cl, O),
        (_, false) => by_size!(size, mem_imm, O),
        (_, true) => by_size!(size, mem_cl, O),
    }
}

fn masked<T: Int>(count: u64) -> u32 {
    (count & if T::BITS == 64 { 63 } else { 31 }) as u32
}

#[inline(always)]
fn shift_register<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op, count: u32) -> Exec {
    let a = cpu.get::<T>(op.dst);
    let (result, flags) = if count == 0 {
        (a, cpu.flags)
    } else {
        O::eval(cpu.flags, a, count)
    };
    cpu.flags = flags;
    // Written even for a count of zero: a 32-bit form still clears the upper half.
    cpu.set(op.dst, result);
    Ok(())
}

#[inline(always)]
fn shift_memory<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op, count: u32) -> Exec {
    let gva = cpu.address(op, T::BYTES, true)?;
    cpu.modify(gva, |flags, a: T| {
        let shifted = if count == 0 {
            (a, flags)
        } else {
            O::eval(flags, a, count)
        };
        shifted.into()
    })
}

fn reg_imm<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op) -> Exec {
    shift_register::<T, O>(cpu, op, masked::<T>(op.imm))
}

fn reg_cl<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op) -> Exec {
    let count = masked::<T>(cpu.regs[RCX]);
    shift_register::<T, O>(cpu, op, count)
}

fn mem_imm<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op) -> Exec {
    shift_memory::<T, O>(cpu, op, masked::<T>(op.imm))
}

fn mem_cl<T: Int, O: Shift>(cpu: &mut Cpu, op: &Op) -> Exec {
    let count = masked::<T>(cpu.regs[RCX]);
    shift_memory::<T, O>(cpu, op, count)
}

fn pick_double<const LEFT: bool>(ins: &Instruction) -> Handler {
    macro_rules! sized {
        ($t:ty) => {
            match (ins.op0_kind(), ins.op2_kind()) {
                (OpKind::Register, OpKind::Register) => double_reg::<$t, LEFT, true>,
                (OpKind::Register, _) => double_reg::<$t, LEFT, false>,
                (_, OpKind::Register) => double_mem::<$t, LEFT, true>,
                _ => double_mem::<$t, LEFT, false>,
            }
        };
    }
    match operand_size(ins, 0) {
        2 => sized!(u16),
        4 => sized!(u32),
        _ => sized!(u64),
    }
}

/// SHLD and SHRD. A 16-bit operand shifted by more than 16 is undefined; processors then go on
/// shifting in the destination's own bits, as this does.
#[inline(always)]
fn double<T: Int, const LEFT: bool>(flags: Flags, a: T, b: T, count: u32) -> (T, Flags) {
    if count == 0 {
        return (a, flags);
    }
    let (x, y) = (u128::from(a.to_u64()), u128::from(b.to_u64()));
    let bits = T::BITS;
    let (result, cf) = if LEFT {
        // a:b:a, of which the top operand is wanted after the shift.
        let wide = (x << (2 * bits % 128) | y << bits | x) << count;
        if bits == 64 {
            let low = x << 64 | y;
            ((low << count >> 64) as u64, x >> (64 - count) & 1 != 0)
        } else {
            ((wide >> (2 * bits)) as u64, wide >> (3 * bits) & 1 != 0)
        }
    } else {
        let wide = if bits == 64 {
            y << 64 | x
        } else {
            x << (2 * bits) | y << bits | x
        };
        ((wide >> count) as u64, wide >> (count - 1) & 1 != 0)
    };
    let result = T::from_u64(result);
    let of = top::<T>(result.to_u64()) != top::<T>(a.to_u64());
    (result, Flags::of_result(result, cf, of, false))
}

fn double_count<T: Int, const CL: bool>(cpu: &Cpu, op: &Op) -> u32 {
    masked::<T>(if CL { cpu.regs[RCX] } else { op.imm })
}

fn double_reg<T: Int, const LEFT: bool, const CL: bool>(cpu: &mut Cpu, op: &Op) -> Exec {
    let count = double_count::<T, CL>(cpu, op);
    let (a, b) = (cpu.get::<T>(op.dst), cpu.get::<T>(op.src));
    let (result, flags) = double::<T, LEFT>(cpu.flags, a, b, count);
    cpu.flags = flags;
    cpu.set(op.dst, result);
    Ok(())
}

fn double_mem<T: Int, const LEFT: bool, const CL: bool>(cpu: &mut Cpu, op: &Op) -> Exec {
    let count = double_count::<T, CL>(cpu, op);
    let b = cpu.get::<T>(op.src);
    let gva = cpu.address(op, T::BYTES, true)?;
    cpu.modify(gva, |flags, a: T| {
        double::<T, LEFT>(flags, a, b, count).into()
    })
}
