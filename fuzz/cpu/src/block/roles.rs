//! Which registers a block uses for what. Few registers in few roles make its instructions depend on
//! each other, and make most of its addresses good.

use iced_x86::{Code, Encoder, Instruction, OpCodeOperandKind, OpKind, Register};

use crate::random::Random;

/// Registers by number. Those that a translator is likely to keep elsewhere than in themselves come
/// more often: the accumulator, the counter, the stack pointer, and the scratch registers r9 to r11.
const REGISTERS: [u8; 28] = [
    0, 0, 0, 1, 1, 1, 4, 4, 4, 9, 9, 10, 10, 11, 11, 2, 2, 3, 3, 5, 6, 7, 8, 12, 13, 14, 15, 9,
];

/// A block's registers, by number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Roles {
    /// Point into the data window.
    pub(super) bases: [u8; 2],
    /// A small number.
    pub(super) index: u8,
    /// Operands.
    pub(super) values: [u8; 4],
}

impl Roles {
    pub(super) fn draw(random: &mut Random) -> Self {
        let bases = [0; 2].map(|_| random.pick(&REGISTERS));
        let mut index = random.pick(&REGISTERS);
        while bases.contains(&index) || index == 4 {
            index = random.below(16) as u8;
        }
        let values = [0; 4].map(|_| {
            let value = random.pick(&REGISTERS);
            // An operand that is an address, too, is interesting, and bad for the rest of the block.
            let used = bases.contains(&value) || index == value;
            if used && !random.one_in(4) {
                random.below(16) as u8
            } else {
                value
            }
        });
        Self {
            bases,
            index,
            values,
        }
    }

    /// The registers that must keep the values of their roles when a case begins, as bits.
    pub(super) fn pinned(&self) -> u32 {
        self.bases
            .iter()
            .fold(1 << self.index, |bits, base| bits | 1 << base)
    }

    /// The encoding of `instruction` with this block's registers where it can have them.
    pub(super) fn cast(
        &self,
        random: &mut Random,
        writer: &mut Encoder,
        instruction: &Instruction,
    ) -> Option<Vec<u8>> {
        let mut instruction = *instruction;
        for operand in 0..instruction.op_count() {
            match instruction.op_kind(operand) {
                OpKind::Register if is_free(instruction.code(), operand) => {
                    let register = instruction.op_register(operand);
                    if !random.one_in(5) {
                        let register = self.value(random, register);
                        instruction.set_op_register(operand, register);
                    }
                }
                OpKind::Memory => self.cast_memory(random, &mut instruction),
                _ => {}
            }
        }
        let encoded = writer.encode(&instruction, instruction.ip());
        let bytes = writer.take_buffer();
        // It fails where no prefix can name both: a high byte and a new register.
        encoded.is_ok().then_some(bytes)
    }

    /// An operand register of the size of `like`.
    fn value(&self, random: &mut Random, like: Register) -> Register {
        let number = u32::from(random.pick(&self.values));
        match like.size() {
            1 if number < 4 && random.one_in(3) => Register::AH + number,
            1 if number < 4 => Register::AL + number,
            1 => Register::SPL + (number - 4),
            2 => Register::AX + number,
            4 => Register::EAX + number,
            _ => Register::RAX + number,
        }
    }

    fn cast_memory(&self, random: &mut Random, instruction: &mut Instruction) {
        let address = instruction.memory_base();
        if instruction.is_ip_rel_memory_operand()
            || instruction.is_vsib()
            || address.size() == 4
            || instruction.memory_index().size() == 4
            || instruction.memory_displ_size() == 8 && address == Register::None
        {
            return;
        }
        let segment = instruction.segment_prefix();
        let by_segment = matches!(segment, Register::FS | Register::GS) && random.one_in(3);
        if by_segment {
            instruction.set_memory_base(Register::RAX + u32::from(self.index));
            instruction.set_memory_index(Register::None);
        } else {
            instruction.set_segment_prefix(Register::None);
            let base = random.pick(&self.bases);
            instruction.set_memory_base(Register::RAX + u32::from(base));
            let index = random.one_in(3);
            instruction.set_memory_index(if index {
                Register::RAX + u32::from(self.index)
            } else {
                Register::None
            });
            instruction.set_memory_index_scale(if index { 1 << random.below(4) } else { 1 });
        }
        let displacement = match random.below(6) {
            0 => 0,
            1 => random.below(0x400) as i64 - 0x200,
            _ => random.below(16) as i64 * 8 - 64,
        };
        let short = i8::try_from(displacement).is_ok() && !random.one_in(8);
        instruction.set_memory_displacement64(displacement as u64);
        instruction.set_memory_displ_size(match displacement {
            0 if short => 0,
            _ if short => 1,
            _ => 8,
        });
    }
}

/// Whether a general register of any number can be operand `operand` of the form.
fn is_free(code: Code, operand: u32) -> bool {
    use OpCodeOperandKind as K;
    matches!(
        code.op_code().op_kind(operand),
        K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::r8_reg
            | K::r8_opcode
            | K::r16_reg
            | K::r16_rm
            | K::r16_opcode
            | K::r32_reg
            | K::r32_rm
            | K::r32_opcode
            | K::r32_vvvv
            | K::r64_reg
            | K::r64_rm
            | K::r64_opcode
            | K::r64_vvvv
    )
}
