//! Instructions that are copied: registers renamed, the memory operand redirected to `[RCX]`.

use iced_x86::{Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::classify::is_high;
use super::emit::{Emit, Emitter, NotNative};
use super::emit_memory::Want;
use super::host::{Mem, cc, held, reg};
use super::native;
use super::source::Guest;
use crate::hostexec::{required_alignment, required_isa};

/// Host registers that stand in for guest registers in memory.
const SPARE: [u8; 2] = [reg::RAX, reg::RCX];

/// How one instruction uses its operands.
struct Operands {
    /// Explicit general registers: operand, guest number, bytes.
    registers: Vec<(u32, u8, usize)>,
    /// Guest registers among them that stay in memory, and whether they are written.
    in_memory: Vec<(u8, bool)>,
    /// Bytes of the memory operand and whether it is written.
    memory: Option<(usize, bool)>,
}

impl Operands {
    fn of(ins: &Instruction) -> Result<Self, NotNative> {
        let mut factory = InstructionInfoFactory::new();
        let info = factory.info(ins);
        let mut found = Self {
            registers: Vec::new(),
            in_memory: Vec::new(),
            memory: None,
        };
        for n in 0..ins.op_count() {
            let access = info.op_access(n);
            let written = !matches!(access, OpAccess::Read | OpAccess::CondRead);
            match ins.op_kind(n) {
                OpKind::Register if ins.op_register(n).is_gpr() => {
                    let register = ins.op_register(n);
                    if is_high(register) {
                        return Err(NotNative);
                    }
                    let guest = register.full_register().number() as u8;
                    found.registers.push((n, guest, register.size()));
                    if held(guest).is_none() {
                        match found
                            .in_memory
                            .iter_mut()
                            .find(|(number, _)| *number == guest)
                        {
                            Some((_, before)) => *before |= written,
                            None => found.in_memory.push((guest, written)),
                        }
                    }
                }
                OpKind::Register if ins.op_register(n).is_segment_register() => {
                    return Err(NotNative);
                }
                OpKind::Memory => found.memory = Some((ins.memory_size().size(), written)),
                OpKind::Register
                | OpKind::Immediate8
                | OpKind::Immediate8_2nd
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64 => {}
                _ => return Err(NotNative),
            }
        }
        if info.used_memory().len() > 1 || matches!(found.memory, Some((0 | 65.., _))) {
            return Err(NotNative);
        }
        // What an instruction uses without naming it must be where the host's instruction looks.
        for used in info.used_registers() {
            let register = used.register();
            if !register.is_gpr() {
                continue;
            }
            let guest = register.full_register().number() as u8;
            let named = found
                .registers
                .iter()
                .any(|&(_, number, _)| number == guest)
                || [ins.memory_base(), ins.memory_index()]
                    .iter()
                    .any(|r| r.is_gpr() && r.full_register().number() as u8 == guest);
            if !named && held(guest) != Some(guest) {
                return Err(NotNative);
            }
        }
        Ok(found)
    }
}

/// The general register `number` of `size` bytes.
pub(super) fn general(size: usize, number: u8) -> Register {
    let n = u32::from(number);
    match size {
        8 => Register::RAX + n,
        4 => Register::EAX + n,
        2 => Register::AX + n,
        _ if number < 4 => Register::AL + n,
        _ => Register::SPL + (n - 4),
    }
}

/// The memory operand becomes `[mem]`, whose base is a host register.
pub(super) fn redirect(ins: &mut Instruction, base: Register, disp: i32) {
    ins.set_memory_base(base);
    ins.set_memory_index(Register::None);
    ins.set_memory_index_scale(1);
    ins.set_memory_displacement64(i64::from(disp) as u64);
    ins.set_memory_displ_size(match disp {
        0 => 0,
        -128..=127 => 1,
        _ => 8,
    });
    ins.set_segment_prefix(Register::None);
}

impl Emitter<'_> {
    pub(super) fn copy(&mut self, guest: &Guest) -> Emit {
        if (0..guest.ins.op_count()).any(|n| is_high(guest.ins.op_register(n))) {
            return self.copy_high(guest);
        }
        let operands = Operands::of(&guest.ins)?;
        let mut copy = guest.ins;
        if let Some(code) = without_accumulator(copy.code()) {
            let kinds = (copy.op0_kind(), copy.op1_kind());
            copy.set_code(code);
            copy.set_op0_kind(kinds.0);
            copy.set_op1_kind(kinds.1);
        }
        match operands.memory {
            None => self.copy_registers(guest, &copy, &operands),
            Some((size, written)) => {
                let align =
                    required_isa(&guest.ins).map_or(1, |isa| required_alignment(&guest.ins, isa));
                redirect(&mut copy, Register::RCX, 0);
                if written {
                    self.copy_store(guest, &copy, &operands, size, usize::from(align))
                } else {
                    self.copy_load(guest, &copy, &operands, size, usize::from(align))
                }
            }
        }
    }

    /// Instructions of one or two operands with AH, CH, DH or BH among them: AH and CH of the host
    /// stand in, or CL where the other one is a low byte.
    fn copy_high(&mut self, guest: &Guest) -> Emit {
        let ins = &guest.ins;
        let number = |register: Register| match is_high(register) {
            true => (register as u32 - Register::AH as u32) as u8,
            false => register.full_register().number() as u8,
        };
        let reads_only = matches!(ins.mnemonic(), Mnemonic::Cmp | Mnemonic::Test);
        let swaps = matches!(ins.mnemonic(), Mnemonic::Xchg | Mnemonic::Xadd);
        if ins.op_count() > 2 || swaps {
            return Err(NotNative);
        }
        let mut copy = *ins;
        let register = |n: u32| n < ins.op_count() && ins.op_kind(n) == OpKind::Register;
        if ins.op0_kind() == OpKind::Memory
            || ins.op_count() == 2 && ins.op1_kind() == OpKind::Memory
        {
            let n = u32::from(ins.op0_kind() == OpKind::Memory);
            let store = n == 1 && !reads_only;
            let guest_register = number(ins.op_register(n));
            redirect(&mut copy, Register::RCX, 0);
            copy.set_op_register(n, Register::AH);
            self.save_flags(guest.live_after & !guest.flags.kills | guest.flags.reads);
            self.address(ins)?;
            let want = if store { Want::Store } else { Want::Load };
            let place = self.check(guest, 1, 1, want);
            if store {
                self.before_store(place, true);
            }
            if Self::wants_flags(guest) {
                self.need_flags();
            }
            self.load_guest(reg::RAX, guest_register);
            self.encode(&copy)?;
            self.after_copy(guest);
            if store {
                if self.flags_in_eflags() && guest.live_after != 0 && !self.flags_saved() {
                    self.check_watch_live(place, true);
                } else {
                    self.check_watch(place, true);
                }
            } else if !reads_only {
                self.store_guest(guest_register, reg::RAX);
            }
            self.goes_on(place.site);
            return Ok(());
        }
        if Self::wants_flags(guest) {
            self.need_flags();
        }
        let spare = [
            (reg::RAX, Register::AH, Register::AL),
            (reg::RCX, Register::CH, Register::CL),
        ];
        for n in (0..ins.op_count()).filter(|&n| register(n)) {
            let (host, high, low) = spare[n as usize];
            if ins.op_register(n).size() != 1 {
                return Err(NotNative);
            }
            self.load_guest(host, number(ins.op_register(n)));
            copy.set_op_register(
                n,
                if is_high(ins.op_register(n)) {
                    high
                } else {
                    low
                },
            );
        }
        self.encode(&copy)?;
        if !reads_only && register(0) {
            self.store_guest(number(ins.op0_register()), reg::RAX);
        }
        self.after_copy(guest);
        Ok(())
    }

    /// Copies a guest register to a host register.
    fn load_guest(&mut self, to: u8, guest: u8) {
        match held(guest) {
            Some(host) => self.asm.mov(to, host),
            None => self.asm.load(to, native::register(guest)),
        }
    }

    /// And back.
    fn store_guest(&mut self, guest: u8, from: u8) {
        match held(guest) {
            Some(host) => self.asm.mov(host, from),
            None => self.asm.store(native::register(guest), from),
        }
    }

    fn copy_registers(&mut self, guest: &Guest, copy: &Instruction, operands: &Operands) -> Emit {
        if operands.in_memory.len() > SPARE.len() {
            return Err(NotNative);
        }
        if Self::wants_flags(guest) {
            self.need_flags();
        }
        let copy = self.rename(copy, operands, &SPARE);
        self.encode(&copy)?;
        self.put_back(operands, &SPARE);
        self.after_copy(guest);
        Ok(())
    }

    fn copy_load(
        &mut self,
        guest: &Guest,
        copy: &Instruction,
        operands: &Operands,
        size: usize,
        align: usize,
    ) -> Emit {
        if operands.in_memory.len() > 1 {
            return Err(NotNative);
        }
        let live_before = guest.live_after & !guest.flags.kills | guest.flags.reads;
        self.save_flags(live_before);
        self.address(&guest.ins)?;
        let place = self.check(guest, size, align, Want::Load);
        if Self::wants_flags(guest) {
            self.need_flags();
        }
        let copy = self.rename(copy, operands, &[reg::RAX]);
        self.encode(&copy)?;
        self.put_back(operands, &[reg::RAX]);
        self.after_copy(guest);
        self.goes_on(place.site);
        Ok(())
    }

    fn copy_store(
        &mut self,
        guest: &Guest,
        copy: &Instruction,
        operands: &Operands,
        size: usize,
        align: usize,
    ) -> Emit {
        if operands.in_memory.len() > 1 {
            return Err(NotNative);
        }
        let live_before = guest.live_after & !guest.flags.kills | guest.flags.reads;
        self.save_flags(live_before);
        self.address(&guest.ins)?;
        let place = self.check(guest, size, align, Want::Store);
        let writes_live = guest.flags.writes & guest.live_after != 0;
        let wants_flags = Self::wants_flags(guest);
        let rax_is_needed = wants_flags || !operands.in_memory.is_empty();
        self.before_store(place, rax_is_needed);
        if wants_flags {
            self.need_flags();
        }
        let copy = self.rename(copy, operands, &[reg::RAX]);
        self.encode(&copy)?;
        self.put_back(operands, &[reg::RAX]);
        self.after_copy(guest);
        if writes_live || wants_flags && guest.live_after != 0 && !self.flags_saved() {
            self.check_watch_live(place, rax_is_needed);
        } else {
            self.check_watch(place, rax_is_needed);
        }
        self.goes_on(place.site);
        Ok(())
    }

    /// Registers replaced by those of the host; what is in memory is loaded into spare ones.
    fn rename(&mut self, ins: &Instruction, operands: &Operands, spare: &[u8]) -> Instruction {
        for (&(guest, _), &host) in operands.in_memory.iter().zip(spare) {
            self.asm.load(host, native::register(guest));
        }
        let mut ins = *ins;
        for &(n, guest, size) in &operands.registers {
            let host = held(guest).unwrap_or_else(|| {
                let at = operands.in_memory.iter().position(|&(m, _)| m == guest);
                spare[at.expect("it was collected")]
            });
            ins.set_op_register(n, general(size, host));
        }
        ins
    }

    fn put_back(&mut self, operands: &Operands, spare: &[u8]) {
        for (&(guest, written), &host) in operands.in_memory.iter().zip(spare) {
            if written {
                self.asm.store(native::register(guest), host);
            }
        }
    }

    pub(super) fn after_copy(&mut self, guest: &Guest) {
        if guest.flags.writes != 0 {
            self.flags_written();
        }
    }

    pub(super) fn lea(&mut self, ins: &Instruction) -> Emit {
        let guest = ins.op0_register().full_register().number() as u8;
        let to = held(guest).unwrap_or(reg::RAX);
        self.effective(ins, to)?;
        if ins.op0_register().size() == 4 {
            self.asm.mov32(to, to);
        }
        if held(guest).is_none() {
            self.asm.store(native::register(guest), to);
        }
        Ok(())
    }

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

    /// MOVZX from bits 15:8 of RAX, RCX, RDX or RBX.
    pub(super) fn high_byte(&mut self, ins: &Instruction) -> Emit {
        let source = ins.op1_register() as u32 - Register::AH as u32;
        let host = held(source as u8).ok_or(NotNative)?;
        let target = ins.op0_register().full_register().number() as u8;
        let size = ins.op0_register().size();
        let to = held(target);
        if size == 2 {
            return Err(NotNative);
        }
        self.asm.mov32(reg::RAX, host);
        self.asm.bytes(&[0x0f, 0xb6, 0xc4]); // movzx eax, ah
        match to {
            Some(to) => self.asm.mov32(to, reg::RAX),
            None => self.asm.store(native::register(target), reg::RAX),
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

/// The general form of an encoding that is fixed to the accumulator or to an absolute address.
fn without_accumulator(code: Code) -> Option<Code> {
    match code {
        Code::Add_AL_imm8 => Some(Code::Add_rm8_imm8),
        Code::Add_AX_imm16 => Some(Code::Add_rm16_imm16),
        Code::Add_EAX_imm32 => Some(Code::Add_rm32_imm32),
        Code::Add_RAX_imm32 => Some(Code::Add_rm64_imm32),
        Code::Or_AL_imm8 => Some(Code::Or_rm8_imm8),
        Code::Or_AX_imm16 => Some(Code::Or_rm16_imm16),
        Code::Or_EAX_imm32 => Some(Code::Or_rm32_imm32),
        Code::Or_RAX_imm32 => Some(Code::Or_rm64_imm32),
        Code::Adc_AL_imm8 => Some(Code::Adc_rm8_imm8),
        Code::Adc_AX_imm16 => Some(Code::Adc_rm16_imm16),
        Code::Adc_EAX_imm32 => Some(Code::Adc_rm32_imm32),
        Code::Adc_RAX_imm32 => Some(Code::Adc_rm64_imm32),
        Code::Sbb_AL_imm8 => Some(Code::Sbb_rm8_imm8),
        Code::Sbb_AX_imm16 => Some(Code::Sbb_rm16_imm16),
        Code::Sbb_EAX_imm32 => Some(Code::Sbb_rm32_imm32),
        Code::Sbb_RAX_imm32 => Some(Code::Sbb_rm64_imm32),
        Code::And_AL_imm8 => Some(Code::And_rm8_imm8),
        Code::And_AX_imm16 => Some(Code::And_rm16_imm16),
        Code::And_EAX_imm32 => Some(Code::And_rm32_imm32),
        Code::And_RAX_imm32 => Some(Code::And_rm64_imm32),
        Code::Sub_AL_imm8 => Some(Code::Sub_rm8_imm8),
        Code::Sub_AX_imm16 => Some(Code::Sub_rm16_imm16),
        Code::Sub_EAX_imm32 => Some(Code::Sub_rm32_imm32),
        Code::Sub_RAX_imm32 => Some(Code::Sub_rm64_imm32),
        Code::Xor_AL_imm8 => Some(Code::Xor_rm8_imm8),
        Code::Xor_AX_imm16 => Some(Code::Xor_rm16_imm16),
        Code::Xor_EAX_imm32 => Some(Code::Xor_rm32_imm32),
        Code::Xor_RAX_imm32 => Some(Code::Xor_rm64_imm32),
        Code::Cmp_AL_imm8 => Some(Code::Cmp_rm8_imm8),
        Code::Cmp_AX_imm16 => Some(Code::Cmp_rm16_imm16),
        Code::Cmp_EAX_imm32 => Some(Code::Cmp_rm32_imm32),
        Code::Cmp_RAX_imm32 => Some(Code::Cmp_rm64_imm32),
        Code::Test_AL_imm8 => Some(Code::Test_rm8_imm8),
        Code::Test_AX_imm16 => Some(Code::Test_rm16_imm16),
        Code::Test_EAX_imm32 => Some(Code::Test_rm32_imm32),
        Code::Test_RAX_imm32 => Some(Code::Test_rm64_imm32),
        Code::Xchg_r16_AX => Some(Code::Xchg_rm16_r16),
        Code::Xchg_r32_EAX => Some(Code::Xchg_rm32_r32),
        Code::Xchg_r64_RAX => Some(Code::Xchg_rm64_r64),
        Code::Mov_AL_moffs8 => Some(Code::Mov_r8_rm8),
        Code::Mov_AX_moffs16 => Some(Code::Mov_r16_rm16),
        Code::Mov_EAX_moffs32 => Some(Code::Mov_r32_rm32),
        Code::Mov_RAX_moffs64 => Some(Code::Mov_r64_rm64),
        Code::Mov_moffs8_AL => Some(Code::Mov_rm8_r8),
        Code::Mov_moffs16_AX => Some(Code::Mov_rm16_r16),
        Code::Mov_moffs32_EAX => Some(Code::Mov_rm32_r32),
        Code::Mov_moffs64_RAX => Some(Code::Mov_rm64_r64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_of_every_size_have_their_names() {
        assert_eq!(general(8, reg::GUEST_RAX), Register::R11);
        assert_eq!(general(4, reg::GUEST_RCX), Register::R10D);
        assert_eq!(general(2, 3), Register::BX);
        assert_eq!(general(1, 6), Register::SIL);
        assert_eq!(general(1, 1), Register::CL);
    }
}
