//! Control and debug registers, TLB and cache control, CLI STI CLAC STAC, CLTS.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::lower::Lowered;
use super::op::Op;
use crate::cpu::exception::Exec;
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{CodeMode, Cpu, cr, event, flags};
use crate::mmu::{Invalidate, canonical};

pub(super) fn lower(ins: &Instruction) -> Option<Lowered> {
    let register = |n| ins.op_count() > n && ins.op_kind(n) == OpKind::Register;
    match ins.mnemonic() {
        Mnemonic::Mov if register(0) && ins.op0_register().is_cr() => {
            Lowered::keep_and_end(mov_to_cr)
        }
        Mnemonic::Mov if register(1) && ins.op1_register().is_cr() => Lowered::keep(mov_from_cr),
        Mnemonic::Mov if register(0) && ins.op0_register().is_dr() => {
            Lowered::keep_and_end(mov_to_dr)
        }
        Mnemonic::Mov if register(1) && ins.op1_register().is_dr() => {
            Lowered::keep_and_end(mov_from_dr)
        }
        Mnemonic::Clts => Lowered::ends(|cpu, _| {
            cpu.require_ring_0()?;
            cpu.cr0 &= !cr::CR0_TS;
            Ok(())
        }),
        Mnemonic::Invlpg => Lowered::ends(invlpg),
        Mnemonic::Invpcid => Lowered::ends(invpcid),
        // Guest caches are the host's, which are coherent.
        Mnemonic::Wbinvd | Mnemonic::Wbnoinvd | Mnemonic::Invd => {
            Lowered::ends(|cpu, _| cpu.require_ring_0())
        }
        Mnemonic::Cli => Lowered::plain(cli),
        Mnemonic::Sti => Lowered::plain(sti),
        Mnemonic::Clac => Lowered::plain(|cpu, _| set_ac(cpu, false)),
        Mnemonic::Stac => Lowered::plain(|cpu, _| set_ac(cpu, true)),
        _ => None,
    }
}

fn mov_to_cr(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let value = if cpu.mode == CodeMode::Bits64 {
        cpu.get::<u64>(op.dst)
    } else {
        u64::from(cpu.get::<u32>(op.dst))
    };
    match op.instruction().op0_register().number() {
        0 => cpu.write_cr0(value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => cpu.write_cr3(value),
        4 => cpu.write_cr4(value),
        8 if value > 15 => cpu.gp(0),
        8 => {
            cpu.board.irqchip.set_cr8(cpu.index, value as u8);
            Ok(())
        }
        _ => cpu.undefined(),
    }
}

fn mov_from_cr(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let value = match op.instruction().op1_register().number() {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        8 => u64::from(cpu.board.irqchip.cr8(cpu.index)),
        _ => return cpu.undefined(),
    };
    set_whole(cpu, op, value);
    Ok(())
}

fn set_whole(cpu: &mut Cpu, op: &Op, value: u64) {
    if cpu.mode == CodeMode::Bits64 {
        cpu.set(op.dst, value);
    } else {
        cpu.set(op.dst, value as u32);
    }
}

fn mov_to_dr(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let number = op.instruction().op0_register().number();
    let value = if cpu.mode == CodeMode::Bits64 {
        cpu.get::<u64>(op.dst)
    } else {
        u64::from(cpu.get::<u32>(op.dst))
    };
    cpu.write_dr(number, value)
}

fn mov_from_dr(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let value = cpu.read_dr(op.instruction().op1_register().number())?;
    set_whole(cpu, op, value);
    Ok(())
}

impl Cpu {
    /// MOV to CR0, with its rules (Intel SDM vol. 3, 2.5 and 4.1.2).
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn write_cr0(&mut self, value: u64) -> Exec {
        const WRITABLE: u64 = cr::CR0_PE
            | cr::CR0_MP
            | cr::CR0_EM
            | cr::CR0_TS
            | cr::CR0_NE
            | cr::CR0_WP
            | cr::CR0_AM
            | cr::CR0_NW
            | cr::CR0_CD
            | cr::CR0_PG;
        let paging = value & cr::CR0_PG != 0;
        let impossible = value >> 32 != 0
            || paging && value & cr::CR0_PE == 0
            || value & cr::CR0_NW != 0 && value & cr::CR0_CD == 0
            || !paging && self.cr4 & cr::CR4_PCIDE != 0;
        if impossible {
            return self.gp(0);
        }
        let value = value & WRITABLE | cr::CR0_ET;
        let changed = value ^ self.cr0;
        if changed & (cr::CR0_CD | cr::CR0_NW) != 0 && paging && self.pae_without_long_mode() {
            self.load_pdptrs(self.cr3)?;
        }
        if changed & cr::CR0_PG != 0 {
            if paging {
                self.enable_paging()?;
            } else {
                if self.mode == CodeMode::Bits64 {
                    return self.gp(0);
                }
                self.efer &= !cr::EFER_LMA;
            }
        }
        self.cr0 = value;
        if changed & (cr::CR0_PG | cr::CR0_WP | cr::CR0_PE) != 0 {
            self.invalidate(Invalidate::All);
        }
        if changed & cr::CR0_PE != 0 && value & cr::CR0_PE == 0 {
            self.set_cpl(0);
        }
        self.update_mode();
        self.select_tlb();
        Ok(())
    }

    fn enable_paging(&mut self) -> Exec {
        if self.efer & cr::EFER_LME != 0 {
            if self.cr4 & cr::CR4_PAE == 0 || self.seg[index::CS].long() {
                return self.gp(0);
            }
            self.efer |= cr::EFER_LMA;
        } else if self.cr4 & cr::CR4_PAE != 0 {
            self.load_pdptrs(self.cr3)?;
        }
        Ok(())
    }

    /// Reads and checks the four PAE page-directory pointers.
    fn load_pdptrs(&mut self, cr3: u64) -> Exec {
        const PRESENT: u64 = 1;
        let reserved = !self.features.physical_mask() | 0x1e6;
        let mut bytes = [0; 32];
        if self.board.ram.read(cr3 & 0xffff_ffe0, &mut bytes).is_err() {
            bytes = [0xff; 32];
        }
        let mut pointers = [0; 4];
        for (pointer, raw) in pointers.iter_mut().zip(bytes.chunks_exact(8)) {
            *pointer = u64::from_le_bytes(raw.try_into().unwrap_or_default());
            if *pointer & PRESENT != 0 && *pointer & reserved != 0 {
                return self.gp(0);
            }
        }
        self.pdptrs = pointers;
        Ok(())
    }

    fn pae_without_long_mode(&self) -> bool {
        self.cr0 & cr::CR0_PG != 0 && self.cr4 & cr::CR4_PAE != 0 && !self.long_mode()
    }

    /// MOV to CR3: a new address space, whose old translations survive only if asked.
    ///
    /// # Errors
    /// #GP(0).
    pub(super) fn write_cr3(&mut self, value: u64) -> Exec {
        const NO_FLUSH: u64 = 1 << 63;
        let pcid_enabled = self.cr4 & cr::CR4_PCIDE != 0;
        let keep = pcid_enabled && value & NO_FLUSH != 0;
        let value = if pcid_enabled {
            value & !NO_FLUSH
        } else {
            value
        };
        if self.long_mode() && value & !self.features.physical_mask() != 0 {
            return self.gp(0);
        }
        if self.pae_without_long_mode() {
            self.load_pdptrs(value)?;
        }
        self.cr3 = value;
        let pcid = self.pcid();
        if keep {
            self.switch_address_space(pcid);
        } else {
            self.invalidate(Invalidate::Pcid(pcid));
        }
        Ok(())
    }

    /// MOV to CR4.
    ///
    /// # Errors
    /// #GP(0) for bits this CPU model has not, and for forbidden transitions.
    pub(super) fn write_cr4(&mut self, value: u64) -> Exec {
        let changed = value ^ self.cr4;
        let enables_pcid = changed & value & cr::CR4_PCIDE != 0;
        let impossible = value & !self.features.cr4_allowed() != 0
            || self.long_mode() && value & cr::CR4_PAE == 0
            || enables_pcid && (!self.long_mode() || self.cr3 & 0xfff != 0);
        if impossible {
            return self.gp(0);
        }
        const PAGING: u64 = cr::CR4_PSE | cr::CR4_PAE | cr::CR4_PGE | cr::CR4_SMEP;
        let before = self.cr4;
        self.cr4 = value;
        if changed & PAGING != 0 && self.pae_without_long_mode() {
            self.load_pdptrs(self.cr3)
                .inspect_err(|_| self.cr4 = before)?;
        }
        if changed & (PAGING | cr::CR4_SMAP | cr::CR4_PCIDE) != 0 {
            self.invalidate(Invalidate::All);
        }
        self.select_tlb();
        Ok(())
    }
}

fn invlpg(cpu: &mut Cpu, op: &Op) -> Exec {
    cpu.require_ring_0()?;
    let offset = cpu.effective(op) & op.addressing.mask();
    let gva = cpu.seg_base[usize::from(op.seg)].wrapping_add(offset);
    if cpu.mode != CodeMode::Bits64 {
        cpu.invalidate(Invalidate::Page(gva & 0xffff_ffff));
    } else if canonical(gva) {
        // A non-canonical address invalidates nothing.
        cpu.invalidate(Invalidate::Page(gva));
    }
    Ok(())
}

/// INVPCID (Intel SDM vol. 2). More is forgotten than asked for, which the architecture allows.
fn invpcid(cpu: &mut Cpu, op: &Op) -> Exec {
    if !cpu.features.invpcid {
        return cpu.undefined();
    }
    cpu.require_ring_0()?;
    let kind = if cpu.mode == CodeMode::Bits64 {
        cpu.get::<u64>(op.dst)
    } else {
        u64::from(cpu.get::<u32>(op.dst))
    };
    let gva = cpu.address(op, 16, false)?;
    let mut descriptor = [0; 16];
    cpu.read_bytes(gva, &mut descriptor)?;
    let (pcid, address) = descriptor.split_at(8);
    let pcid = u64::from_le_bytes(pcid.try_into().unwrap_or_default());
    let address = u64::from_le_bytes(address.try_into().unwrap_or_default());
    if kind > 3 || pcid >> 12 != 0 && kind < 2 {
        return cpu.gp(0);
    }
    let other = pcid != 0 && cpu.cr4 & cr::CR4_PCIDE == 0;
    match kind {
        0 | 1 if other => return cpu.gp(0),
        0 if !canonical(address) => return cpu.gp(0),
        0 => cpu.invalidate(Invalidate::Page(address)),
        1 => cpu.invalidate(Invalidate::Pcid(pcid as u16)),
        _ => cpu.invalidate(Invalidate::All),
    }
    Ok(())
}

/// CLI and STI may be used up to IOPL (VME and PVI are not offered).
fn require_iopl(cpu: &mut Cpu) -> Exec {
    let iopl = (cpu.system_flags & flags::IOPL) >> 12;
    if cpu.cr0 & cr::CR0_PE != 0 && u64::from(cpu.cpl) > iopl {
        cpu.gp(0)
    } else {
        Ok(())
    }
}

fn cli(cpu: &mut Cpu, _: &Op) -> Exec {
    require_iopl(cpu)?;
    cpu.system_flags &= !flags::IF;
    Ok(())
}

/// Interrupts open after the instruction that follows (Intel SDM vol. 3, 6.8.3): the block is cut
/// behind that one, or, if STI is its last, the run loop is told.
fn sti(cpu: &mut Cpu, op: &Op) -> Exec {
    require_iopl(cpu)?;
    if cpu.system_flags & flags::IF == 0 {
        cpu.system_flags |= flags::IF;
        cpu.system_flags_changed();
        let next = std::ptr::from_ref(op).wrapping_add(1);
        if next < cpu.ops_end {
            cpu.ops_end = next.wrapping_add(1);
        } else {
            cpu.events |= event::STI_SHADOW;
        }
    }
    Ok(())
}

fn set_ac(cpu: &mut Cpu, on: bool) -> Exec {
    if cpu.cr4 & cr::CR4_SMAP == 0 && !cpu.features.smap {
        return cpu.undefined();
    }
    if cpu.cpl != 0 {
        return cpu.undefined();
    }
    if on {
        cpu.system_flags |= flags::AC;
    } else {
        cpu.system_flags &= !flags::AC;
    }
    cpu.select_tlb();
    Ok(())
}
