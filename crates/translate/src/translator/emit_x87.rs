//! x87 and MMX instructions: copied like others, over the host's own x87 registers.
//!
//! They hold the guest's from the first block that uses them until translated code is left or the
//! interpreter runs an instruction: the functions stubs call do not touch them, so most stubs leave
//! them alone. Code is translated this way only while every x87 exception is masked.

use iced_x86::{Code, Mnemonic};

use super::classify::Class;
use super::emit::{Emit, Emitter};
use super::emit_memory::Want;
use super::host::{Mem, cc, reg};
use super::native;
use super::source::Guest;
use crate::cpu::Cpu;

impl Emitter<'_> {
    /// At a block's entry: loads the registers if they are in memory. `live`: flags matter.
    pub(super) fn x87_loaded(&mut self, live: bool) {
        let load = self.stubs.load_x87;
        self.loaded(native::x87_away(), load, live);
    }

    pub(super) fn x87(&mut self, guest: &Guest) -> Emit {
        match guest.ins.code() {
            // Exceptions do not wait where this is translated.
            Code::Wait => Ok(()),
            Code::Fnstsw_AX => {
                self.asm.bytes(&[0xdf, 0xe0]);
                self.asm.bytes(&[0x66]);
                self.asm.rr(false, &[0x89], reg::RAX, reg::GUEST_RAX); // mov r11w, ax
                Ok(())
            }
            Code::Fldcw_m2byte => self.load_control_word(guest),
            _ => self.copy(guest),
        }
    }

    /// FLDCW, if the word masks every exception: then this code remains the right one.
    fn load_control_word(&mut self, guest: &Guest) -> Emit {
        self.save_flags(guest.live_after);
        self.address(&guest.ins)?;
        let loaded = self.check(guest, 2, 1, Want::Load).site;
        // What is looked at is what is loaded: another vCPU may store to the word meanwhile.
        self.asm
            .rm(false, &[0x0f, 0xb7], reg::RAX, Mem::at(reg::RCX, 0)); // movzx
        self.asm.store(native::scratch(1), reg::RAX);
        self.asm.bytes(&[0x24, 0x3f]); // and al
        self.asm.bytes(&[0x3c, 0x3f]); // cmp al
        let unmasks = self.asm.jcc_later(cc::NE);
        let refused = self.site(guest, 0);
        self.asm.set_cold(true);
        let here = self.asm.here();
        self.asm.bind(unmasks, here);
        self.enter_stub(refused, self.stubs.interpret);
        self.asm.set_cold(false);
        self.asm.rm(false, &[0xd9], 5, native::scratch(1)); // fldcw
        self.goes_on(refused);
        self.goes_on(loaded);
        Ok(())
    }
}

/// How an x87 or MMX instruction is translated where nothing can trap. Those that store or load the
/// last-instruction pointers or the status word are the interpreter's, and those that look at SSE
/// state, too.
pub(super) fn class_of(mnemonic: Mnemonic, uses_vectors: bool) -> Class {
    use Mnemonic::*;
    match mnemonic {
        Fldenv | Frstor | Fnstenv | Fnsave => Class::Interpret { ends: false },
        Cvtps2pi | Cvttps2pi | Cvtpd2pi | Cvttpd2pi => Class::Interpret { ends: false },
        _ if uses_vectors => Class::Interpret { ends: false },
        _ => Class::X87,
    }
}

impl Cpu {
    /// Moves x87 state that is in the host's registers to where the interpreter has it.
    pub(super) fn settle_x87(&mut self) {
        if self.native.x87_away == 0 {
            // SAFETY: translated code has loaded it, and nothing has used x87 since but the guest.
            unsafe { self.vectors.save_x87(self.native.host_fcw) };
            self.native.x87_away = 1;
        }
    }

    /// Moves it to the host's registers if the code that is gone on with had it there.
    pub(super) fn reload_x87(&mut self) {
        if std::mem::take(&mut self.native.x87_reload) {
            // SAFETY: such code is there only if the host can do it and nothing can trap; the state
            // is settled before anything else uses x87.
            unsafe { self.vectors.load_x87(&mut self.native.host_fcw) };
            self.native.x87_away = 0;
        }
    }
}
