//! Instructions about descriptors and descriptor tables: LAR LSL VERR VERW ARPL, SGDT SIDT SLDT STR
//! SMSW, LGDT LIDT LLDT LTR LMSW.

use iced_x86::{Instruction, Mnemonic, OpKind};
use wardian_engine::state::{Segment, TableRegister};

use super::lower::{Lowered, operand_size};
use super::op::Op;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::segment::{SegmentExt, index, system_type};
use crate::cpu::{CodeMode, Cpu, cr};
use crate::mmu::canonical;

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    match ins.mnemonic() {
        Mnemonic::Lar => Lowered::keep(lar),
        Mnemonic::Lsl => Lowered::keep(lsl),
        Mnemonic::Verr => Lowered::keep(|cpu, op| verify(cpu, op, false)),
        Mnemonic::Verw => Lowered::keep(|cpu, op| verify(cpu, op, true)),
        Mnemonic::Arpl => Lowered::keep(arpl),
        Mnemonic::Sgdt => Lowered::keep(|cpu, op| {
            let table = cpu.gdtr;
            store_table(cpu, op, table)
        }),
        Mnemonic::Sidt => Lowered::keep(|cpu, op| {
            let table = cpu.idtr;
            store_table(cpu, op, table)
        }),
        Mnemonic::Sldt => Lowered::keep(|cpu, op| {
            if !cpu.protected() {
                return cpu.undefined();
            }
            let selector = u64::from(cpu.seg[index::LDTR].selector);
            store_word(cpu, op, selector)
        }),
        Mnemonic::Str => Lowered::keep(|cpu, op| {
            if !cpu.protected() {
                return cpu.undefined();
            }
            let selector = u64::from(cpu.seg[index::TR].selector);
            store_word(cpu, op, selector)
        }),
        Mnemonic::Smsw => Lowered::keep(|cpu, op| {
            let word = cpu.cr0;
            store_word(cpu, op, word)
        }),
        Mnemonic::Lgdt => Lowered::keep_and_end(|cpu, op| {
            cpu.gdtr = load_table(cpu, op)?;
            Ok(())
        }),
        Mnemonic::Lidt => Lowered::keep_and_end(|cpu, op| {
            cpu.idtr = load_table(cpu, op)?;
            Ok(())
        }),
        Mnemonic::Lldt => Lowered::keep_and_end(lldt),
        Mnemonic::Ltr => Lowered::keep_and_end(ltr),
        Mnemonic::Lmsw => Lowered::keep_and_end(lmsw),
        _ => None,
    }
}

impl Cpu {
    /// #GP(0) above ring 0.
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn require_ring_0(&mut self) -> Exec {
        if self.cpl == 0 { Ok(()) } else { self.gp(0) }
    }

    /// User-mode instruction prevention (Intel SDM vol. 3, 2.5, CR4.UMIP).
    fn check_umip(&mut self) -> Exec {
        if self.cr4 & cr::CR4_UMIP != 0 && self.cpl > 0 {
            self.gp(0)
        } else {
            Ok(())
        }
    }
}

/// The selector operand of an instruction whose operand `n` it is.
fn selector_operand(cpu: &mut Cpu, op: &Op, n: u32) -> Exec<u16> {
    if op.instruction().op_kind(n) == OpKind::Register {
        return Ok(cpu.get(if n == 0 { op.dst } else { op.src }));
    }
    let gva = cpu.address(op, 2, false)?;
    cpu.read(gva)
}

/// The descriptor a selector names, if the current privilege level may see it.
fn visible_descriptor(cpu: &mut Cpu, selector: u16) -> Exec<Option<(Segment, u64)>> {
    if selector & !3 == 0 {
        return Ok(None);
    }
    let Some(raw) = cpu.descriptor(selector)? else {
        return Ok(None);
    };
    let segment = Segment::from_descriptor(selector, raw);
    let rpl = (selector & 3) as u8;
    let visible = segment.conforming() || segment.dpl() >= cpu.cpl && segment.dpl() >= rpl;
    Ok(visible.then_some((segment, raw)))
}

fn lar(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    let selector = selector_operand(cpu, op, 1)?;
    let long = cpu.long_mode();
    let found = visible_descriptor(cpu, selector)?.filter(|(segment, _)| {
        segment.code_or_data()
            || match segment.kind() {
                system_type::TSS16_AVAILABLE
                | system_type::TSS16_BUSY
                | system_type::CALL_GATE16
                | system_type::TASK_GATE => !long,
                system_type::LDT
                | system_type::TSS_AVAILABLE
                | system_type::TSS_BUSY
                | system_type::CALL_GATE => true,
                _ => false,
            }
    });
    cpu.flags = cpu.flags.with_zf(found.is_some());
    if let Some((_, raw)) = found {
        set_by_size(cpu, op, raw >> 32 & 0x00f0_ff00);
    }
    Ok(())
}

fn lsl(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    let selector = selector_operand(cpu, op, 1)?;
    let long = cpu.long_mode();
    let found = visible_descriptor(cpu, selector)?.filter(|(segment, _)| {
        segment.code_or_data()
            || match segment.kind() {
                system_type::TSS16_AVAILABLE | system_type::TSS16_BUSY => !long,
                system_type::LDT | system_type::TSS_AVAILABLE | system_type::TSS_BUSY => true,
                _ => false,
            }
    });
    cpu.flags = cpu.flags.with_zf(found.is_some());
    if let Some((segment, _)) = found {
        set_by_size(cpu, op, u64::from(segment.limit));
    }
    Ok(())
}

fn set_by_size(cpu: &mut Cpu, op: &Op, value: u64) {
    match operand_size(op.instruction(), 0) {
        2 => cpu.set(op.dst, value as u16),
        4 => cpu.set(op.dst, value as u32),
        _ => cpu.set(op.dst, value),
    }
}

fn verify(cpu: &mut Cpu, op: &Op, write: bool) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    let selector = selector_operand(cpu, op, 0)?;
    let found = visible_descriptor(cpu, selector)?;
    let ok = found.is_some_and(|(s, _)| if write { s.writable() } else { s.readable() });
    cpu.flags = cpu.flags.with_zf(ok);
    Ok(())
}

fn arpl(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    let register = op.instruction().op0_kind() == OpKind::Register;
    let source = cpu.get::<u16>(op.src);
    let gva = if register {
        0
    } else {
        cpu.address(op, 2, true)?
    };
    let target = if register {
        cpu.get::<u16>(op.dst)
    } else {
        cpu.read::<u16>(gva)?
    };
    let raise = target & 3 < source & 3;
    if raise {
        let raised = target & !3 | source & 3;
        if register {
            cpu.set(op.dst, raised);
        } else {
            cpu.write(gva, raised)?;
        }
    }
    cpu.flags = cpu.flags.with_zf(raise);
    Ok(())
}

fn store_table(cpu: &mut Cpu, op: &Op, table: TableRegister) -> Exec {
    cpu.check_umip()?;
    let size = if cpu.mode == CodeMode::Bits64 { 10 } else { 6 };
    let gva = cpu.address(op, size, true)?;
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    cpu.write_bytes(gva, &bytes[..size as usize])
}

fn load_table(cpu: &mut Cpu, op: &Op) -> Exec<TableRegister> {
    cpu.require_ring_0()?;
    let long = cpu.mode == CodeMode::Bits64;
    let size = if long { 10 } else { 6 };
    let gva = cpu.address(op, size, false)?;
    let mut bytes = [0; 10];
    cpu.read_bytes(gva, &mut bytes[..size as usize])?;
    let limit = u16::from_le_bytes([bytes[0], bytes[1]]);
    let mut base = [0; 8];
    base.copy_from_slice(&bytes[2..]);
    let base = u64::from_le_bytes(base);
    if long && !canonical(base) {
        return cpu.gp(0);
    }
    // A 16-bit operand size loads 24 bits of base.
    use iced_x86::Code;
    let short = matches!(
        op.instruction().code(),
        Code::Lgdt_m1632_16 | Code::Lidt_m1632_16
    );
    Ok(TableRegister {
        base: if short { base & 0xff_ffff } else { base },
        limit,
    })
}

/// SLDT, STR and SMSW: the whole operand of a register, two bytes of memory.
fn store_word(cpu: &mut Cpu, op: &Op, value: u64) -> Exec {
    cpu.check_umip()?;
    if op.instruction().op0_kind() == OpKind::Register {
        set_by_size(cpu, op, value);
        return Ok(());
    }
    let gva = cpu.address(op, 2, true)?;
    cpu.write(gva, value as u16)
}

/// A system segment for LLDT or LTR, with its 16-byte descriptor in long mode.
fn system_segment(cpu: &mut Cpu, selector: u16) -> Exec<(Segment, u64)> {
    let error = u32::from(selector & !3);
    if selector & 4 != 0 {
        return cpu.gp(error);
    }
    let raw = cpu.descriptor_or(selector, vector::GP, 0)?;
    let mut segment = Segment::from_descriptor(selector, raw);
    if cpu.long_mode() {
        let upper = cpu.descriptor_upper(selector, vector::GP)?;
        segment.base |= upper << 32;
        if upper >> 40 & 0x1f != 0 || !canonical(segment.base) {
            return cpu.gp(error);
        }
    }
    Ok((segment, raw))
}

fn lldt(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    cpu.require_ring_0()?;
    let selector = selector_operand(cpu, op, 0)?;
    if selector & !3 == 0 {
        cpu.set_segment(index::LDTR, Segment::null(selector));
        return Ok(());
    }
    let error = u32::from(selector & !3);
    let (segment, _) = system_segment(cpu, selector)?;
    if segment.code_or_data() || segment.kind() != system_type::LDT {
        return cpu.gp(error);
    }
    if !segment.present() {
        return cpu.fault(vector::NP, Some(error));
    }
    cpu.set_segment(index::LDTR, segment);
    Ok(())
}

fn ltr(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.protected() {
        return cpu.undefined();
    }
    cpu.require_ring_0()?;
    let selector = selector_operand(cpu, op, 0)?;
    let error = u32::from(selector & !3);
    if selector & !3 == 0 {
        return cpu.gp(0);
    }
    let (mut segment, raw) = system_segment(cpu, selector)?;
    let available = segment.kind() == system_type::TSS_AVAILABLE
        || segment.kind() == system_type::TSS16_AVAILABLE && !cpu.long_mode();
    if segment.code_or_data() || !available {
        return cpu.gp(error);
    }
    if !segment.present() {
        return cpu.fault(vector::NP, Some(error));
    }
    const BUSY: u64 = 1 << 41;
    cpu.set_type_bits(selector, raw, BUSY)?;
    segment.attributes |= (BUSY >> 40) as u32;
    cpu.set_segment(index::TR, segment);
    Ok(())
}

fn lmsw(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let word = u64::from(selector_operand(cpu, op, 0)?);
    // PE can be set but not cleared this way.
    let loaded = cr::CR0_PE | cr::CR0_MP | cr::CR0_EM | cr::CR0_TS;
    let value = cpu.cr0 & !loaded | word & loaded | cpu.cr0 & cr::CR0_PE;
    cpu.write_cr0(value)
}
