//! Transfers of control: chained exits, and branches through the table.

use iced_x86::OpKind;

use super::emit::{Emit, Emitter, Exit, NotNative, Rest};
use super::emit_memory::Want;
use super::fast::{BRANCH_ENTRIES, Fast};
use super::host::{Mem, Target, cc, reg};
use super::native;
use super::source::{Guest, Source};
use crate::mmu::tlb::Table;

impl Emitter<'_> {
    /// The end of a block that simply goes on.
    pub(super) fn exit(&mut self, source: &Source, target: u64, live: bool) {
        self.exit_to(source.end().wrapping_sub(1), target, live);
    }

    pub(super) fn jump(&mut self, guest: &Guest) -> Emit {
        let target = guest.ins.near_branch_target();
        self.exit_to(guest.ins.ip(), target, guest.live_after != 0);
        Ok(())
    }

    pub(super) fn jump_if(&mut self, guest: &Guest) -> Emit {
        self.need_flags();
        let target = guest.ins.near_branch_target();
        let (from, condition) = (guest.ins.ip(), guest.ins.condition_code() as u8);
        let condition = encoding_of(condition);
        let state = self.flag_state();
        if same_page(from, target) && target > from {
            // The jump itself is the link.
            let live = self.flags_in_eflags();
            let jump = self.asm.jcc_later(condition);
            self.link(jump, target, live, None);
        } else {
            let over = self.asm.jcc_later(condition ^ 1);
            self.exit_to(from, target, guest.live_taken != 0);
            let here = self.asm.here();
            self.asm.bind(over, here);
        }
        self.set_flag_state(state);
        Ok(())
    }

    /// Leaves the block for `target`.
    fn exit_to(&mut self, from: u64, target: u64, flags_are_live: bool) {
        let live = flags_are_live && self.flags_in_eflags() && !self.flags_saved();
        let backward = target <= from;
        let mut to_stub = Vec::new();
        let mut view = None;
        if !same_page(from, target) {
            let user = self.table == Table::User;
            let slot = Mem::cpu(native::fast(Fast::view_offset(user, target & !0xfff)));
            if live {
                self.asm.load32(reg::RCX, slot);
                self.asm
                    .rm(true, &[0x8d], reg::RCX, Mem::at(reg::RCX, i32::MIN));
                view = Some((self.before(4), true));
                self.asm.bytes(&[0xe3, 5]); // jrcxz over the jump
                to_stub.push(self.asm.jmp_later());
            } else {
                self.asm.rm(false, &[0x81], 7, slot);
                self.asm.imm32(-1);
                view = Some((self.before(4), false));
                to_stub.push(self.asm.jcc_later(cc::NE));
            }
        }
        // Loops go backwards somewhere: there the vCPU looks whether somebody wants it.
        let jump = if backward && live {
            self.asm.load(reg::RCX, native::attention());
            self.asm.load32(reg::RCX, Mem::at(reg::RCX, 0));
            self.asm.bytes(&[0xe3, 5]);
            to_stub.push(self.asm.jmp_later());
            self.asm.jmp_later()
        } else if backward {
            self.asm.load(reg::RCX, native::attention());
            self.asm.cmp32_zero(Mem::at(reg::RCX, 0));
            let jump = self.asm.jcc_later(cc::E);
            to_stub.push(self.asm.jmp_later());
            jump
        } else {
            self.asm.jmp_later()
        };
        let unlinked = self.link(jump, target, live, view);
        for pending in to_stub {
            self.asm.bind(pending, unlinked);
        }
    }

    /// Where the last `length` bytes begin.
    fn before(&self, length: u32) -> Target {
        match self.asm.here() {
            Target::Hot(at) => Target::Hot(at - length),
            Target::Cold(at) => Target::Cold(at - length),
            Target::Code(at) => Target::Code(at - length),
        }
    }

    /// Makes an exit of a jump.
    fn link(
        &mut self,
        jump: super::host::Pending,
        target: u64,
        live: bool,
        view: Option<(Target, bool)>,
    ) -> Target {
        let index = self.product.exits.len();
        self.asm.set_cold(true);
        let unlinked = self.asm.here();
        let stub = if live {
            self.stubs.exit_live
        } else {
            self.stubs.exit
        };
        self.enter_stub(index, stub);
        self.asm.set_cold(false);
        self.asm.bind(jump, unlinked);
        self.product.exits.push(Exit {
            target,
            jump: self.asm.displacement_of(jump),
            unlinked,
            view,
            live,
            links: true,
        });
        unlinked
    }

    pub(super) fn jump_indirect(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        self.target(guest)?;
        self.branch(guest, 0);
        Ok(())
    }

    pub(super) fn call_indirect(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        self.target(guest)?;
        self.asm.store(native::scratch(1), reg::RCX);
        // A target that is not canonical faults before anything is pushed.
        self.asm.mov(reg::RAX, reg::RCX);
        self.asm.rr(true, &[0xc1], 4, reg::RAX); // shl
        self.asm.bytes(&[16]);
        self.asm.rr(true, &[0xc1], 7, reg::RAX); // sar
        self.asm.bytes(&[16]);
        self.asm.rr(true, &[0x3b], reg::RAX, reg::RCX);
        let faults = self.asm.jcc_later(cc::NE);
        let site = self.site(guest, 0);
        self.asm.set_cold(true);
        let here = self.asm.here();
        self.asm.bind(faults, here);
        self.enter_stub(site, self.stubs.interpret);
        self.asm.set_cold(false);
        self.clobbered();
        self.push_return_address(guest, Rest::CallIndirect);
        self.asm.load(reg::RCX, native::scratch(1));
        self.branch(guest, 8);
        Ok(())
    }

    /// The target of an indirect branch, in RCX.
    fn target(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        match ins.op0_kind() {
            OpKind::Register => {
                let host = self.in_host(ins.op0_register(), reg::RCX);
                if host != reg::RCX {
                    self.asm.mov(reg::RCX, host);
                }
            }
            OpKind::Memory => {
                self.address(ins)?;
                self.check(guest, 8, 1, Want::Load);
                self.asm.load(reg::RCX, Mem::at(reg::RCX, 0));
            }
            _ => return Err(NotNative),
        }
        Ok(())
    }

    pub(super) fn call(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        let target = guest.ins.near_branch_target();
        self.push_return_address(guest, Rest::CallTo(target));
        self.exit_to(guest.ins.ip(), target, guest.live_after != 0);
        Ok(())
    }

    fn push_return_address(&mut self, guest: &Guest, rest: Rest) {
        let next = guest.ins.next_ip();
        let place = self.push_check(guest);
        self.product.sites[place.site].rest = rest;
        match i32::try_from(next as i64) {
            Ok(short) => {
                self.before_store(place, false);
                self.asm.rm(true, &[0xc7], 0, Mem::at(reg::RCX, 0));
                self.asm.imm32(short);
                self.check_watch(place, false);
            }
            Err(_) => {
                self.before_store(place, true);
                self.asm.constant(reg::RAX, next);
                self.asm.store(Mem::at(reg::RCX, 0), reg::RAX);
                self.check_watch(place, true);
            }
        }
        self.asm.lea(reg::GUEST_RSP, Mem::at(reg::GUEST_RSP, -8));
    }

    pub(super) fn ret(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        let release = match guest.ins.op_count() {
            0 => 0,
            _ => i32::from(guest.ins.immediate16()),
        } + 8;
        self.asm.mov(reg::RCX, reg::GUEST_RSP);
        self.check_at(guest, 8, 1, Want::Load, true);
        self.asm.load(reg::RCX, Mem::at(reg::RCX, 0));
        self.asm
            .lea(reg::GUEST_RSP, Mem::at(reg::GUEST_RSP, release));
        self.branch(guest, -release);
        Ok(())
    }

    /// Goes on at the guest address in RCX, through the branch table: whatever block is there checks
    /// that it is the one that is meant. `undo` is what RSP must be changed by to be as before.
    fn branch(&mut self, guest: &Guest, undo: i32) {
        let site = self.site(guest, 0);
        self.product.sites[site].undo = undo;
        let number = self.number(site);
        self.asm.store32_imm(native::branch(), number);
        self.asm.load(reg::RAX, native::attention());
        self.asm.cmp32_zero(Mem::at(reg::RAX, 0));
        self.asm.jcc(cc::NE, Target::Code(self.stubs.miss));
        self.asm.mov32(reg::RAX, reg::RCX);
        self.asm.bytes(&[0x25]); // and eax
        self.asm.imm32(BRANCH_ENTRIES as i32 - 1);
        let slot = Mem {
            base: Some(reg::RSP),
            index: Some((reg::RAX, 3)),
            disp: native::fast(Fast::branch_offset(self.table)),
        };
        self.asm.rm(false, &[0xff], 4, slot); // jmp
    }
}

fn same_page(a: u64, b: u64) -> bool {
    (a ^ b) & !0xfff == 0
}

/// The encoding of an iced-x86 condition code, which counts from 1 in the same order.
fn encoding_of(condition: u8) -> u8 {
    // iced-x86 orders them O NO B AE E NE BE A S NS P NP L GE LE G, as the encodings do.
    condition - 1
}
