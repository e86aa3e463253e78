//! Instructions about the machine that kernels use all the time: the interrupt flag, the flags image,
//! SWAPGS. What they change is in memory of the vCPU.

use super::emit::{Emit, Emitter, Exit, NotNative};
use super::host::{Mem, cc, reg};
use super::native;
use super::source::Guest;
use crate::cpu::flags;
use crate::mmu::tlb::Table;

impl Emitter<'_> {
    fn require_ring_0(&self) -> Emit {
        if self.table == Table::User {
            Err(NotNative)
        } else {
            Ok(())
        }
    }

    pub(super) fn clear_interrupts(&mut self, guest: &Guest) -> Emit {
        self.require_ring_0()?;
        self.save_flags(guest.live_after);
        self.asm.rm(false, &[0x81], 4, native::system_flags()); // and
        self.asm.imm32(!(flags::IF as i32));
        self.clobbered();
        Ok(())
    }

    /// STI, of which the caller knows that another instruction of the block follows: behind that one
    /// [`Emitter::look_for_interrupts`] goes.
    pub(super) fn set_interrupts(&mut self, guest: &Guest) -> Emit {
        self.require_ring_0()?;
        self.save_flags(guest.live_after);
        self.asm.rm(false, &[0x81], 1, native::system_flags()); // or
        self.asm.imm32(flags::IF as i32);
        self.clobbered();
        Ok(())
    }

    /// Leaves the block behind `guest` if an interrupt has been waiting for STI.
    pub(super) fn look_for_interrupts(&mut self, guest: &Guest) {
        self.save_flags(guest.live_after);
        self.asm.cmp8_zero(native::interrupt_waiting());
        let waiting = self.asm.jcc_later(cc::NE);
        self.clobbered();
        let index = self.product.exits.len();
        self.asm.set_cold(true);
        let unlinked = self.asm.here();
        self.enter_stub(index, self.stubs.exit);
        self.asm.set_cold(false);
        self.asm.bind(waiting, unlinked);
        self.product.exits.push(Exit {
            target: guest.ins.next_ip(),
            jump: self.asm.displacement_of(waiting),
            unlinked,
            view: None,
            live: false,
            links: false,
        });
    }

    /// PUSHFQ. RF and VM are never set where code is translated.
    pub(super) fn push_flags(&mut self, guest: &Guest) -> Emit {
        self.save_flags(super::classify::ARITHMETIC);
        self.asm.load32(reg::RAX, native::flags());
        self.asm.bytes(&[0x0f, 0xb6, 0xcc]); // movzx ecx, ah: bit 1 is set in what LAHF gives
        self.asm.bytes(&[0x0f, 0xb6, 0xc0]); // movzx eax, al
        self.asm.bytes(&[0xc1, 0xe0, 11]); // shl eax, 11: OF
        self.asm.rr(true, &[0x0b], reg::RAX, reg::RCX); // or
        self.asm.rm(true, &[0x0b], reg::RAX, native::system_flags());
        self.asm.store(native::scratch(1), reg::RAX);
        self.clobbered();
        let place = self.push_check(guest);
        self.push_from(place, native::scratch(1));
        Ok(())
    }

    pub(super) fn swap_gs(&mut self) -> Emit {
        self.require_ring_0()?;
        let base = native::segment_base(crate::cpu::segment::index::GS);
        self.asm.load(reg::RAX, base);
        self.asm.load(reg::RCX, native::kernel_gs_base());
        self.asm.store(native::kernel_gs_base(), reg::RAX);
        self.asm.store(base, reg::RCX);
        // The hidden part has a copy.
        self.asm.store(native::hidden_gs_base(), reg::RCX);
        Ok(())
    }

    /// BT and its like with a register's bit offset into memory: it reaches beyond the operand.
    pub(super) fn bit_of_string(&mut self, guest: &Guest) -> Emit {
        use iced_x86::{Mnemonic, Register};
        let ins = &guest.ins;
        let size = ins.op1_register().size();
        // A narrow address wraps around after the offset is added.
        let narrow = [ins.memory_base(), ins.memory_index()]
            .iter()
            .any(|r| *r != Register::None && r.size() == 4);
        if size == 2 || narrow {
            return Err(NotNative);
        }
        let wide = size == 8;
        self.save_flags(guest.live_after & !guest.flags.kills);
        // The offset of the element goes to the address.
        self.address(ins)?;
        let number = ins.op1_register().full_register();
        let host = self.in_host(number, reg::RAX);
        if wide {
            if host != reg::RAX {
                self.asm.mov(reg::RAX, host);
            }
        } else {
            self.asm.rr(true, &[0x63], reg::RAX, host); // movsxd
        }
        self.asm.rr(true, &[0xc1], 7, reg::RAX); // sar
        self.asm.bytes(&[if wide { 6 } else { 5 }]);
        self.asm.lea(
            reg::RCX,
            Mem {
                base: Some(reg::RCX),
                index: Some((reg::RAX, if wide { 3 } else { 2 })),
                disp: 0,
            },
        );
        self.clobbered();
        let reads = ins.mnemonic() == Mnemonic::Bt;
        let want = if reads {
            super::emit_memory::Want::Load
        } else {
            super::emit_memory::Want::Store
        };
        let place = self.check(guest, size, 1, want);
        if !reads {
            self.before_store(place, true);
        }
        let host = self.in_host(number, reg::RAX);
        self.asm.mov32(reg::RAX, host);
        self.asm.bytes(&[0x83, 0xe0, if wide { 63 } else { 31 }]); // and eax
        self.asm.store(native::scratch(1), reg::RAX);
        if Self::wants_flags(guest) {
            self.need_flags();
        }
        self.asm.load(reg::RAX, native::scratch(1));
        let mut copy = *ins;
        super::emit_copy::redirect(&mut copy, Register::RCX, 0);
        copy.set_op1_register(super::emit_copy::general(size, reg::RAX));
        self.encode(&copy)?;
        self.after_copy(guest);
        if !reads {
            self.check_watch_live(place, true);
        }
        self.goes_on(place.site);
        Ok(())
    }
}
