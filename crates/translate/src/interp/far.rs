//! Far JMP, CALL and RET (Intel SDM vol. 3, 5.8).

use iced_x86::{Code, Instruction, Mnemonic, OpKind};
use wardian_engine::state::Segment;

use super::branch::is_far;
use super::callgate::{call_gate, call_through};
use super::lower::Lowered;
use super::op::Op;
use super::segload::far_pointer;
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index};
use crate::mmu::canonical;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    match ins.mnemonic() {
        Mnemonic::Jmp if is_far(ins) => Lowered::keep_and_end(jmp_far),
        Mnemonic::Call if is_far(ins) => Lowered::keep_and_end(call_far),
        Mnemonic::Retf => Lowered::keep_and_end(ret_far),
        _ => None,
    }
}

/// Target and operand size of a far JMP or CALL.
fn far_target(cpu: &mut Cpu, op: &Op) -> Exec<(u16, u64, u64)> {
    let ins = op.instruction();
    match ins.op0_kind() {
        OpKind::FarBranch16 => Ok((ins.far_branch_selector(), u64::from(ins.far_branch16()), 2)),
        OpKind::FarBranch32 => Ok((ins.far_branch_selector(), u64::from(ins.far_branch32()), 4)),
        _ => {
            let size = ins.memory_size().size() as u64 - 2;
            let (selector, offset) = far_pointer(cpu, op, size)?;
            Ok((selector, offset, size))
        }
    }
}

impl Cpu {
    pub(super) fn check_target(&mut self, code: &Segment, offset: u64) -> Exec {
        let fits = if self.long_mode() && code.long() {
            canonical(offset)
        } else {
            offset <= u64::from(code.limit)
        };
        if fits { Ok(()) } else { self.gp(0) }
    }

    /// A code segment named directly by a far JMP or CALL.
    fn direct_code_segment(&mut self, selector: u16, raw: u64) -> Exec<Segment> {
        let error = u32::from(selector & !3);
        let mut code = Segment::from_descriptor(selector, raw);
        let rpl = (selector & 3) as u8;
        let allowed = if code.conforming() {
            code.dpl() <= self.cpl
        } else {
            rpl <= self.cpl && code.dpl() == self.cpl
        };
        if !allowed || self.long_mode() && code.long() && code.big() {
            return self.gp(error);
        }
        if !code.present() {
            return self.fault(vector::NP, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        code.selector = selector & !3 | u16::from(self.cpl);
        Ok(code)
    }

    pub(super) fn far_descriptor(&mut self, selector: u16) -> Exec<u64> {
        if selector & !3 == 0 {
            return self.gp(0);
        }
        self.descriptor_or(selector, vector::GP, 0)
    }
}

fn jmp_far(cpu: &mut Cpu, op: &Op) -> Exec {
    let (selector, offset, _) = far_target(cpu, op)?;
    if !cpu.protected() {
        return go_far_real(cpu, selector, offset);
    }
    let raw = cpu.far_descriptor(selector)?;
    let target = Segment::from_descriptor(selector, raw);
    if target.code() {
        let code = cpu.direct_code_segment(selector, raw)?;
        cpu.check_target(&code, offset)?;
        cpu.set_segment(index::CS, code);
        cpu.regs[RIP] = offset;
        return Ok(());
    }
    let gate = call_gate(cpu, selector, raw)?;
    let raw = cpu.far_descriptor(gate.selector)?;
    let code = Segment::from_descriptor(gate.selector, raw);
    let allowed = if code.conforming() {
        code.dpl() <= cpu.cpl
    } else {
        code.dpl() == cpu.cpl
    };
    if !code.code() || !allowed || cpu.long_mode() && (!code.long() || code.big()) {
        return cpu.gp(u32::from(gate.selector & !3));
    }
    let cpl = u16::from(cpu.cpl);
    finish_jump(
        cpu,
        Segment {
            selector: gate.selector & !3 | cpl,
            ..code
        },
        gate.offset,
        raw,
    )
}

fn finish_jump(cpu: &mut Cpu, code: Segment, offset: u64, raw: u64) -> Exec {
    if !code.present() {
        return cpu.fault(vector::NP, Some(u32::from(code.selector & !3)));
    }
    cpu.check_target(&code, offset)?;
    cpu.mark_accessed(code.selector, raw)?;
    cpu.set_segment(index::CS, code);
    cpu.regs[RIP] = offset;
    Ok(())
}

fn go_far_real(cpu: &mut Cpu, selector: u16, offset: u64) -> Exec {
    if offset > u64::from(cpu.seg[index::CS].limit) {
        return cpu.gp(0);
    }
    let code = cpu.seg[index::CS].real_mode(selector);
    cpu.set_segment(index::CS, code);
    cpu.regs[RIP] = offset;
    Ok(())
}

pub(super) fn push_sized(cpu: &mut Cpu, value: u64, size: u64) -> Exec {
    match size {
        2 => cpu.push(value as u16),
        4 => cpu.push(value as u32),
        _ => cpu.push(value),
    }
}

/// Runs `f`, which may push, and takes the pushes back if it faults.
pub(super) fn with_stack_restored(cpu: &mut Cpu, f: impl FnOnce(&mut Cpu) -> Exec) -> Exec {
    let before = cpu.regs[RSP];
    let result = f(cpu);
    if result.is_err() {
        cpu.regs[RSP] = before;
    }
    result
}

fn call_far(cpu: &mut Cpu, op: &Op) -> Exec {
    let (selector, offset, size) = far_target(cpu, op)?;
    let (cs, next) = (u64::from(cpu.seg[index::CS].selector), cpu.rip());
    if !cpu.protected() {
        return with_stack_restored(cpu, |cpu| {
            push_sized(cpu, cs, size)?;
            push_sized(cpu, next, size)?;
            go_far_real(cpu, selector, offset)
        });
    }
    let raw = cpu.far_descriptor(selector)?;
    let target = Segment::from_descriptor(selector, raw);
    if target.code() {
        let code = cpu.direct_code_segment(selector, raw)?;
        cpu.check_target(&code, offset)?;
        return with_stack_restored(cpu, |cpu| {
            push_sized(cpu, cs, size)?;
            push_sized(cpu, next, size)?;
            cpu.set_segment(index::CS, code);
            cpu.regs[RIP] = offset;
            Ok(())
        });
    }
    let gate = call_gate(cpu, selector, raw)?;
    call_through(cpu, &gate)
}

fn ret_far(cpu: &mut Cpu, op: &Op) -> Exec {
    let size = match op.instruction().code() {
        Code::Retfw | Code::Retfw_imm16 => 2,
        Code::Retfd | Code::Retfd_imm16 => 4,
        _ => 8,
    };
    let item = |cpu: &mut Cpu, at: u64| -> Exec<u64> {
        Ok(match size {
            2 => u64::from(cpu.stack_at::<u16>(at)?),
            4 => u64::from(cpu.stack_at::<u32>(at)?),
            _ => cpu.stack_at::<u64>(at)?,
        })
    };
    let (offset, selector) = (item(cpu, 0)?, item(cpu, size)? as u16);
    let released = 2 * size + op.imm;
    if !cpu.protected() {
        go_far_real(cpu, selector, offset)?;
        cpu.release_stack(released);
        return Ok(());
    }
    let code = cpu.return_code_segment(selector)?;
    cpu.check_target(&code, offset)?;
    let level = (selector & 3) as u8;
    if level == cpu.cpl {
        cpu.release_stack(released);
        cpu.set_segment(index::CS, code);
        cpu.regs[RIP] = offset;
        return Ok(());
    }
    let pointer = item(cpu, released)?;
    let stack_selector = item(cpu, released + size)? as u16;
    let stack = cpu.return_stack_segment(stack_selector, level, code.long())?;
    cpu.set_segment(index::CS, code);
    cpu.set_segment(index::SS, stack);
    cpu.set_cpl(level);
    cpu.regs[RIP] = offset;
    cpu.set_stack_pointer(pointer.wrapping_add(op.imm));
    cpu.drop_inner_segments();
    Ok(())
}
