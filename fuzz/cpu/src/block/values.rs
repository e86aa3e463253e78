//! What a block starts from: pointers that hit the data window, operands where it will read.

use iced_x86::{Mnemonic, Register, UsedMemory};

use super::layout::Block;
use super::roles::Roles;
use crate::layout::{DATA_BASE, DATA_LEN, DATA_WRITABLE, PAGE};
use crate::operands::{
    accesses, aim, fill_register, first_is_register, is_indirect_near, poke, poke_bytes,
};
use crate::random::Random;
use crate::state::Case;
use crate::tune::tune;

/// Chooses registers and memory for `block` and returns its memory accesses with the addresses they
/// have if no instruction changes what they are made of.
pub(super) fn choose(
    random: &mut Random,
    block: &Block,
    roles: &Roles,
    case: &mut Case,
) -> Vec<Vec<(UsedMemory, u64)>> {
    let gpr = &mut case.state.registers.gpr;
    gpr[usize::from(roles.index)] = match random.below(16) {
        0 => random.below(16).wrapping_neg(),
        1 => random.integer(),
        _ => random.below(16),
    };
    for base in roles.bases {
        gpr[usize::from(base)] = pointer(random);
    }
    let mut pinned = roles.pinned();
    for encoding in &block.encodings {
        for register in &encoding.registers {
            fill_register(random, *register, case);
        }
        for memory in &encoding.memory {
            let linear = pointer(random);
            let instruction = &encoding.instruction;
            aim(random, memory, linear, instruction, case, &mut pinned);
        }
    }
    let pinned_values = case.state.registers.gpr;
    for encoding in &block.encodings {
        let aimed = accesses(encoding, case);
        tune(random, &encoding.instruction, &aimed, case);
    }
    let gpr = &mut case.state.registers.gpr;
    for number in (0..16).filter(|number| pinned & 1 << number != 0) {
        gpr[number] = pinned_values[number];
    }
    let all: Vec<_> = block
        .encodings
        .iter()
        .map(|encoding| accesses(encoding, case))
        .collect();
    for (memory, linear) in all.iter().flatten() {
        operand(random, memory.memory_size().size(), *linear, case);
    }
    for (number, accesses) in all.iter().enumerate() {
        special(random, block, number, accesses, case);
    }
    all
}

/// An address for a base register: mostly well inside the window, sometimes at one of its edges.
fn pointer(random: &mut Random) -> u64 {
    match random.below(100) {
        0..=59 => DATA_BASE + 0x100 + random.below(DATA_WRITABLE - 0x200) / 8 * 8,
        60..=74 => DATA_BASE + 0x100 + random.below(DATA_WRITABLE - 0x200),
        // From the first page into the second.
        75..=90 => DATA_BASE + PAGE - random.below(80),
        // From the writable pages into the read-only one, and out of the window.
        91..=93 => DATA_BASE + 2 * PAGE + random.below(80) - 40,
        94 => DATA_BASE + DATA_LEN - random.below(64),
        95 => DATA_BASE + random.below(64) - 32,
        96 => (1 << 47) - random.below(64),
        97 => random.bits(),
        98 => DATA_BASE + DATA_LEN + random.below(PAGE),
        _ => DATA_BASE + PAGE,
    }
}

/// A value at an operand's place; sometimes a pointer, for loads of base registers.
fn operand(random: &mut Random, size: usize, linear: u64, case: &mut Case) {
    match random.below(4) {
        0 if size == 8 => {
            let value = pointer(random);
            poke_bytes(linear, &value.to_le_bytes(), case);
        }
        0 | 1 => poke(random, linear, size, case),
        _ => {}
    }
}

/// Operands that would end the block for no gain if they were anything, and targets in the block.
fn special(
    random: &mut Random,
    block: &Block,
    number: usize,
    accesses: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    const HARMLESS_FLAGS: u64 = 0xcd5;
    let instruction = &block.encodings[number].instruction;
    let earlier = &block.encodings[..number];
    // A target that changes on the way could lead back, and for ever.
    let kept = |register: Register| {
        let mut used = earlier.iter().flat_map(|encoding| &encoding.registers);
        !used.any(|used| used.full_register() == register)
    };
    let stored = earlier.iter().any(|encoding| encoding.stores);
    let later = block.encodings.len() - number;
    let target = match block
        .encodings
        .get(number + 1 + random.below(later as u64) as usize)
    {
        Some(encoding) => encoding.rip,
        None => block.end(),
    };
    let place = accesses.first().map(|(_, linear)| *linear);
    match (instruction.mnemonic(), place) {
        (Mnemonic::Popfq | Mnemonic::Popf, Some(linear)) if !random.one_in(8) => {
            let flags = random.bits() & HARMLESS_FLAGS | 2;
            poke_bytes(linear, &flags.to_le_bytes(), case);
        }
        (Mnemonic::Ret, Some(linear)) if !stored && random.one_in(2) => {
            poke_bytes(linear, &target.to_le_bytes(), case);
        }
        (Mnemonic::Jmp | Mnemonic::Call, _)
            if is_indirect_near(instruction) && random.one_in(2) =>
        {
            if first_is_register(instruction) {
                let register = instruction.op0_register().full_register();
                if kept(register) {
                    case.state.registers.gpr[register.number()] = target;
                }
            } else if let Some(linear) = place.filter(|_| !stored) {
                poke_bytes(linear, &target.to_le_bytes(), case);
            }
        }
        _ => {}
    }
}
