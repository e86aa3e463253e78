//! Instructions that are copied: registers renamed, the memory operand redirected to `[RCX]`.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::classify::is_high;
use super::emit::{Emit, Emitter, NotNative};
use super::emit_memory::Want;
use super::general_form::without_accumulator;
use super::host::{held, reg};
use super::native;
use super::source::Guest;
use crate::hostexec::{required_alignment, required_isa};

/// Host registers that stand in for guest registers in memory.
const SPARE: [u8; 2] = [reg::RAX, reg::RCX];

/// How one instruction uses its operands.
pub(super) struct Operands {
    /// Explicit general registers: operand, guest number, bytes.
    pub(super) registers: Vec<(u32, u8, usize)>,
    /// Guest registers among them that stay in memory, and whether they are written.
    pub(super) in_memory: Vec<(u8, bool)>,
    /// Bytes of the memory operand and whether it is written.
    pub(super) memory: Option<(usize, bool)>,
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
    pub(super) fn rename(
        &mut self,
        ins: &Instruction,
        operands: &Operands,
        spare: &[u8],
    ) -> Instruction {
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

    pub(super) fn put_back(&mut self, operands: &Operands, spare: &[u8]) {
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
