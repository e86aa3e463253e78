//! Memory operands: the address, the check of the software TLB, and the watch over code.

use iced_x86::{Instruction, Register};

use super::emit::{Emit, Emitter, NotNative};
use super::fast::TLB_ENTRIES;
use super::hints::HintPool;
use super::host::{Mem, Pending, Target, cc, held, reg};
use super::native::{self, HintFields};
use super::source::Guest;
use crate::cpu::segment::index;

/// A memory access whose address has been checked.
#[derive(Clone, Copy)]
pub(super) struct Checked {
    pub(super) site: usize,
    hint: Option<HintFields>,
}

/// What an access wants of the TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    Load,
    Store,
}

impl Emitter<'_> {
    /// The linear address of the memory operand, in RCX. Changes RAX, and EFLAGS if there is a
    /// segment base to add.
    pub(super) fn address(&mut self, ins: &Instruction) -> Emit {
        self.effective(ins, reg::RCX)?;
        let segment = match ins.memory_segment() {
            Register::FS => index::FS,
            Register::GS => index::GS,
            _ => return Ok(()),
        };
        self.asm
            .rm(true, &[0x03], reg::RCX, native::segment_base(segment)); // add
        Ok(())
    }

    /// The effective address of the memory operand, in `to`. Uses RAX and RCX for guest registers
    /// that stay in memory, but leaves EFLAGS.
    pub(super) fn effective(&mut self, ins: &Instruction, to: u8) -> Emit {
        let (base, index_register) = (ins.memory_base(), ins.memory_index());
        let disp = ins.memory_displacement64();
        if base.is_ip() {
            let target = if base == Register::EIP {
                disp & 0xffff_ffff
            } else {
                disp
            };
            self.asm.constant(to, target);
            return Ok(());
        }
        if index_register != Register::None && !index_register.is_gpr() {
            return Err(NotNative);
        }
        let narrow = base.size() == 4 && base != Register::None
            || index_register.size() == 4 && index_register != Register::None;
        if base == Register::None && index_register == Register::None {
            self.asm.constant(to, disp);
            return Ok(());
        }
        let disp = disp as u32 as i32;
        if !narrow && i64::from(disp) as u64 != ins.memory_displacement64() {
            return Err(NotNative);
        }
        let base = (base != Register::None).then(|| self.in_host(base, reg::RCX));
        let index = (index_register != Register::None).then(|| {
            let shift = ins.memory_index_scale().trailing_zeros() as u8;
            (self.in_host(index_register, reg::RAX), shift)
        });
        let mem = Mem { base, index, disp };
        match mem {
            Mem {
                base: Some(base),
                index: None,
                disp: 0,
            } if !narrow => {
                if base != to {
                    self.asm.mov(to, base);
                }
            }
            _ => self.asm.rm(!narrow, &[0x8d], to, mem),
        }
        Ok(())
    }

    /// The host register that holds a guest register, which is `spare` if it had to be loaded.
    pub(super) fn in_host(&mut self, register: Register, spare: u8) -> u8 {
        let guest = register.full_register().number() as u8;
        held(guest).unwrap_or_else(|| {
            self.asm.load(spare, native::register(guest));
            spare
        })
    }

    /// Turns the linear address in RCX into a host address. Live flags must have been saved: EFLAGS is
    /// destroyed, and so is RAX.
    pub(super) fn check(
        &mut self,
        guest: &Guest,
        size: usize,
        align: usize,
        want: Want,
    ) -> Checked {
        let stack = guest.ins.memory_base() == Register::RSP && guest.ins.op_count() > 0;
        self.check_at(guest, size, align, want, stack)
    }

    /// As [`Emitter::check`]; `stack`: the address came from the stack pointer.
    pub(super) fn check_at(
        &mut self,
        guest: &Guest,
        size: usize,
        align: usize,
        want: Want,
        stack: bool,
    ) -> Checked {
        let site = self.site(guest, size);
        self.product.sites[site].store = want == Want::Store;
        self.product.sites[site].align = align as u8;
        let hint = if stack {
            Some(HintPool::stack(self.table, want == Want::Store))
        } else {
            let own = self.hints.take(guest.ins.ip());
            self.product.hints.extend(own);
            own
        };
        self.clobbered();
        let Some(hint) = hint.map(HintFields::of) else {
            self.check_table(site, size, align, want);
            return Checked { site, hint: None };
        };
        self.product.sites[site].hint = hint.offset;
        let retry = self.asm.here();
        self.asm.rm(true, &[0x33], reg::RCX, hint.tag()); // xor: the offset in the page
        let elsewhere = self.outside(size, align);
        self.asm.rm(true, &[0x03], reg::RCX, hint.host()); // add
        self.asm.set_cold(true);
        let here = self.asm.here();
        self.asm.bind(elsewhere, here);
        self.asm.rm(true, &[0x33], reg::RCX, hint.tag()); // the address again
        self.asm.mov32(reg::RAX, reg::RCX);
        self.asm.bytes(&[0x25]); // and eax
        self.asm
            .imm32(if align > 1 { align as i32 - 1 } else { 0xfff });
        self.asm
            .cmp_imm(reg::RAX, if align > 1 { 0 } else { 4096 - size as i32 });
        let refused = self.asm.jcc_later(cc::A);
        self.asm.constant(reg::RAX, hint.offset as u64);
        let refill = match want {
            Want::Load => self.stubs.refill_load[self.table as usize],
            Want::Store => self.stubs.refill_store[self.table as usize],
        };
        self.asm.call(refill);
        self.asm.jcc(cc::AE, retry);
        let here = self.asm.here();
        self.asm.bind(refused, here);
        self.enter_stub(site, self.stubs.missed);
        self.asm.set_cold(false);
        Checked {
            site,
            hint: Some(hint),
        }
    }

    /// The check without a hint: RAX then is the offset of the TLB entry in its table.
    fn check_table(&mut self, site: usize, size: usize, align: usize, want: Want) {
        const MASK: i32 = ((TLB_ENTRIES - 1) << 5) as i32;
        let tag = match want {
            Want::Load => self.tlb.read,
            Want::Store => self.tlb.write,
        };
        self.asm.mov32(reg::RAX, reg::RCX);
        self.asm.bytes(&[0xc1, 0xe8, 7]); // shr eax, 7: page number times the size of an entry
        self.asm.bytes(&[0x25]); // and eax, MASK
        self.asm.imm32(MASK);
        self.asm.rm(true, &[0x33], reg::RCX, Mem::table(tag)); // xor: the offset in the page
        let missed = self.outside(size, align);
        self.asm
            .rm(true, &[0x03], reg::RCX, Mem::table(self.tlb.host)); // add
        self.asm.set_cold(true);
        let here = self.asm.here();
        self.asm.bind(missed, here);
        self.asm.rm(true, &[0x33], reg::RCX, Mem::table(tag)); // the address again
        self.enter_stub(site, self.stubs.missed);
        self.asm.set_cold(false);
    }

    /// A jump for offsets in RCX at which `size` bytes do not fit in the page, or that are no
    /// multiple of `align`. What is aligned to its size crosses no page.
    fn outside(&mut self, size: usize, align: usize) -> Pending {
        if align > 1 {
            self.asm.bytes(&[0x48, 0xf7, 0xc1]); // test rcx, imm32 sign-extended
            self.asm.imm32(!0xfff | (align as i32 - 1));
            return self.asm.jcc_later(cc::NE);
        }
        self.asm.cmp_imm(reg::RCX, 4096 - size as i32);
        self.asm.jcc_later(cc::A)
    }

    /// Before a store: sees to it that the address of the page's watch byte can still be found
    /// behind it. `rax_is_needed`: RAX will be overwritten meanwhile.
    pub(super) fn before_store(&mut self, checked: Checked, rax_is_needed: bool) {
        if checked.hint.is_none() && self.watches {
            self.asm.load(reg::RAX, Mem::table(self.tlb.watch));
            if rax_is_needed {
                self.asm.store(native::scratch(0), reg::RAX);
            }
        }
    }

    /// After a store: loads the address of the page's watch byte into RAX.
    fn after_store(&mut self, checked: Checked, rax_was_needed: bool) {
        match checked.hint {
            Some(hint) => self.asm.load(reg::RAX, hint.watch()),
            None if rax_was_needed => self.asm.load(reg::RAX, native::scratch(0)),
            None => {}
        }
    }

    /// After a store: has it gone to code that somebody translated? RCX has the host address of the
    /// store; flags are saved or dead.
    pub(super) fn check_watch(&mut self, checked: Checked, rax_was_needed: bool) {
        if !self.watches {
            return;
        }
        self.after_store(checked, rax_was_needed);
        self.asm.cmp8_zero(Mem::at(reg::RAX, 0));
        let watched = self.asm.jcc_later(cc::NE);
        self.asm.set_cold(true);
        let here = self.asm.here();
        self.asm.bind(watched, here);
        self.enter_stub(checked.site, self.stubs.watched);
        self.asm.set_cold(false);
        self.clobbered();
    }

    /// The same with the flags in EFLAGS, where they stay.
    pub(super) fn check_watch_live(&mut self, checked: Checked, rax_was_needed: bool) {
        if !self.watches {
            return;
        }
        self.after_store(checked, rax_was_needed);
        self.asm.load8(reg::RCX, Mem::at(reg::RAX, 0));
        let number = self.number(checked.site);
        let stub = self.stubs.watched_live;
        self.asm.skip_if_rcx_zero(|asm| {
            asm.bytes(&[0x68]);
            asm.imm32(number);
            asm.jmp(Target::Code(stub));
        });
    }

    /// Notes that the block goes on here behind the instruction of a site.
    pub(super) fn goes_on(&mut self, site: usize) {
        self.product.sites[site].after = Some(self.asm.here());
    }
}
