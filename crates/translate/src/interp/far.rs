//! Far JMP, CALL and RET; MOV and POP of segment registers; LDS LES LFS LGS LSS.

use iced_x86::{Code, Instruction, Mnemonic, OpKind};
use wardian_engine::state::Segment;

use super::branch::is_far;
use super::lower::Lowered;
use super::op::Op;
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index, system_type};
use crate::mmu::canonical;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let segment = |n| {
        ins.op_count() > n
            && ins.op_kind(n) == OpKind::Register
            && ins.op_register(n).is_segment_register()
    };
    match ins.mnemonic() {
        Mnemonic::Mov if segment(0) => Lowered::keep_and_end(mov_to_segment),
        Mnemonic::Mov if segment(1) => Lowered::keep(mov_from_segment),
        Mnemonic::Pop if segment(0) => Lowered::keep_and_end(pop_segment),
        Mnemonic::Lds | Mnemonic::Les | Mnemonic::Lfs | Mnemonic::Lgs | Mnemonic::Lss => {
            Lowered::keep_and_end(load_far_pointer)
        }
        Mnemonic::Jmp if is_far(ins) => Lowered::keep_and_end(jmp_far),
        Mnemonic::Call if is_far(ins) => Lowered::keep_and_end(call_far),
        Mnemonic::Retf => Lowered::keep_and_end(ret_far),
        _ => None,
    }
}

fn mov_to_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let which = ins.op0_register().number();
    if which == index::CS {
        return cpu.undefined();
    }
    let selector = if ins.op1_kind() == OpKind::Register {
        // The segment register is no general one, so the source is the first of those.
        cpu.get::<u16>(op.dst)
    } else {
        let gva = cpu.address(op, 2, false)?;
        cpu.read::<u16>(gva)?
    };
    cpu.load_segment(which, selector)?;
    cpu.shadow_after_stack_load(which);
    Ok(())
}

fn mov_from_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let selector = cpu.seg[ins.op1_register().number()].selector;
    if ins.op0_kind() == OpKind::Memory {
        let gva = cpu.address(op, 2, true)?;
        return cpu.write(gva, selector);
    }
    match ins.op0_register().size() {
        2 => cpu.set(op.dst, selector),
        4 => cpu.set(op.dst, u32::from(selector)),
        _ => cpu.set(op.dst, u64::from(selector)),
    }
    Ok(())
}

fn pop_segment(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let which = ins.op0_register().number();
    let size = match ins.code() {
        Code::Popw_ES
        | Code::Popw_SS
        | Code::Popw_DS
        | Code::Popw_FS
        | Code::Popw_GS
        | Code::Popw_CS => 2,
        Code::Popq_FS | Code::Popq_GS => 8,
        _ => 4,
    };
    // The whole slot is read, though only its low half is used.
    let selector = match size {
        2 => cpu.stack_top::<u16>()?,
        4 => cpu.stack_top::<u32>()? as u16,
        _ => cpu.stack_top::<u64>()? as u16,
    };
    let before = cpu.regs[RSP];
    // The stack pointer has the width of the segment the selector was popped from.
    cpu.release_stack(size);
    if let Err(stop) = cpu.load_segment(which, selector) {
        cpu.regs[RSP] = before;
        return Err(stop);
    }
    cpu.shadow_after_stack_load(which);
    Ok(())
}

/// A far pointer of an instruction: selector, offset, operand size in bytes.
fn far_pointer(cpu: &mut Cpu, op: &Op, size: u64) -> Exec<(u16, u64)> {
    let gva = cpu.address(op, size + 2, false)?;
    let offset = match size {
        2 => u64::from(cpu.read::<u16>(gva)?),
        4 => u64::from(cpu.read::<u32>(gva)?),
        _ => cpu.read::<u64>(gva)?,
    };
    let selector = cpu.read::<u16>(gva.wrapping_add(size))?;
    Ok((selector, offset))
}

fn load_far_pointer(cpu: &mut Cpu, op: &Op) -> Exec {
    let ins = op.instruction();
    let size = ins.op0_register().size() as u64;
    let which = match ins.mnemonic() {
        Mnemonic::Lds => index::DS,
        Mnemonic::Les => index::ES,
        Mnemonic::Lfs => index::FS,
        Mnemonic::Lgs => index::GS,
        _ => index::SS,
    };
    let (selector, offset) = far_pointer(cpu, op, size)?;
    cpu.load_segment(which, selector)?;
    match size {
        2 => cpu.set(op.dst, offset as u16),
        4 => cpu.set(op.dst, offset as u32),
        _ => cpu.set(op.dst, offset),
    }
    Ok(())
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
    fn check_target(&mut self, code: &Segment, offset: u64) -> Exec {
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

    fn far_descriptor(&mut self, selector: u16) -> Exec<u64> {
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

struct Gate {
    selector: u16,
    offset: u64,
    /// Bytes per stack item.
    width: u64,
    parameters: u64,
}

/// A call gate, checked for privilege and presence. Any other system descriptor is refused.
fn call_gate(cpu: &mut Cpu, selector: u16, raw: u64) -> Exec<Gate> {
    let error = u32::from(selector & !3);
    let gate = Segment::from_descriptor(selector, raw);
    let kind = gate.attributes & 0x1f;
    let known = match kind {
        system_type::CALL_GATE => true,
        system_type::CALL_GATE16 => !cpu.long_mode(),
        _ => false,
    };
    if !known {
        let task = matches!(
            kind,
            system_type::TASK_GATE | system_type::TSS16_AVAILABLE | system_type::TSS_AVAILABLE
        );
        let allowed = gate.dpl() >= cpu.cpl && gate.dpl() >= (selector & 3) as u8;
        if task && allowed && !cpu.long_mode() {
            return cpu.fail(
                "the guest switches tasks in hardware, which this engine does not do".into(),
            );
        }
        return cpu.gp(error);
    }
    if gate.dpl() < cpu.cpl || gate.dpl() < (selector & 3) as u8 {
        return cpu.gp(error);
    }
    if !gate.present() {
        return cpu.fault(vector::NP, Some(error));
    }
    let mut offset = raw & 0xffff | raw >> 32 & 0xffff_0000;
    let mut width = 4;
    if cpu.long_mode() {
        let upper = cpu.descriptor_upper(selector, vector::GP)?;
        if upper >> 40 & 0x1f != 0 {
            return cpu.gp(error);
        }
        offset |= upper << 32;
        width = 8;
    } else if kind == system_type::CALL_GATE16 {
        offset &= 0xffff;
        width = 2;
    }
    Ok(Gate {
        selector: (raw >> 16) as u16,
        offset,
        width,
        parameters: raw >> 32 & 0x1f,
    })
}

fn push_sized(cpu: &mut Cpu, value: u64, size: u64) -> Exec {
    match size {
        2 => cpu.push(value as u16),
        4 => cpu.push(value as u32),
        _ => cpu.push(value),
    }
}

/// Runs `f`, which may push, and takes the pushes back if it faults.
fn with_stack_restored(cpu: &mut Cpu, f: impl FnOnce(&mut Cpu) -> Exec) -> Exec {
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

/// A call through a gate, to the same or a more privileged level (Intel SDM vol. 3, 5.8.5).
fn call_through(cpu: &mut Cpu, gate: &Gate) -> Exec {
    let raw = cpu.far_descriptor(gate.selector)?;
    let mut code = Segment::from_descriptor(gate.selector, raw);
    let error = u32::from(gate.selector & !3);
    if !code.code() || code.dpl() > cpu.cpl || cpu.long_mode() && (!code.long() || code.big()) {
        return cpu.gp(error);
    }
    if !code.present() {
        return cpu.fault(vector::NP, Some(error));
    }
    cpu.check_target(&code, gate.offset)?;
    cpu.mark_accessed(gate.selector, raw)?;
    let level = if code.conforming() {
        cpu.cpl
    } else {
        code.dpl()
    };
    code.selector = gate.selector & !3 | u16::from(level);
    let (cs, next) = (u64::from(cpu.seg[index::CS].selector), cpu.rip());
    if level == cpu.cpl {
        return with_stack_restored(cpu, |cpu| {
            push_sized(cpu, cs, gate.width)?;
            push_sized(cpu, next, gate.width)?;
            cpu.set_segment(index::CS, code);
            cpu.regs[RIP] = gate.offset;
            Ok(())
        });
    }
    call_inner(cpu, gate, code, level)
}

/// The part of a call that changes to the stack of a more privileged level. Everything is put back
/// if a push faults.
fn call_inner(cpu: &mut Cpu, gate: &Gate, code: Segment, level: u8) -> Exec {
    let old_stack = cpu.seg[index::SS];
    let (old_pointer, old_level) = (cpu.regs[RSP], cpu.cpl);
    let (cs, next) = (u64::from(cpu.seg[index::CS].selector), cpu.rip());
    let mut parameters = Vec::new();
    let (stack, pointer) = if cpu.long_mode() {
        (
            Segment::null(u16::from(level)),
            cpu.tss_stack_long(4 + u64::from(level) * 8, 0)?,
        )
    } else {
        for i in (0..gate.parameters).rev() {
            parameters.push(match gate.width {
                2 => u64::from(cpu.stack_at::<u16>(i * 2)?),
                _ => u64::from(cpu.stack_at::<u32>(i * 4)?),
            });
        }
        let (selector, pointer) = cpu.tss_stack_legacy(level, 0)?;
        (cpu.inner_stack_segment(selector, level, 0)?, pointer)
    };
    let old_code = cpu.seg[index::CS];
    cpu.set_segment(index::SS, stack);
    cpu.set_segment(index::CS, code);
    cpu.set_cpl(level);
    cpu.set_stack_pointer(pointer);
    let pushed = (|| {
        push_sized(cpu, u64::from(old_stack.selector), gate.width)?;
        push_sized(cpu, old_pointer, gate.width)?;
        for value in parameters {
            push_sized(cpu, value, gate.width)?;
        }
        push_sized(cpu, cs, gate.width)?;
        push_sized(cpu, next, gate.width)
    })();
    if pushed.is_err() {
        cpu.set_segment(index::SS, old_stack);
        cpu.set_segment(index::CS, old_code);
        cpu.set_cpl(old_level);
        cpu.regs[RSP] = old_pointer;
        return pushed;
    }
    cpu.regs[RIP] = gate.offset;
    Ok(())
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
