//! IN and OUT, and the check that a program may use a port.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, by_size};
use super::op::Op;
use crate::cpu::exception::Exec;
use crate::cpu::int::Int;
use crate::cpu::registers::{RAX, RDX};
use crate::cpu::segment::index;
use crate::cpu::{Cpu, flags};

/// Offset of the I/O permission bitmap's own offset in a TSS.
const IO_MAP_BASE: u64 = 0x66;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let by_register = |n| ins.op_kind(n) == OpKind::Register;
    Lowered::plain(match ins.mnemonic() {
        Mnemonic::In => {
            let size = ins.op0_register().size();
            if by_register(1) {
                by_size!(size, input, FromDx)
            } else {
                by_size!(size, input, FromImmediate)
            }
        }
        Mnemonic::Out => {
            let size = ins.op1_register().size();
            if by_register(0) {
                by_size!(size, output, FromDx)
            } else {
                by_size!(size, output, FromImmediate)
            }
        }
        _ => return None,
    })
}

trait Port {
    fn number(cpu: &Cpu, op: &Op) -> u16;
}

struct FromDx;
struct FromImmediate;

impl Port for FromDx {
    fn number(cpu: &Cpu, _: &Op) -> u16 {
        cpu.regs[RDX] as u16
    }
}

impl Port for FromImmediate {
    fn number(_: &Cpu, op: &Op) -> u16 {
        u16::from(op.imm as u8)
    }
}

fn input<T: Int, P: Port>(cpu: &mut Cpu, op: &Op) -> Exec {
    let port = P::number(cpu, op);
    cpu.check_port(port, T::BYTES)?;
    let value = cpu.port_read(port, T::BYTES as u8)?;
    cpu.set(RAX as u8 * 8, T::from_u64(value));
    Ok(())
}

fn output<T: Int, P: Port>(cpu: &mut Cpu, op: &Op) -> Exec {
    let port = P::number(cpu, op);
    cpu.check_port(port, T::BYTES)?;
    let value = cpu.get::<T>(RAX as u8 * 8);
    cpu.port_write(port, T::BYTES as u8, value.to_u64())
}

impl Cpu {
    /// IOPL, and where it does not suffice the TSS's permission bitmap (Intel SDM vol. 1, 19.5).
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn check_port(&mut self, port: u16, size: u64) -> Exec {
        let iopl = (self.system_flags & flags::IOPL) >> 12;
        let virtual_8086 = self.system_flags & flags::VM != 0;
        let privileged = !self.protected() || u64::from(self.cpl) <= iopl;
        if privileged && !virtual_8086 {
            return Ok(());
        }
        let tss = self.seg[index::TR];
        let limit = u64::from(tss.limit);
        let is_32_or_64_bit = tss.attributes & 8 != 0;
        if !is_32_or_64_bit || limit < IO_MAP_BASE + 1 {
            return self.gp(0);
        }
        let map = u64::from(self.system_read::<u16>(tss.base.wrapping_add(IO_MAP_BASE))?);
        let byte = map + u64::from(port / 8);
        // Two bytes are always read, since a port's bits may straddle; both must be within the TSS.
        if byte + 1 > limit {
            return self.gp(0);
        }
        let bits = self.system_read::<u16>(tss.base.wrapping_add(byte))?;
        let wanted = ((1u16 << size) - 1) << (port % 8);
        if bits & wanted != 0 {
            self.gp(0)
        } else {
            Ok(())
        }
    }
}
