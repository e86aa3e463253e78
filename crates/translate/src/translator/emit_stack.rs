//! PUSH, POP and LEAVE.

use iced_x86::{OpKind, Register};

use super::emit::{Emit, Emitter, NotNative};
use super::emit_memory::{Checked, Want};
use super::host::{Mem, held, reg};
use super::native;
use super::source::Guest;

impl Emitter<'_> {
    pub(super) fn push(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        self.save_flags(guest.live_after);
        match ins.op0_kind() {
            OpKind::Register => {
                let number = ins.op0_register().number() as u8;
                let place = self.push_check(guest);
                match held(number) {
                    Some(host) => {
                        self.before_store(place, false);
                        self.asm.store(Mem::at(reg::RCX, 0), host);
                        self.pushed(place, false);
                    }
                    None => self.push_from(place, native::register(number)),
                }
            }
            OpKind::Memory => {
                self.address(ins)?;
                let load = self.check(guest, 8, 1, Want::Load).site;
                self.asm.load(reg::RCX, Mem::at(reg::RCX, 0));
                self.asm.store(native::scratch(1), reg::RCX);
                let place = self.push_check(guest);
                self.push_from(place, native::scratch(1));
                self.goes_on(load);
            }
            OpKind::Immediate8to64 | OpKind::Immediate32to64 => {
                let value = i32::try_from(ins.immediate(0) as i64).map_err(|_| NotNative)?;
                let place = self.push_check(guest);
                self.before_store(place, false);
                self.asm.rm(true, &[0xc7], 0, Mem::at(reg::RCX, 0));
                self.asm.imm32(value);
                self.pushed(place, false);
            }
            _ => return Err(NotNative),
        }
        Ok(())
    }

    /// Checks the 8 bytes below the stack pointer for a store; their host address is in RCX.
    pub(super) fn push_check(&mut self, guest: &Guest) -> Checked {
        self.asm.lea(reg::RCX, Mem::at(reg::GUEST_RSP, -8));
        self.check_at(guest, 8, 1, Want::Store, true)
    }

    /// Pushes what is in memory of the vCPU.
    pub(super) fn push_from(&mut self, place: Checked, from: Mem) {
        self.before_store(place, true);
        self.asm.load(reg::RAX, from);
        self.asm.store(Mem::at(reg::RCX, 0), reg::RAX);
        self.pushed(place, true);
    }

    fn pushed(&mut self, place: Checked, rax_was_needed: bool) {
        self.asm.lea(reg::GUEST_RSP, Mem::at(reg::GUEST_RSP, -8));
        self.check_watch(place, rax_was_needed);
        self.goes_on(place.site);
    }

    pub(super) fn pop(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        self.asm.mov(reg::RCX, reg::GUEST_RSP);
        let site = self.check_at(guest, 8, 1, Want::Load, true).site;
        if guest.ins.op0_register() == Register::RSP {
            self.asm.load(reg::GUEST_RSP, Mem::at(reg::RCX, 0));
        } else {
            let number = guest.ins.op0_register().number() as u8;
            let to = held(number).unwrap_or(reg::RAX);
            self.asm.load(to, Mem::at(reg::RCX, 0));
            if held(number).is_none() {
                self.asm.store(native::register(number), to);
            }
            self.asm.lea(reg::GUEST_RSP, Mem::at(reg::GUEST_RSP, 8));
        }
        self.goes_on(site);
        Ok(())
    }

    pub(super) fn leave(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        self.asm.mov(reg::RCX, reg::RBP);
        let site = self.check_at(guest, 8, 1, Want::Load, true).site;
        self.asm.lea(reg::GUEST_RSP, Mem::at(reg::RBP, 8));
        self.asm.load(reg::RBP, Mem::at(reg::RCX, 0));
        self.goes_on(site);
        Ok(())
    }
}
