//! Every opcode form the decoder knows, as the bytes that encode it.

use iced_x86::{
    Code, EncodingKind, MandatoryPrefix, OpCodeInfo, OpCodeOperandKind, OpCodeTableKind,
};

use crate::random::Random;
use crate::state::Mode;

/// How one `Code` is encoded: enough to write its bytes with any operands.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// The decoder's name of the form.
    pub code: Code,
    info: &'static OpCodeInfo,
    uses_vvvv: bool,
}

/// The forms that exist in `mode` and can be written without EVEX: those are drawn by
/// `Random`-byte generation only, since the CPU model has no AVX-512.
pub fn forms(mode: Mode) -> Vec<Form> {
    Code::values()
        .filter(|code| *code != Code::INVALID && !code.op_code().fwait())
        .filter(|code| {
            let info = code.op_code();
            let exists = match mode {
                Mode::Long => info.mode64(),
                Mode::Compatibility => info.mode32(),
            };
            let writable = matches!(info.encoding(), EncodingKind::Legacy | EncodingKind::VEX);
            exists && writable && info.is_instruction()
        })
        .map(|code| {
            let info = code.op_code();
            let uses_vvvv = info.op_kinds().iter().any(|kind| {
                use OpCodeOperandKind as K;
                matches!(
                    kind,
                    K::r32_vvvv | K::r64_vvvv | K::k_vvvv | K::xmm_vvvv | K::ymm_vvvv | K::tmm_vvvv
                )
            });
            Form {
                code,
                info,
                uses_vvvv,
            }
        })
        .collect()
}

impl Form {
    /// Appends the form with random operands and random legal extras (prefixes that change nothing
    /// or only the operand, redundant REX bits, LOCK and REP where they are allowed). Immediate
    /// and displacement bytes follow in excess: the decoder says where the instruction ends.
    pub fn write(&self, random: &mut Random, mode: Mode, out: &mut Vec<u8>) {
        if random.one_in(6) {
            out.push(random.pick(&[0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x64, 0x65]));
        }
        if self.needs_address_prefix(mode) || random.one_in(20) {
            out.push(0x67);
        }
        match self.info.encoding() {
            EncodingKind::VEX => self.write_vex(random, mode, out),
            _ => self.write_legacy(random, mode, out),
        }
        self.write_operands(random, mode, out);
    }

    fn needs_address_prefix(&self, mode: Mode) -> bool {
        let size = self.info.address_size();
        size != 0 && size != mode.bitness()
    }

    fn write_legacy(&self, random: &mut Random, mode: Mode, out: &mut Vec<u8>) {
        let info = self.info;
        if info.operand_size() == 16 || random.one_in(40) {
            out.push(0x66);
        }
        if info.can_use_lock_prefix() && random.one_in(4) || random.one_in(100) {
            out.push(0xf0);
        }
        if info.can_use_rep_prefix() || info.can_use_repne_prefix() {
            if random.one_in(2) {
                out.push(random.pick(&[0xf2, 0xf3]));
            }
        } else if random.one_in(60) {
            out.push(random.pick(&[0xf2, 0xf3]));
        }
        match info.mandatory_prefix() {
            MandatoryPrefix::P66 => out.push(0x66),
            MandatoryPrefix::PF3 => out.push(0xf3),
            MandatoryPrefix::PF2 => out.push(0xf2),
            _ => {}
        }
        if mode == Mode::Long {
            let wide = info.operand_size() == 64 || random.one_in(60);
            if wide || random.one_in(2) {
                out.push(0x40 | u8::from(wide) << 3 | random.below(8) as u8);
            }
        }
        match info.table() {
            OpCodeTableKind::T0F => out.push(0x0f),
            OpCodeTableKind::T0F38 => out.extend([0x0f, 0x38]),
            OpCodeTableKind::T0F3A => out.extend([0x0f, 0x3a]),
            _ => {}
        }
        self.write_opcode(out);
    }

    fn write_opcode(&self, out: &mut Vec<u8>) {
        let opcode = self.info.op_code();
        if self.info.op_code_len() == 2 {
            out.push((opcode >> 8) as u8);
        }
        out.push(opcode as u8);
    }

    fn write_vex(&self, random: &mut Random, mode: Mode, out: &mut Vec<u8>) {
        let info = self.info;
        let pp = match info.mandatory_prefix() {
            MandatoryPrefix::P66 => 1,
            MandatoryPrefix::PF3 => 2,
            MandatoryPrefix::PF2 => 3,
            _ => 0,
        };
        let map = match info.table() {
            OpCodeTableKind::T0F38 => 2,
            OpCodeTableKind::T0F3A => 3,
            _ => 1,
        };
        let length = if info.is_lig() {
            random.below(2) as u8
        } else {
            info.l() as u8 & 1
        };
        let w = if info.is_wig() {
            random.below(2) as u8
        } else {
            info.w() as u8
        };
        let vvvv = if self.uses_vvvv || random.one_in(40) {
            random.below(16) as u8
        } else {
            15
        };
        // Outside 64-bit mode, R and X inverted must be ones: C4 and C5 are LES and LDS otherwise.
        let mut extension = random.below(8) as u8;
        if mode == Mode::Compatibility || random.one_in(2) {
            extension = 7;
        }
        let last = vvvv << 3 | length << 2 | pp;
        if map == 1 && w == 0 && extension & 3 == 3 && random.one_in(2) {
            out.extend([0xc5, extension >> 2 << 7 | last]);
        } else {
            out.extend([0xc4, extension << 5 | map, w << 7 | last]);
        }
        self.write_opcode(out);
    }

    /// ModRM, SIB, displacement and immediate as if the form had all of them.
    fn write_operands(&self, random: &mut Random, mode: Mode, out: &mut Vec<u8>) {
        // A two-byte opcode of a register-only form (0F AE E8, D9 C0 …) contains its ModRM byte.
        if self.info.op_code_len() == 1 || self.info.op_code() & 0xff < 0xc0 {
            let any = random.bits();
            let mut modifier = [0, 1, 2, 3, 0, 1, 2, 3, 3, 0][(any % 10) as usize];
            let mut rm = (any >> 8) as u8 & 7;
            let mut reg = (any >> 16) as u8 & 7;
            if self.info.group_index() >= 0 {
                reg = self.info.group_index() as u8;
            }
            if self.info.rm_group_index() >= 0 {
                rm = self.info.rm_group_index() as u8;
                modifier = 3;
            }
            out.push(modifier << 6 | reg << 3 | rm);
            let has_sib = modifier != 3 && rm == 4;
            let sib = (any >> 24) as u8;
            if has_sib {
                out.push(sib);
            }
            let wide = modifier == 2
                || modifier == 0 && (rm == 5 || has_sib && sib & 7 == 5)
                || mode == Mode::Compatibility && random.one_in(30);
            if modifier == 1 {
                out.push(random.integer() as u8);
            } else if wide {
                let displacement = match random.below(4) {
                    0 => random.integer() as i32,
                    1 => 0,
                    _ => random.below(0x2000) as i32 - 0x1000,
                };
                out.extend(displacement.to_le_bytes());
            }
        }
        out.extend(random.integer().to_le_bytes());
        out.extend(random.integer().to_le_bytes());
    }
}
