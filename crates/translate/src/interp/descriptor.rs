//! Reading descriptor tables and loading segment registers (Intel SDM vol. 3, 3.4 and 5).

use wardian_engine::state::Segment;

use crate::cpu::exception::{Exec, vector};
use crate::cpu::segment::{SegmentExt, index};
use crate::cpu::{CodeMode, Cpu, event};

/// The selector's table bit.
const LOCAL: u16 = 4;
/// Offset of a descriptor's type byte, and its accessed bit.
const TYPE_BYTE: u64 = 5;
const ACCESSED: u64 = 1 << 40;

impl Cpu {
    /// Linear address of a selector's descriptor, if the table reaches that far.
    fn descriptor_address(&self, selector: u16, size: u64) -> Option<u64> {
        let (base, limit) = if selector & LOCAL == 0 {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        } else {
            let ldt = &self.seg[index::LDTR];
            if ldt.unusable() {
                return None;
            }
            (ldt.base, u64::from(ldt.limit))
        };
        let offset = u64::from(selector & !7);
        (offset + size - 1 <= limit).then(|| base.wrapping_add(offset))
    }

    /// A descriptor's eight bytes, or `None` beyond the table.
    pub(super) fn descriptor(&mut self, selector: u16) -> Exec<Option<u64>> {
        match self.descriptor_address(selector, 8) {
            Some(at) => self.system_read(at).map(Some),
            None => Ok(None),
        }
    }

    /// A descriptor's eight bytes; beyond the table, fault `vector` with the selector.
    pub(super) fn descriptor_or(&mut self, selector: u16, vector: u8, ext: u32) -> Exec<u64> {
        match self.descriptor(selector)? {
            Some(raw) => Ok(raw),
            None => self.fault(vector, Some(u32::from(selector & !3) | ext)),
        }
    }

    /// The upper half of a 16-byte system descriptor.
    pub(super) fn descriptor_upper(&mut self, selector: u16, vector: u8) -> Exec<u64> {
        match self.descriptor_address(selector, 16) {
            Some(at) => self.system_read(at.wrapping_add(8)),
            None => self.fault(vector, Some(u32::from(selector & !3))),
        }
    }

    /// Sets the accessed bit of a code or data descriptor just loaded.
    pub(super) fn mark_accessed(&mut self, selector: u16, raw: u64) -> Exec {
        if raw & ACCESSED == 0 {
            self.set_type_bits(selector, raw, ACCESSED)?;
        }
        Ok(())
    }

    /// Sets bits in a descriptor's type byte (accessed, or busy for a TSS).
    pub(super) fn set_type_bits(&mut self, selector: u16, raw: u64, bits: u64) -> Exec {
        if let Some(at) = self.descriptor_address(selector, 8) {
            self.system_write(at.wrapping_add(TYPE_BYTE), ((raw | bits) >> 40) as u8)?;
        }
        Ok(())
    }

    /// Loads ES, SS, DS, FS or GS as MOV and POP do.
    ///
    /// # Errors
    /// #GP, #NP, #SS, #PF.
    pub(super) fn load_segment(&mut self, which: usize, selector: u16) -> Exec {
        if !self.protected() {
            let segment = if self.cr0 & crate::cpu::cr::CR0_PE != 0 {
                virtual_8086_segment(selector)
            } else {
                self.seg[which].real_mode(selector)
            };
            self.set_segment(which, segment);
            return Ok(());
        }
        if which == index::SS {
            return self.load_stack_segment(selector);
        }
        if selector & !3 == 0 {
            // FS and GS bases survive a null selector on some processors; here, as on Intel's, they
            // become zero.
            self.set_segment(which, Segment::null(selector));
            return Ok(());
        }
        let error = u32::from(selector & !3);
        let raw = self.descriptor_or(selector, vector::GP, 0)?;
        let segment = Segment::from_descriptor(selector, raw);
        let rpl = (selector & 3) as u8;
        let privileged = !segment.conforming() && (rpl > segment.dpl() || self.cpl > segment.dpl());
        if !segment.readable() || privileged {
            return self.gp(error);
        }
        if !segment.present() {
            return self.fault(vector::NP, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        self.set_segment(which, segment);
        Ok(())
    }

    fn load_stack_segment(&mut self, selector: u16) -> Exec {
        let rpl = (selector & 3) as u8;
        if selector & !3 == 0 {
            if self.mode != CodeMode::Bits64 || self.cpl == 3 || rpl != self.cpl {
                return self.gp(0);
            }
            self.set_segment(index::SS, Segment::null(selector));
            return Ok(());
        }
        let error = u32::from(selector & !3);
        let raw = self.descriptor_or(selector, vector::GP, 0)?;
        let segment = Segment::from_descriptor(selector, raw);
        if rpl != self.cpl || !segment.writable() || segment.dpl() != self.cpl {
            return self.gp(error);
        }
        if !segment.present() {
            return self.fault(vector::SS, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        self.set_segment(index::SS, segment);
        Ok(())
    }

    /// After a load of SS: the next instruction, which loads the stack pointer, is not interrupted.
    pub(super) fn shadow_after_stack_load(&mut self, which: usize) {
        if which == index::SS {
            self.events |= event::MOV_SS_SHADOW;
            self.end_block();
        }
    }
}

/// Segments in virtual-8086 mode: 64 KiB at selector × 16, privilege 3.
pub(super) fn virtual_8086_segment(selector: u16) -> Segment {
    Segment {
        selector,
        base: u64::from(selector) << 4,
        limit: 0xffff,
        attributes: 0xf3,
    }
}
