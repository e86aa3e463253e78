//! PUSH POP PUSHA POPA PUSHF POPF ENTER LEAVE, and the stack accesses of other families.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::lower::{Lowered, operand_size};
use super::op::{Handler, Op};
use super::run::address_fault;
use crate::cpu::exception::{Exec, Stop, StopReason, vector};
use crate::cpu::int::Int;
use crate::cpu::registers::{RBP, RSP};
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{CodeMode, Cpu, flags};

impl Cpu {
    /// Width of the stack pointer as a mask.
    #[inline(always)]
    pub(crate) fn stack_mask(&self) -> u64 {
        if self.mode == CodeMode::Bits64 {
            u64::MAX
        } else if self.seg[index::SS].big() {
            0xffff_ffff
        } else {
            0xffff
        }
    }

    /// Replaces the stack pointer in its width.
    #[inline(always)]
    pub(crate) fn set_stack_pointer(&mut self, value: u64) {
        let mask = self.stack_mask();
        self.regs[RSP] = if mask == 0xffff {
            self.regs[RSP] & !mask | value & mask
        } else {
            value & mask
        };
    }

    /// The linear address of a stack offset.
    pub(crate) fn stack_address(&mut self, offset: u64, size: u64, write: bool) -> Exec<u64> {
        if self.mode == CodeMode::Bits64 {
            return Ok(offset);
        }
        let offset = offset & self.stack_mask();
        self.segmented(index::SS, offset, size, write)
    }

    /// Pushes with the current stack width.
    ///
    /// # Errors
    /// #SS, #PF.
    #[inline(always)]
    pub(crate) fn push<T: Int>(&mut self, value: T) -> Exec {
        let pointer = self.regs[RSP].wrapping_sub(T::BYTES);
        let gva = self.stack_address(pointer, T::BYTES, true)?;
        self.write(gva, value)
            .map_err(|stop| self.stack_fault(stop))?;
        self.set_stack_pointer(pointer);
        Ok(())
    }

    /// Pushes in 64-bit mode.
    #[inline(always)]
    pub(crate) fn push64(&mut self, value: u64) -> Exec {
        let pointer = self.regs[RSP].wrapping_sub(8);
        self.write(pointer, value)
            .map_err(|stop| self.stack_fault(stop))?;
        self.regs[RSP] = pointer;
        Ok(())
    }

    /// Reads the top of the stack and leaves it there.
    #[inline(always)]
    pub(crate) fn stack_top<T: Int>(&mut self) -> Exec<T> {
        self.stack_at(0)
    }

    /// Reads `offset` bytes above the top of the stack.
    #[inline(always)]
    pub(crate) fn stack_at<T: Int>(&mut self, offset: u64) -> Exec<T> {
        let pointer = self.regs[RSP].wrapping_add(offset);
        let gva = self.stack_address(pointer, T::BYTES, false)?;
        self.read(gva).map_err(|stop| self.stack_fault(stop))
    }

    /// Removes bytes from the top of the stack.
    #[inline(always)]
    pub(crate) fn release_stack(&mut self, bytes: u64) {
        let pointer = self.regs[RSP].wrapping_add(bytes);
        self.set_stack_pointer(pointer);
    }

    /// A non-canonical stack address is #SS, not #GP (Intel SDM vol. 3, 6.15).
    #[cold]
    pub(crate) fn stack_fault(&mut self, stop: Stop) -> Stop {
        if self.stop == StopReason::NonCanonical {
            self.stop = address_fault(vector::SS);
        }
        stop
    }
}

pub(super) fn lower(ins: &Instruction, mode: CodeMode) -> Option<Lowered> {
    let segment = ins.op_count() > 0
        && ins.op0_kind() == OpKind::Register
        && ins.op0_register().is_segment_register();
    match ins.mnemonic() {
        // POP of a segment register loads a descriptor; that is the far family's.
        Mnemonic::Pop if segment => None,
        Mnemonic::Push if segment => Lowered::keep(push_segment),
        Mnemonic::Push => Lowered::plain(pick_push(ins, mode)),
        Mnemonic::Pop => match (ins.op0_kind(), operand_size(ins, 0)) {
            (OpKind::Register, 2) => Lowered::plain(pop_reg::<u16>),
            (OpKind::Register, 4) => Lowered::plain(pop_reg::<u32>),
            (OpKind::Register, _) => Lowered::plain(pop_reg::<u64>),
            (_, 2) => Lowered::plain(pop_mem::<u16>),
            (_, 4) => Lowered::plain(pop_mem::<u32>),
            _ => Lowered::plain(pop_mem::<u64>),
        },
        Mnemonic::Pusha => Lowered::plain(push_all::<u16>),
        Mnemonic::Pushad => Lowered::plain(push_all::<u32>),
        Mnemonic::Popa => Lowered::plain(pop_all::<u16>),
        Mnemonic::Popad => Lowered::plain(pop_all::<u32>),
        Mnemonic::Pushf => Lowered::plain(push_flags::<u16>),
        Mnemonic::Pushfd => Lowered::plain(push_flags::<u32>),
        Mnemonic::Pushfq => Lowered::plain(push_flags::<u64>),
        Mnemonic::Popf => Lowered::ends(pop_flags::<u16>),
        Mnemonic::Popfd => Lowered::ends(pop_flags::<u32>),
        Mnemonic::Popfq => Lowered::ends(pop_flags::<u64>),
        Mnemonic::Enter => Lowered::keep(enter),
        Mnemonic::Leave => Lowered::plain(match ins.code() {
            Code::Leavew => leave::<u16>,
            Code::Leaved => leave::<u32>,
            _ => leave::<u64>,
        }),
        _ => None,
    }
}

fn pick_push(ins: &Instruction, mode: CodeMode) -> Handler {
    match ins.op0_kind() {
        OpKind::Register => match ins.op0_register().size() {
            2 => push_reg::<u16>,
            4 => push_reg::<u32>,
            _ => push_reg64,
        },
        OpKind::Memory => match ins.memory_size().size() {
            2 => push_mem::<u16>,
            4 => push_mem::<u32>,
            _ => push_mem::<u64>,
        },
        _ => match ins.code() {
            Code::Push_imm16 | Code::Pushw_imm8 => push_imm::<u16>,
            Code::Pushd_imm32 | Code::Pushd_imm8 => push_imm::<u32>,
            _ if mode == CodeMode::Bits64 => push_imm::<u64>,
            _ => push_imm::<u32>,
        },
    }
}

fn push_reg64(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get(op.dst);
    cpu.push64(value)
}

fn push_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.get::<T>(op.dst);
    cpu.push(value)
}

fn push_imm<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.push(T::from_u64(op.imm))
}

fn push_mem<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let gva = cpu.address(op, T::BYTES, false)?;
    let value = cpu.read::<T>(gva)?;
    cpu.push(value)
}

fn push_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let selector = cpu.seg[ins.op0_register().number()].selector;
    match ins.code() {
        Code::Pushw_ES
        | Code::Pushw_CS
        | Code::Pushw_SS
        | Code::Pushw_DS
        | Code::Pushw_FS
        | Code::Pushw_GS => cpu.push(selector),
        Code::Pushq_FS | Code::Pushq_GS => cpu.push(u64::from(selector)),
        _ => {
            // Only two bytes are written, though the pointer moves by four (Intel SDM, PUSH).
            let pointer = cpu.regs[RSP].wrapping_sub(4);
            let gva = cpu.stack_address(pointer, 2, true)?;
            cpu.write(gva, selector)?;
            cpu.set_stack_pointer(pointer);
            Ok(())
        }
    }
}

fn pop_reg<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.stack_top::<T>()?;
    // The pointer moves first: POP RSP keeps the popped value.
    cpu.release_stack(T::BYTES);
    cpu.set(op.dst, value);
    Ok(())
}

fn pop_mem<T: Int>(cpu: &mut Cpu, op: &Op) -> Exec {
    let value = cpu.stack_top::<T>()?;
    // An address formed with RSP uses it after the increment; a fault undoes it.
    let before = cpu.regs[RSP];
    cpu.release_stack(T::BYTES);
    let stored = match cpu.address(op, T::BYTES, true) {
        Ok(gva) => cpu.write(gva, value),
        Err(stop) => Err(stop),
    };
    if stored.is_err() {
        cpu.regs[RSP] = before;
    }
    stored
}

fn push_all<T: Int>(cpu: &mut Cpu, _: &Op) -> Exec {
    let before = cpu.regs[RSP];
    for register in 0..8 {
        let value = if register == RSP {
            before
        } else {
            cpu.regs[register]
        };
        if let Err(stop) = cpu.push(T::from_u64(value)) {
            cpu.regs[RSP] = before;
            return Err(stop);
        }
    }
    Ok(())
}

fn pop_all<T: Int>(cpu: &mut Cpu, _: &Op) -> Exec {
    let mut values = [T::from_u64(0); 8];
    for (i, value) in values.iter_mut().enumerate() {
        *value = cpu.stack_at((7 - i as u64) * T::BYTES)?;
    }
    for (register, value) in values.into_iter().enumerate() {
        if register != RSP {
            cpu.set(register as u8 * 8, value);
        }
    }
    cpu.release_stack(8 * T::BYTES);
    Ok(())
}

/// In virtual-8086 mode PUSHF and POPF need IOPL 3.
fn check_virtual_8086(cpu: &mut Cpu) -> Exec {
    let iopl = (cpu.system_flags & flags::IOPL) >> 12;
    if cpu.system_flags & flags::VM != 0 && iopl < 3 {
        cpu.gp(0)
    } else {
        Ok(())
    }
}

fn push_flags<T: Int>(cpu: &mut Cpu, _: &Op) -> Exec {
    check_virtual_8086(cpu)?;
    let image = cpu.rflags() & !(flags::VM | flags::RF);
    cpu.push(T::from_u64(image))
}

fn pop_flags<T: Int>(cpu: &mut Cpu, _: &Op) -> Exec {
    check_virtual_8086(cpu)?;
    let image = cpu.stack_top::<T>()?.to_u64();
    let iopl = (cpu.system_flags & flags::IOPL) >> 12;
    let mut writable = flags::ARITHMETIC | flags::TF | flags::DF | flags::NT;
    if T::BITS > 16 {
        writable |= flags::AC | flags::ID;
    }
    let mut cleared = flags::RF;
    if cpu.cpl == 0 {
        writable |= flags::IOPL;
        if T::BITS > 16 {
            cleared |= flags::VIF | flags::VIP;
        }
    }
    if u64::from(cpu.cpl) <= iopl {
        writable |= flags::IF;
    }
    let kept = cpu.rflags() & !writable & !cleared;
    cpu.release_stack(T::BYTES);
    cpu.set_rflags(kept | image & writable);
    Ok(())
}

fn leave<T: Int>(cpu: &mut Cpu, _: &Op) -> Exec {
    let frame = cpu.regs[RBP];
    let gva = cpu.stack_address(frame, T::BYTES, false)?;
    let value = cpu.read::<T>(gva).map_err(|stop| cpu.stack_fault(stop))?;
    cpu.set_stack_pointer(frame.wrapping_add(T::BYTES));
    cpu.set(RBP as u8 * 8, value);
    Ok(())
}

fn enter(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    match ins.code() {
        Code::Enterw_imm16_imm8 => enter_sized::<u16>(cpu, ins),
        Code::Enterd_imm16_imm8 => enter_sized::<u32>(cpu, ins),
        _ => enter_sized::<u64>(cpu, ins),
    }
}

fn enter_sized<T: Int>(cpu: &mut Cpu, ins: &Instruction) -> Exec {
    let (size, depth) = (
        u64::from(ins.immediate16()),
        u64::from(ins.immediate8_2nd()) % 32,
    );
    let before = cpu.regs[RSP];
    let result = enter_frames::<T>(cpu, size, depth);
    if result.is_err() {
        cpu.regs[RSP] = before;
    }
    result
}

fn enter_frames<T: Int>(cpu: &mut Cpu, size: u64, depth: u64) -> Exec {
    let old_frame = cpu.regs[RBP];
    cpu.push(T::from_u64(old_frame))?;
    let frame = cpu.regs[RSP];
    for level in 1..depth {
        let from = old_frame.wrapping_sub(level * T::BYTES);
        let gva = cpu.stack_address(from, T::BYTES, false)?;
        let pointer = cpu.read::<T>(gva).map_err(|stop| cpu.stack_fault(stop))?;
        cpu.push(pointer)?;
    }
    if depth > 0 {
        cpu.push(T::from_u64(frame))?;
    }
    let top = cpu.regs[RSP].wrapping_sub(size);
    // The new top must be writable, or the instruction faults as a whole (Intel SDM, ENTER).
    let gva = cpu.stack_address(top, T::BYTES, true)?;
    cpu.probe_write(gva, T::BYTES)
        .map_err(|stop| cpu.stack_fault(stop))?;
    cpu.set_stack_pointer(top);
    cpu.set(RBP as u8 * 8, T::from_u64(frame));
    Ok(())
}
