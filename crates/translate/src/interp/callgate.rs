//! Call gates (Intel SDM vol. 3, 5.8.3 to 5.8.5).

use wardian_engine::state::Segment;

use super::far::{push_sized, with_stack_restored};
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index, system_type};

pub(super) struct Gate {
    pub(super) selector: u16,
    pub(super) offset: u64,
    /// Bytes per stack item.
    width: u64,
    parameters: u64,
}

/// A call gate, checked for privilege and presence. Any other system descriptor is refused.
pub(super) fn call_gate(cpu: &mut Cpu, selector: u16, raw: u64) -> Exec<Gate> {
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

/// A call through a gate, to the same or a more privileged level (Intel SDM vol. 3, 5.8.5).
pub(super) fn call_through(cpu: &mut Cpu, gate: &Gate) -> Exec {
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
