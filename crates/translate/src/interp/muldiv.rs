//! MUL IMUL DIV IDIV.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size, operand_size};
use super::op::{Handler, Op};
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::flags::Flags;
use crate::cpu::int::Int;
use crate::cpu::registers::{RAX, RDX};

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let size = operand_size(ins, 0);
    let register = ins.op0_kind() == OpKind::Register;
    Lowered::plain(match (ins.mnemonic(), ins.op_count()) {
        (Mnemonic::Mul, _) if register => by_size!(size, mul_reg, Unsigned),
        (Mnemonic::Mul, _) => by_size!(size, mul_mem, Unsigned),
        (Mnemonic::Imul, 1) if register => by_size!(size, mul_reg, Signed),
        (Mnemonic::Imul, 1) => by_size!(size, mul_mem, Signed),
        (Mnemonic::Imul, 2) => two_operands(ins, size),
        (Mnemonic::Imul, _) => three_operands(ins, size),
        (Mnemonic::Div, _) if register => by_size!(size, div_reg, Unsigned),
        (Mnemonic::Div, _) => by_size!(size, div_mem, Unsigned),
        (Mnemonic::Idiv, _) if register => by_size!(size, div_reg, Signed),
        (Mnemonic::Idiv, _) => by_size!(size, div_mem, Signed),
        _ => return None,
    })
}

trait Sign {
    /// The double-width product, and whether its high half is more than an extension of the low.
    fn multiply<T: Int>(a: T, b: T) -> (u128, bool);
    /// Quotient and remainder, or `None` for #DE.
    fn divide<T: Int>(dividend: u128, divisor: T) -> Option<(T, T)>;
}

struct Unsigned;
struct Signed;

impl Sign for Unsigned {
    #[inline(always)]
    fn multiply<T: Int>(a: T, b: T) -> (u128, bool) {
        let product = u128::from(a.to_u64()) * u128::from(b.to_u64());
        (product, product >> T::BITS != 0)
    }

    #[inline(always)]
    fn divide<T: Int>(dividend: u128, divisor: T) -> Option<(T, T)> {
        let divisor = u128::from(divisor.to_u64());
        // The common case fits a host division instruction.
        let (quotient, remainder) = if let Ok(low) = u64::try_from(dividend) {
            let divisor = divisor as u64;
            (
                u128::from(low.checked_div(divisor)?),
                u128::from(low % divisor),
            )
        } else {
            (dividend.checked_div(divisor)?, dividend % divisor)
        };
        (quotient >> T::BITS == 0)
            .then(|| (T::from_u64(quotient as u64), T::from_u64(remainder as u64)))
    }
}

impl Sign for Signed {
    #[inline(always)]
    fn multiply<T: Int>(a: T, b: T) -> (u128, bool) {
        let (a, b) = (
            i128::from(a.sign_extend() as i64),
            i128::from(b.sign_extend() as i64),
        );
        let product = a.wrapping_mul(b);
        let low = i128::from(T::from_u64(product as u64).sign_extend() as i64);
        (product as u128, low != product)
    }

    #[inline(always)]
    fn divide<T: Int>(dividend: u128, divisor: T) -> Option<(T, T)> {
        let unused = 128 - 2 * T::BITS;
        let dividend = (dividend << unused) as i128 >> unused;
        let divisor = i128::from(divisor.sign_extend() as i64);
        let quotient = dividend.checked_div(divisor)?;
        let remainder = dividend % divisor;
        let result = T::from_u64(quotient as u64);
        (i128::from(result.sign_extend() as i64) == quotient)
            .then(|| (result, T::from_u64(remainder as u64)))
    }
}

const ACCUMULATOR: u8 = RAX as u8 * 8;
const HIGH: u8 = RDX as u8 * 8;
const AH: u8 = ACCUMULATOR + 1;

/// SF, ZF, AF and PF are undefined after a multiplication; they are left as the low half implies.
#[inline(always)]
fn product_flags<T: Int>(low: T, overflow: bool) -> Flags {
    Flags::of_result(low, overflow, overflow, false)
}

#[inline(always)]
fn multiply_accumulator<T: Int, S: Sign>(cpu: &mut Cpu, b: T) -> Exec {
    let (product, overflow) = S::multiply(cpu.get::<T>(ACCUMULATOR), b);
    let low = T::from_u64(product as u64);
    let high = T::from_u64((product >> T::BITS) as u64);
    cpu.set(ACCUMULATOR, low);
    // A byte product is AX: its high half goes to AH, not DL.
    cpu.set(if T::BITS == 8 { AH } else { HIGH }, high);
    cpu.flags = product_flags(low, overflow);
    Ok(())
}

fn mul_reg<T: Int, S: Sign>(cpu: &mut Cpu, op: &Op) -> Exec {
    let b = cpu.get::<T>(op.dst);
    multiply_accumulator::<T, S>(cpu, b)
}

fn mul_mem<T: Int, S: Sign>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let b = cpu.read::<T>(gva)?;
    multiply_accumulator::<T, S>(cpu, b)
}

#[inline(always)]
fn divide_accumulator<T: Int, S: Sign>(cpu: &mut Cpu, divisor: T) -> Exec {
    let high = cpu.get::<T>(if T::BITS == 8 { AH } else { HIGH });
    let low = cpu.get::<T>(ACCUMULATOR);
    let dividend = u128::from(high.to_u64()) << T::BITS | u128::from(low.to_u64());
    let Some((quotient, remainder)) = S::divide::<T>(dividend, divisor) else {
        return cpu.fault(vector::DE, None);
    };
    cpu.set(ACCUMULATOR, quotient);
    cpu.set(if T::BITS == 8 { AH } else { HIGH }, remainder);
    Ok(())
}

fn div_reg<T: Int, S: Sign>(cpu: &mut Cpu, op: &Op) -> Exec {
    let divisor = cpu.get::<T>(op.dst);
    divide_accumulator::<T, S>(cpu, divisor)
}

fn div_mem<T: Int, S: Sign>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let divisor = cpu.read::<T>(gva)?;
    divide_accumulator::<T, S>(cpu, divisor)
}

fn two_operands(ins: &Instruction, size: usize) -> Handler {
    match (ins.op1_kind(), size) {
        (OpKind::Register, 2) => imul_reg::<u16>,
        (OpKind::Register, 4) => imul_reg::<u32>,
        (OpKind::Register, _) => imul_reg::<u64>,
        (_, 2) => imul_mem::<u16>,
        (_, 4) => imul_mem::<u32>,
        _ => imul_mem::<u64>,
    }
}

fn three_operands(ins: &Instruction, size: usize) -> Handler {
    match (ins.op1_kind(), size) {
        (OpKind::Register, 2) => imul_reg_imm::<u16>,
        (OpKind::Register, 4) => imul_reg_imm::<u32>,
        (OpKind::Register, _) => imul_reg_imm::<u64>,
        (_, 2) => imul_mem_imm::<u16>,
        (_, 4) => imul_mem_imm::<u32>,
        _ => imul_mem_imm::<u64>,
    }
}

#[inline(always)]
fn multiply_into<T: Int>(cpu: &mut Cpu, op: &Op, a: T, b: T) -> Exec {
    let (product, overflow) = Signed::multiply(a, b);
    let low = T::from_u64(product as u64);
    cpu.set(op.dst, low);
    cpu.flags = product_flags(low, overflow);
    Ok(())
}

fn imul_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let (a, b) = (cpu.get::<T>(op.dst), cpu.get::<T>(op.src));
    multiply_into(cpu, op, a, b)
}

fn imul_mem<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let b = cpu.read::<T>(gva)?;
    let a = cpu.get::<T>(op.dst);
    multiply_into(cpu, op, a, b)
}

fn imul_reg_imm<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let a = cpu.get::<T>(op.src);
    multiply_into(cpu, op, a, T::from_u64(op.imm))
}

fn imul_mem_imm<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let a = cpu.read::<T>(gva)?;
    multiply_into(cpu, op, a, T::from_u64(op.imm))
}
