//! Arithmetic that uses registers it does not name: shifts by CL, MUL, DIV, CBW to CQO, CMPXCHG.

use iced_x86::{Instruction, Mnemonic, OpKind, Register};

use super::classify::is_high;
use super::emit::{Emit, Emitter, NotNative};
use super::emit_copy::{Operands, general, redirect};
use super::emit_memory::Want;
use super::host::{Mem, cc, held, reg};
use super::native;
use super::source::Guest;

impl Emitter<'_> {
    pub(super) fn shift_by_cl(&mut self, guest: &Guest) -> Emit {
        let operands = Operands::of_shift(&guest.ins)?;
        if Self::wants_flags(guest) {
            self.need_flags();
        }
        let mut copy = self.rename(&guest.ins, &operands, &[reg::RAX]);
        self.asm.mov32(reg::RCX, reg::GUEST_RCX);
        let last = copy.op_count() - 1;
        copy.set_op_register(last, Register::CL);
        self.encode(&copy)?;
        self.put_back(&operands, &[reg::RAX]);
        self.after_copy(guest);
        Ok(())
    }

    /// MUL and IMUL of RAX into RDX:RAX.
    pub(super) fn multiply(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        if ins.op0_kind() == OpKind::Memory {
            self.save_flags(guest.live_after & !guest.flags.kills);
            self.address(ins)?;
            let site = self
                .check(guest, ins.memory_size().size(), 1, Want::Load)
                .site;
            let mut copy = *ins;
            redirect(&mut copy, Register::RCX, 0);
            self.asm.mov(reg::RAX, reg::GUEST_RAX);
            self.encode(&copy)?;
            self.asm.mov(reg::GUEST_RAX, reg::RAX);
            self.after_copy(guest);
            self.goes_on(site);
            return Ok(());
        }
        let operands = Operands::of_first(ins)?;
        let copy = self.rename(ins, &operands, &[reg::RCX]);
        self.asm.mov(reg::RAX, reg::GUEST_RAX);
        self.encode(&copy)?;
        self.asm.mov(reg::GUEST_RAX, reg::RAX);
        self.after_copy(guest);
        Ok(())
    }

    /// DIV and IDIV of 32 and 64 bits. What could raise #DE on the host goes to the interpreter: for
    /// DIV a quotient that does not fit; for IDIV any dividend that is not a sign-extended RAX, and
    /// divisors 0 and -1.
    pub(super) fn divide(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        let wide = match ins.op0_kind() {
            OpKind::Memory => ins.memory_size().size(),
            _ => ins.op0_register().size(),
        };
        if wide < 4 {
            return Err(NotNative);
        }
        let wide = wide == 8;
        self.save_flags(guest.live_after & !guest.flags.kills);
        let mut loaded = None;
        if ins.op0_kind() == OpKind::Memory {
            self.address(ins)?;
            let size = if wide { 8 } else { 4 };
            loaded = Some(self.check(guest, size, 1, Want::Load).site);
            self.asm.rm(wide, &[0x8b], reg::RCX, Mem::at(reg::RCX, 0));
        } else {
            if is_high(ins.op0_register()) {
                return Err(NotNative);
            }
            let host = self.in_host(ins.op0_register(), reg::RCX);
            self.asm.rr(wide, &[0x8b], reg::RCX, host);
        }
        let refused = self.site(guest, 0);
        let mut away = Vec::new();
        let extension = if ins.mnemonic() == Mnemonic::Div {
            self.asm.rr(wide, &[0x3b], reg::RDX, reg::RCX); // cmp
            away.push(self.asm.jcc_later(cc::AE));
            6
        } else {
            self.asm.rm(wide, &[0x8d], reg::RAX, Mem::at(reg::RCX, 1));
            self.asm.rr(wide, &[0x83], 7, reg::RAX); // cmp rax, 1
            self.asm.bytes(&[1]);
            away.push(self.asm.jcc_later(cc::BE));
            self.asm.rr(wide, &[0x8b], reg::RAX, reg::GUEST_RAX);
            self.asm.rr(wide, &[0xc1], 7, reg::RAX); // sar
            self.asm.bytes(&[if wide { 63 } else { 31 }]);
            self.asm.rr(wide, &[0x3b], reg::RAX, reg::RDX);
            away.push(self.asm.jcc_later(cc::NE));
            7
        };
        self.asm.set_cold(true);
        let here = self.asm.here();
        for pending in away {
            self.asm.bind(pending, here);
        }
        self.enter_stub(refused, self.stubs.interpret);
        self.asm.set_cold(false);
        self.asm.mov(reg::RAX, reg::GUEST_RAX);
        self.asm.rr(wide, &[0xf7], extension, reg::RCX);
        self.asm.mov(reg::GUEST_RAX, reg::RAX);
        self.clobbered();
        self.flags_written();
        self.goes_on(refused);
        if let Some(site) = loaded {
            self.goes_on(site);
        }
        Ok(())
    }

    pub(super) fn sign_extend(&mut self, ins: &Instruction) -> Emit {
        let rax = reg::GUEST_RAX;
        match ins.mnemonic() {
            Mnemonic::Cdqe => self.asm.rr(true, &[0x63], rax, rax), // movsxd
            Mnemonic::Cwde => self.asm.rr(false, &[0x0f, 0xbf], rax, rax), // movsx
            Mnemonic::Cbw => {
                self.asm.bytes(&[0x66]);
                self.asm.rr(false, &[0x0f, 0xbe], rax, rax);
            }
            other => {
                self.asm.mov(reg::RAX, rax);
                self.asm.bytes(match other {
                    Mnemonic::Cqo => &[0x48, 0x99],
                    Mnemonic::Cdq => &[0x99],
                    _ => &[0x66, 0x99],
                });
            }
        }
        Ok(())
    }

    pub(super) fn compare_exchange(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        if ins.op0_kind() != OpKind::Memory {
            return Err(NotNative);
        }
        let source = ins.op1_register();
        if is_high(source) {
            return Err(NotNative);
        }
        let number = source.full_register().number() as u8;
        let size = ins.memory_size().size();
        let mut copy = *ins;
        redirect(&mut copy, Register::RCX, 0);
        // RAX and RCX are taken: a register from memory borrows RDX.
        let borrowed = held(number).is_none();
        let host = held(number).unwrap_or(reg::RDX);
        copy.set_op1_register(general(size, host));
        self.save_flags(guest.live_after & !guest.flags.kills);
        self.address(ins)?;
        let place = self.check(guest, size, 1, Want::Store);
        self.before_store(place, true);
        if borrowed {
            self.asm.store(native::scratch(1), reg::RDX);
            self.asm.load(reg::RDX, native::register(number));
        }
        self.asm.mov(reg::RAX, reg::GUEST_RAX);
        self.encode(&copy)?;
        self.asm.mov(reg::GUEST_RAX, reg::RAX);
        if borrowed {
            self.asm.load(reg::RDX, native::scratch(1));
        }
        self.after_copy(guest);
        self.check_watch_live(place, true);
        self.goes_on(place.site);
        Ok(())
    }
}

impl Operands {
    /// For a shift by CL, whose count is handled apart.
    fn of_shift(ins: &Instruction) -> Result<Self, NotNative> {
        let mut found = Self {
            registers: Vec::new(),
            in_memory: Vec::new(),
            memory: None,
        };
        for n in 0..ins.op_count() - 1 {
            found.add(ins, n, n == 0)?;
        }
        if found.in_memory.len() > 1 {
            return Err(NotNative);
        }
        Ok(found)
    }

    /// For an instruction whose only named operand is read.
    fn of_first(ins: &Instruction) -> Result<Self, NotNative> {
        let mut found = Self {
            registers: Vec::new(),
            in_memory: Vec::new(),
            memory: None,
        };
        found.add(ins, 0, false)?;
        Ok(found)
    }

    fn add(&mut self, ins: &Instruction, n: u32, written: bool) -> Emit {
        let register = ins.op_register(n);
        if ins.op_kind(n) != OpKind::Register || is_high(register) {
            return Err(NotNative);
        }
        let guest = register.full_register().number() as u8;
        self.registers.push((n, guest, register.size()));
        if held(guest).is_none() && !self.in_memory.iter().any(|&(m, _)| m == guest) {
            self.in_memory.push((guest, written));
        }
        Ok(())
    }
}
