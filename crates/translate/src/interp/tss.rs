//! Stacks for more privileged levels, from the task-state segment (Intel SDM vol. 3, 7.2 and 7.7).

use wardian_engine::state::Segment;

use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, vector};
use crate::cpu::segment::{SegmentExt, index};

impl Cpu {
    fn tss_error<T>(&mut self, ext: u32) -> Exec<T> {
        let selector = u32::from(self.seg[index::TR].selector & !3);
        self.fault(vector::TS, Some(selector | ext))
    }

    pub(super) fn tss_stack_long(&mut self, offset: u64, ext: u32) -> Exec<u64> {
        let tss = self.seg[index::TR];
        if offset + 7 > u64::from(tss.limit) {
            return self.tss_error(ext);
        }
        self.system_read(tss.base.wrapping_add(offset))
    }

    /// SS:ESP for a privilege level from a 16- or 32-bit TSS.
    pub(super) fn tss_stack_legacy(&mut self, level: u8, ext: u32) -> Exec<(u16, u64)> {
        let tss = self.seg[index::TR];
        if tss.attributes & 8 != 0 {
            let at = 4 + u64::from(level) * 8;
            if at + 5 > u64::from(tss.limit) {
                return self.tss_error(ext);
            }
            let pointer = self.system_read::<u32>(tss.base.wrapping_add(at))?;
            let selector = self.system_read::<u16>(tss.base.wrapping_add(at + 4))?;
            Ok((selector, u64::from(pointer)))
        } else {
            let at = 2 + u64::from(level) * 4;
            if at + 3 > u64::from(tss.limit) {
                return self.tss_error(ext);
            }
            let pointer = self.system_read::<u16>(tss.base.wrapping_add(at))?;
            let selector = self.system_read::<u16>(tss.base.wrapping_add(at + 2))?;
            Ok((selector, u64::from(pointer)))
        }
    }

    /// The stack segment for a more privileged level (Intel SDM vol. 3, 6.12.1).
    pub(super) fn inner_stack_segment(
        &mut self,
        selector: u16,
        level: u8,
        ext: u32,
    ) -> Exec<Segment> {
        let error = u32::from(selector & !3) | ext;
        if selector & !3 == 0 {
            return self.fault(vector::TS, Some(ext));
        }
        let raw = self.descriptor_or(selector, vector::TS, ext)?;
        let stack = Segment::from_descriptor(selector, raw);
        if (selector & 3) as u8 != level || stack.dpl() != level || !stack.writable() {
            return self.fault(vector::TS, Some(error));
        }
        if !stack.present() {
            return self.fault(vector::SS, Some(error));
        }
        self.mark_accessed(selector, raw)?;
        Ok(stack)
    }
}
