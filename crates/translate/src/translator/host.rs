//! The host side of translation: which host register holds what, and an assembler for the few dozen
//! instructions that translated code is made of besides the guest's own.
//!
//! | host | holds |
//! | --- | --- |
//! | RSP | address of the [`Cpu`](crate::cpu::Cpu) |
//! | RAX, RCX | scratch |
//! | R11, R10, R9 | guest RAX, RCX, RSP |
//! | the others | the guest register of the same name |
//!
//! Guest R9, R10 and R11, which compilers use least, stay in memory. RAX is scratch because LAHF and
//! SETO save the flags in it without a detour; RCX because JRCXZ tests it without touching them.

/// Host register numbers.
pub(super) mod reg {
    pub(crate) const RAX: u8 = 0;
    pub(crate) const RCX: u8 = 1;
    pub(crate) const RDX: u8 = 2;
    pub(crate) const RBX: u8 = 3;
    pub(crate) const RSP: u8 = 4;
    pub(crate) const RBP: u8 = 5;
    pub(crate) const RSI: u8 = 6;
    pub(crate) const RDI: u8 = 7;
    pub(crate) const R8: u8 = 8;
    /// Guest RSP.
    pub(crate) const GUEST_RSP: u8 = 9;
    /// Guest RCX.
    pub(crate) const GUEST_RCX: u8 = 10;
    /// Guest RAX.
    pub(crate) const GUEST_RAX: u8 = 11;
    pub(crate) const R12: u8 = 12;
    pub(crate) const R13: u8 = 13;
    pub(crate) const R14: u8 = 14;
    pub(crate) const R15: u8 = 15;
}

/// Guest registers and the host registers that hold them.
pub(super) const HELD: [(u8, u8); 13] = [
    (0, reg::GUEST_RAX),
    (1, reg::GUEST_RCX),
    (2, reg::RDX),
    (3, reg::RBX),
    (4, reg::GUEST_RSP),
    (5, reg::RBP),
    (6, reg::RSI),
    (7, reg::RDI),
    (8, reg::R8),
    (12, reg::R12),
    (13, reg::R13),
    (14, reg::R14),
    (15, reg::R15),
];

/// The host register of a guest register, or `None` if that stays in memory.
pub(super) fn held(guest: u8) -> Option<u8> {
    match guest {
        0 => Some(reg::GUEST_RAX),
        1 => Some(reg::GUEST_RCX),
        4 => Some(reg::GUEST_RSP),
        9..=11 => None,
        same => Some(same),
    }
}

/// Condition codes as Jcc and SETcc encode them.
pub(super) mod cc {
    pub(crate) const AE: u8 = 3;
    pub(crate) const E: u8 = 4;
    pub(crate) const NE: u8 = 5;
    pub(crate) const BE: u8 = 6;
    pub(crate) const A: u8 = 7;
}

/// A memory operand of the host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mem {
    pub(super) base: Option<u8>,
    /// Index register and the shift of it.
    pub(super) index: Option<(u8, u8)>,
    pub(super) disp: i32,
}

impl Mem {
    /// A field of the vCPU.
    pub(super) fn cpu(offset: i32) -> Self {
        Self::at(reg::RSP, offset)
    }

    /// `[base + disp]`.
    pub(super) fn at(base: u8, disp: i32) -> Self {
        Self {
            base: Some(base),
            index: None,
            disp,
        }
    }

    /// A field of a table entry behind the vCPU whose offset in the table is in RAX.
    pub(super) fn table(offset: i32) -> Self {
        Self {
            base: Some(reg::RSP),
            index: Some((reg::RAX, 0)),
            disp: offset,
        }
    }
}

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Offset in the hot part being assembled.
    Hot(u32),
    /// Offset in the cold part being assembled.
    Cold(u32),
    /// Offset in the code cache.
    Code(u32),
}

struct Fixup {
    cold: bool,
    /// Offset of the 32-bit displacement, which ends the instruction.
    at: u32,
    target: Target,
}

/// A jump whose target is not known yet.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(super) struct Pending(usize);

/// Assembles one piece of code in two parts: what runs, and behind it what runs rarely.
#[derive(Default)]
pub(super) struct Asm {
    hot: Vec<u8>,
    cold: Vec<u8>,
    in_cold: bool,
    fixups: Vec<Fixup>,
}

impl Asm {
    /// Forgets everything assembled.
    pub(super) fn clear(&mut self) {
        self.hot.clear();
        self.cold.clear();
        self.in_cold = false;
        self.fixups.clear();
    }

    /// Assembles into the cold part (or the hot one) from now on.
    pub(super) fn set_cold(&mut self, cold: bool) {
        self.in_cold = cold;
    }

    /// Where the next instruction will be.
    pub(super) fn here(&self) -> Target {
        if self.in_cold {
            Target::Cold(self.cold.len() as u32)
        } else {
            Target::Hot(self.hot.len() as u32)
        }
    }

    /// Bytes of both parts.
    pub(super) fn len(&self) -> usize {
        self.hot.len() + self.cold.len()
    }

    /// Offset in the code cache of a target, when the code is placed at `base`.
    pub(super) fn place(&self, base: u32, target: Target) -> u32 {
        match target {
            Target::Hot(at) => base + at,
            Target::Cold(at) => base + self.hot.len() as u32 + at,
            Target::Code(at) => at,
        }
    }

    /// The bytes of both parts as they are at `base`, all jumps resolved.
    pub(super) fn finish(&mut self, base: u32) -> (&[u8], &[u8]) {
        for fixup in std::mem::take(&mut self.fixups) {
            let from = if fixup.cold {
                self.place(base, Target::Cold(fixup.at + 4))
            } else {
                self.place(base, Target::Hot(fixup.at + 4))
            };
            let distance = self.place(base, fixup.target).wrapping_sub(from);
            let part = if fixup.cold {
                &mut self.cold
            } else {
                &mut self.hot
            };
            part[fixup.at as usize..][..4].copy_from_slice(&distance.to_le_bytes());
        }
        (&self.hot, &self.cold)
    }

    fn part(&mut self) -> &mut Vec<u8> {
        if self.in_cold {
            &mut self.cold
        } else {
            &mut self.hot
        }
    }

    /// Bytes as they are.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.part().extend_from_slice(bytes);
    }

    pub(super) fn imm32(&mut self, value: i32) {
        self.bytes(&value.to_le_bytes());
    }

    /// `opcode reg, rm` with both in registers.
    pub(super) fn rr(&mut self, wide: bool, opcode: &[u8], reg: u8, rm: u8) {
        let rex = u8::from(wide) << 3 | (reg >> 3) << 2 | rm >> 3;
        if rex != 0 {
            self.bytes(&[0x40 | rex]);
        }
        self.bytes(opcode);
        self.bytes(&[0xc0 | (reg & 7) << 3 | rm & 7]);
    }

    /// `opcode reg, [mem]`; `reg` may be an opcode extension.
    pub(super) fn rm(&mut self, wide: bool, opcode: &[u8], reg: u8, mem: Mem) {
        let base = mem.base.unwrap_or(0);
        let index = mem.index.map_or(0, |(index, _)| index);
        let rex = u8::from(wide) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;
        if rex != 0 {
            self.bytes(&[0x40 | rex]);
        }
        self.bytes(opcode);
        let reg = (reg & 7) << 3;
        let Some(base) = mem.base else {
            // Mod 0 with SIB base 5: no base register, 32-bit displacement.
            let (index, scale) = mem.index.unwrap_or((4, 0));
            self.bytes(&[reg | 4, scale << 6 | (index & 7) << 3 | 5]);
            return self.imm32(mem.disp);
        };
        let (mode, short) = match i8::try_from(mem.disp) {
            Ok(0) if base & 7 != 5 => (0, true),
            Ok(_) => (0x40, true),
            Err(_) => (0x80, false),
        };
        if mem.index.is_some() || base & 7 == 4 {
            let (index, scale) = mem.index.unwrap_or((4, 0));
            self.bytes(&[mode | reg | 4, scale << 6 | (index & 7) << 3 | base & 7]);
        } else {
            self.bytes(&[mode | reg | base & 7]);
        }
        match (mode, short) {
            (0, _) => {}
            (_, true) => self.bytes(&[mem.disp as u8]),
            _ => self.imm32(mem.disp),
        }
    }

    /// MOV r64, r64.
    pub(super) fn mov(&mut self, to: u8, from: u8) {
        self.rr(true, &[0x8b], to, from);
    }

    /// MOV r32, r32.
    pub(super) fn mov32(&mut self, to: u8, from: u8) {
        self.rr(false, &[0x8b], to, from);
    }

    /// MOV r64, [mem].
    pub(super) fn load(&mut self, to: u8, mem: Mem) {
        self.rm(true, &[0x8b], to, mem);
    }

    /// MOV r32, [mem].
    pub(super) fn load32(&mut self, to: u8, mem: Mem) {
        self.rm(false, &[0x8b], to, mem);
    }

    /// MOVZX r32, byte [mem].
    pub(super) fn load8(&mut self, to: u8, mem: Mem) {
        self.rm(false, &[0x0f, 0xb6], to, mem);
    }

    /// MOV [mem], r64.
    pub(super) fn store(&mut self, mem: Mem, from: u8) {
        self.rm(true, &[0x89], from, mem);
    }

    /// MOV dword [mem], imm32.
    pub(super) fn store32_imm(&mut self, mem: Mem, value: i32) {
        self.rm(false, &[0xc7], 0, mem);
        self.imm32(value);
    }

    /// MOV byte [mem], imm8.
    pub(super) fn store8_imm(&mut self, mem: Mem, value: u8) {
        self.rm(false, &[0xc6], 0, mem);
        self.bytes(&[value]);
    }

    /// LEA r64, [mem].
    pub(super) fn lea(&mut self, to: u8, mem: Mem) {
        self.rm(true, &[0x8d], to, mem);
    }

    /// The shortest way to load a constant.
    pub(super) fn constant(&mut self, to: u8, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            if to >= 8 {
                self.bytes(&[0x41]);
            }
            self.bytes(&[0xb8 | to & 7]);
            self.bytes(&value.to_le_bytes());
        } else if let Ok(value) = i32::try_from(value as i64) {
            self.rr(true, &[0xc7], 0, to);
            self.imm32(value);
        } else {
            self.bytes(&[0x48 | to >> 3, 0xb8 | to & 7]);
            self.bytes(&value.to_le_bytes());
        }
    }

    /// CMP r64, imm32 sign-extended.
    pub(super) fn cmp_imm(&mut self, reg: u8, value: i32) {
        if let Ok(short) = i8::try_from(value) {
            self.rr(true, &[0x83], 7, reg);
            self.bytes(&[short as u8]);
        } else {
            self.rr(true, &[0x81], 7, reg);
            self.imm32(value);
        }
    }

    /// CMP byte [mem], 0.
    pub(super) fn cmp8_zero(&mut self, mem: Mem) {
        self.rm(false, &[0x80], 7, mem);
        self.bytes(&[0]);
    }

    /// CMP dword [mem], 0.
    pub(super) fn cmp32_zero(&mut self, mem: Mem) {
        self.rm(false, &[0x83], 7, mem);
        self.bytes(&[0]);
    }

    /// JMP to a known place.
    pub(super) fn jmp(&mut self, target: Target) {
        let pending = self.jmp_later();
        self.bind(pending, target);
    }

    /// Jcc to a known place.
    pub(super) fn jcc(&mut self, condition: u8, target: Target) {
        let pending = self.jcc_later(condition);
        self.bind(pending, target);
    }

    pub(super) fn jmp_later(&mut self) -> Pending {
        self.bytes(&[0xe9]);
        self.displacement()
    }

    pub(super) fn jcc_later(&mut self, condition: u8) -> Pending {
        self.bytes(&[0x0f, 0x80 | condition]);
        self.displacement()
    }

    /// CALL a place in the code cache.
    pub(super) fn call(&mut self, target: u32) {
        self.bytes(&[0xe8]);
        let pending = self.displacement();
        self.bind(pending, Target::Code(target));
    }

    fn displacement(&mut self) -> Pending {
        let fixup = Fixup {
            cold: self.in_cold,
            at: self.part().len() as u32,
            target: Target::Code(0),
        };
        self.fixups.push(fixup);
        self.imm32(0);
        Pending(self.fixups.len() - 1)
    }

    /// Says where a jump goes.
    pub(super) fn bind(&mut self, pending: Pending, target: Target) {
        self.fixups[pending.0].target = target;
    }

    /// The place of a jump's displacement, for patching it later.
    pub(super) fn displacement_of(&self, pending: Pending) -> Target {
        let fixup = &self.fixups[pending.0];
        if fixup.cold {
            Target::Cold(fixup.at)
        } else {
            Target::Hot(fixup.at)
        }
    }

    /// JRCXZ over the instructions that `body` assembles (fewer than 128 bytes).
    pub(super) fn skip_if_rcx_zero(&mut self, body: impl FnOnce(&mut Self)) {
        self.bytes(&[0xe3, 0]);
        let from = self.part().len();
        body(self);
        let part = self.part();
        let length = part.len() - from;
        debug_assert!(length < 128);
        part[from - 1] = length as u8;
    }

    /// Saves the flags in RAX as [`Cpu`](crate::cpu::Cpu)'s flag slot has them: AH as LAHF, AL = OF.
    pub(super) fn flags_to_rax(&mut self) {
        self.bytes(&[0x9f, 0x0f, 0x90, 0xc0]); // lahf; seto al
    }

    /// Loads the flags from RAX. AL + 127 overflows exactly if AL is 1.
    pub(super) fn flags_from_rax(&mut self) {
        self.bytes(&[0x04, 0x7f, 0x9e]); // add al, 127; sahf
    }
}
