//! INT INT1 INT3 INTO, IRET, UD0 UD1 UD2, HLT.

use iced_x86::{Instruction, Mnemonic};
use wardian_engine::state::{Activity, Segment};

use super::deliver::Source;
use super::descriptor::virtual_8086_segment;
use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::{Exception, Exec, vector};
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::segment::{SegmentExt, index, system_type};
use crate::cpu::{CodeMode, Cpu, cr, event, flags};
use crate::mmu::canonical;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    Lowered::ends(match ins.mnemonic() {
        Mnemonic::Int => int,
        Mnemonic::Int3 => |cpu, _| cpu.software_interrupt(vector::BP),
        Mnemonic::Into => |cpu, _| {
            if cpu.flags.of() {
                cpu.software_interrupt(vector::OF)
            } else {
                Ok(())
            }
        },
        Mnemonic::Int1 => int1,
        Mnemonic::Iret => |cpu, _| interrupt_return(cpu, 2),
        Mnemonic::Iretd => |cpu, _| interrupt_return(cpu, 4),
        Mnemonic::Iretq => |cpu, _| interrupt_return(cpu, 8),
        Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => |cpu, _| cpu.undefined(),
        Mnemonic::Hlt => hlt,
        _ => return None,
    })
}

fn int(cpu: &mut Cpu, op: &Op) -> Exec {
    let iopl = (cpu.system_flags & flags::IOPL) >> 12;
    if cpu.system_flags & flags::VM != 0 && iopl < 3 {
        return cpu.gp(0);
    }
    cpu.software_interrupt(op.imm as u8)
}

/// INT1 is delivered as a trap without the privilege check of INT n. A breakpoint that MOV SS hit
/// before it is dropped (tools/testing/selftests/x86/mov_ss_trap.c in Linux): taken by the first
/// instruction of the handler, it would overwrite the frame that the handler returns by.
fn int1(cpu: &mut Cpu, _: &Op) -> Exec {
    cpu.pending_dr6 = 0;
    cpu.events &= !event::DEBUG_TRAP;
    cpu.deliver_exception(Exception {
        vector: vector::DB,
        error: None,
        address: 0,
        dr6: 0,
    })
}

impl Cpu {
    fn software_interrupt(&mut self, number: u8) -> Exec {
        self.interrupt(number, Source::Software)
    }
}

fn hlt(cpu: &mut Cpu, _: &Op) -> Exec {
    if cpu.cpl != 0 {
        return cpu.gp(0);
    }
    cpu.set_activity(Activity::Halted);
    cpu.halts += 1;
    Ok(())
}

fn pop_item(cpu: &mut Cpu, position: u64, size: u64) -> Exec<u64> {
    Ok(match size {
        2 => u64::from(cpu.stack_at::<u16>(position * 2)?),
        4 => u64::from(cpu.stack_at::<u32>(position * 4)?),
        _ => cpu.stack_at::<u64>(position * 8)?,
    })
}

fn interrupt_return(cpu: &mut Cpu, size: u64) -> Exec {
    if cpu.cr0 & cr::CR0_PE == 0 {
        return return_real(cpu, size);
    }
    if cpu.system_flags & flags::VM != 0 {
        let iopl = (cpu.system_flags & flags::IOPL) >> 12;
        return if iopl < 3 {
            cpu.gp(0)
        } else {
            return_real(cpu, size)
        };
    }
    if cpu.system_flags & flags::NT != 0 {
        if cpu.long_mode() {
            return cpu.gp(0);
        }
        return return_to_task(cpu);
    }
    let (rip, selector, image) = (
        pop_item(cpu, 0, size)?,
        pop_item(cpu, 1, size)? as u16,
        pop_item(cpu, 2, size)?,
    );
    if image & flags::VM != 0 && cpu.cpl == 0 && !cpu.long_mode() && size == 4 {
        return return_to_virtual_8086(cpu, rip, selector, image);
    }
    let from = cpu.cpl;
    let code = cpu.return_code_segment(selector)?;
    let level = (selector & 3) as u8;
    let outer = level > from;
    let check_offset = |cpu: &mut Cpu| -> Exec {
        let fits = if cpu.long_mode() && code.long() {
            canonical(rip)
        } else {
            rip <= u64::from(code.limit)
        };
        if fits { Ok(()) } else { cpu.gp(0) }
    };
    if outer || cpu.mode == CodeMode::Bits64 {
        let pointer = pop_item(cpu, 3, size)?;
        let stack_selector = pop_item(cpu, 4, size)? as u16;
        let stack = cpu.return_stack_segment(stack_selector, level, code.long())?;
        check_offset(cpu)?;
        cpu.leave_handler(image, size, from);
        cpu.set_segment(index::CS, code);
        cpu.set_segment(index::SS, stack);
        cpu.set_cpl(level);
        if cpu.mode == CodeMode::Bits64 {
            cpu.regs[RSP] = pointer;
        } else {
            cpu.set_stack_pointer(pointer);
        }
        if outer {
            cpu.drop_inner_segments();
        }
    } else {
        check_offset(cpu)?;
        cpu.release_stack(3 * size);
        cpu.leave_handler(image, size, from);
        cpu.set_segment(index::CS, code);
        cpu.set_cpl(level);
    }
    cpu.regs[RIP] = rip;
    cpu.nmi_blocked = false;
    cpu.events |= event::CHECK_INTERRUPTS;
    Ok(())
}

/// IRET with NT set goes to the task that the TSS links to. Any program can set NT, so what is no
/// task must fault (Intel SDM vol. 3, 7.4) and not end the machine.
fn return_to_task(cpu: &mut Cpu) -> Exec {
    let link = cpu.system_read::<u16>(cpu.seg[index::TR].base)?;
    let error = Some(u32::from(link & !3));
    const LOCAL: u16 = 4;
    if link & LOCAL != 0 {
        return cpu.fault(vector::TS, error);
    }
    let raw = cpu.descriptor_or(link, vector::TS, 0)?;
    let task = Segment::from_descriptor(link, raw);
    let busy = matches!(task.kind(), system_type::TSS16_BUSY | system_type::TSS_BUSY);
    if task.code_or_data() || !busy {
        return cpu.fault(vector::TS, error);
    }
    cpu.fail(
        "IRET with NT set returns to another task, and this engine has no hardware task switching"
            .into(),
    )
}

fn return_real(cpu: &mut Cpu, size: u64) -> Exec {
    let (rip, selector, image) = (
        pop_item(cpu, 0, size)?,
        pop_item(cpu, 1, size)? as u16,
        pop_item(cpu, 2, size)?,
    );
    if rip > u64::from(cpu.seg[index::CS].limit) {
        return cpu.gp(0);
    }
    cpu.release_stack(3 * size);
    let virtual_8086 = cpu.system_flags & flags::VM != 0;
    let code = if virtual_8086 {
        virtual_8086_segment(selector)
    } else {
        cpu.seg[index::CS].real_mode(selector)
    };
    cpu.set_segment(index::CS, code);
    cpu.regs[RIP] = rip;
    let from = if virtual_8086 { 3 } else { 0 };
    cpu.leave_handler(image, size, from);
    cpu.nmi_blocked = false;
    cpu.events |= event::CHECK_INTERRUPTS;
    Ok(())
}

fn return_to_virtual_8086(cpu: &mut Cpu, rip: u64, selector: u16, image: u64) -> Exec {
    let mut items = [0; 6];
    for (i, item) in items.iter_mut().enumerate() {
        *item = pop_item(cpu, 3 + i as u64, 4)?;
    }
    let [pointer, ss, es, ds, fs, gs] = items;
    cpu.set_rflags(image);
    cpu.set_cpl(3);
    let loads = [
        (index::CS, u64::from(selector)),
        (index::SS, ss),
        (index::ES, es),
        (index::DS, ds),
        (index::FS, fs),
        (index::GS, gs),
    ];
    for (which, selector) in loads {
        cpu.set_segment(which, virtual_8086_segment(selector as u16));
    }
    cpu.regs[RSP] = pointer;
    cpu.regs[RIP] = rip & 0xffff;
    cpu.nmi_blocked = false;
    cpu.events |= event::CHECK_INTERRUPTS;
    Ok(())
}

impl Cpu {
    /// Restores flags as IRET from privilege level `from` may.
    fn leave_handler(&mut self, image: u64, size: u64, from: u8) {
        let iopl = (self.system_flags & flags::IOPL) >> 12;
        let mut writable = flags::ARITHMETIC | flags::TF | flags::DF | flags::NT;
        if size > 2 {
            writable |= flags::RF | flags::AC | flags::ID;
        }
        if u64::from(from) <= iopl {
            writable |= flags::IF;
        }
        if from == 0 {
            writable |= flags::IOPL;
            if size > 2 {
                writable |= flags::VIF | flags::VIP;
            }
        }
        let kept = self.rflags() & !writable;
        self.set_rflags(kept | image & writable);
    }

    /// The code segment that a return names, checked against the current privilege level.
    pub(super) fn return_code_segment(&mut self, selector: u16) -> Exec<Segment> {
        if selector & !3 == 0 {
            return self.gp(0);
        }
        let error = u32::from(selector & !3);
        let raw = self.descriptor_or(selector, vector::GP, 0)?;
        let code = Segment::from_descriptor(selector, raw);
        let level = (selector & 3) as u8;
        let allowed = if code.conforming() {
            code.dpl() <= level
        } else {
            code.dpl() == level
        };
        let impossible = self.long_mode() && code.long() && code.big();
        if level < self.cpl || !code.code() || !allowed || impossible {
            return self.gp(error);
        }
        if !code.present() {
            return self.fault(vector::NP, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        Ok(code)
    }

    /// The stack segment that a return to `level` names.
    pub(super) fn return_stack_segment(
        &mut self,
        selector: u16,
        level: u8,
        to_64: bool,
    ) -> Exec<Segment> {
        if selector & !3 == 0 {
            if self.long_mode() && to_64 && level != 3 && (selector & 3) as u8 == level {
                return Ok(Segment::null(selector));
            }
            return self.gp(0);
        }
        let error = u32::from(selector & !3);
        let raw = self.descriptor_or(selector, vector::GP, 0)?;
        let stack = Segment::from_descriptor(selector, raw);
        if (selector & 3) as u8 != level || !stack.writable() || stack.dpl() != level {
            return self.gp(error);
        }
        if !stack.present() {
            return self.fault(vector::NP, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        Ok(stack)
    }

    /// After a return to an outer level: data segments it may not use become null, and null
    /// selectors lose their RPL; the bases of null segments stay.
    pub(super) fn drop_inner_segments(&mut self) {
        for which in [index::ES, index::DS, index::FS, index::GS] {
            let segment = self.seg[which];
            if segment.unusable() {
                self.seg[which].selector = 0;
            } else if !segment.conforming() && segment.dpl() < self.cpl {
                self.set_segment(which, Segment::null(0));
            }
        }
    }
}
