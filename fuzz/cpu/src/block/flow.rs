//! Arithmetic flags on their way through a block.

use iced_x86::{FlowControl, Instruction, Register};

use super::layout::{Block, Target};
use crate::encoding::is_relative_branch;
use crate::flags::{ARITHMETIC, read, replaced, undefined};
use crate::state::INSTRUCTIONS_MAX;

/// The flags that are undefined after `instruction` if `before` were so before it, in the best case:
/// a count in CL is taken to be one.
pub(super) fn undefined_after(instruction: &Instruction, before: u64) -> u64 {
    before & !replaced(instruction) | undefined(instruction, 1)
}

/// The arithmetic flags that matter to an exception's handler at instruction `number`: those that it
/// or an instruction after it reads before they are replaced. The others a translator may have
/// destroyed already. What lies outside the block may read them all.
pub(super) fn live(block: &Block, number: usize) -> u64 {
    let count = block.encodings.len();
    let mut before = [ARITHMETIC; INSTRUCTIONS_MAX + 1];
    for number in (number..count).rev() {
        let instruction = &block.encodings[number].instruction;
        let through = match block.target(number) {
            Some(Target::Inside(target)) if instruction.is_jmp_short_or_near() => before[target],
            Some(Target::Inside(target)) if instruction.is_jcc_short_or_near() => {
                before[target] | before[number + 1]
            }
            _ if is_branch(instruction) => ARITHMETIC,
            _ => before[number + 1] & !replaced(instruction),
        };
        before[number] = through | read(instruction);
    }
    before[number]
}

/// Whether control may go elsewhere than to the next instruction.
pub(super) fn is_branch(instruction: &Instruction) -> bool {
    is_relative_branch(instruction)
        || instruction.flow_control() != FlowControl::Next
            && instruction.flow_control() != FlowControl::Exception
}

/// Whether the instruction changes RSP other than by popping.
pub(super) fn moves_stack_down(instruction: &Instruction) -> bool {
    let increment = instruction.stack_pointer_increment();
    let named = (0..instruction.op_count()).any(|operand| {
        let register = instruction.op_register(operand);
        register.is_gpr() && register.full_register() == Register::RSP
    });
    increment < 0 || named
}
