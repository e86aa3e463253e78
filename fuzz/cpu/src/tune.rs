//! Values for instructions whose interesting inputs a general draw would rarely hit: string counts,
//! branch targets, dividends, comparands, far pointers, stack frames.

use iced_x86::{FlowControl, Instruction, Mnemonic, UsedMemory};

use crate::layout::{CODE_BASE, CODE_LEN, DATA_BASE, USER_CS_32, USER_CS_64, USER_DS};
use crate::operands::{first_is_register, is_far, is_indirect_near, poke_bytes};
use crate::random::Random;
use crate::state::{Case, MXCSR, Mode};

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;

/// An address to send control to that never lies inside the instruction or the jump behind it.
/// `start` and `next` are the addresses of the instruction and behind it.
pub fn landing(random: &mut Random, mode: Mode, start: u64, next: u64) -> u64 {
    let target = match random.below(12) {
        0 => next,
        1..=4 => next + 16 + random.below(64),
        5..=7 => start.wrapping_sub(16 + random.below(64)),
        8 => CODE_BASE + random.below(CODE_LEN),
        // Mapped but not executable; not mapped; not canonical.
        9 => DATA_BASE + random.below(64),
        10 => CODE_BASE + CODE_LEN + random.below(64),
        _ if mode == Mode::Long => random.bits(),
        _ => next + 16,
    };
    if lands_in_itself(target, start, next) {
        next
    } else {
        target
    }
}

/// Whether `target` is in the instruction's own bytes or inside the jump the host puts behind it.
pub fn lands_in_itself(target: u64, start: u64, next: u64) -> bool {
    target >= start && target < next + 7 && target != next
}

/// Adjusts `case` for the instruction; `aimed` are its memory accesses and where they go.
pub fn tune(
    random: &mut Random,
    instruction: &Instruction,
    aimed: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    count(random, instruction, case);
    dividend(random, instruction, case);
    comparand(random, instruction, aimed, case);
    bit_offset(random, instruction, case);
    control_words(random, instruction, aimed, case);
    targets(random, instruction, aimed, case);
    match instruction.mnemonic() {
        // Lengths of explicit-length string compares.
        Mnemonic::Pcmpestri
        | Mnemonic::Pcmpestrm
        | Mnemonic::Vpcmpestri
        | Mnemonic::Vpcmpestrm
        | Mnemonic::Pcmpestri64
        | Mnemonic::Pcmpestrm64
        | Mnemonic::Vpcmpestri64
        | Mnemonic::Vpcmpestrm64 => {
            for register in [RAX, RDX] {
                if !random.one_in(4) {
                    let length = random.below(40) as i64 - 20;
                    case.state.registers.gpr[register] = length as u64;
                }
            }
        }
        _ => {}
    }
}

/// REP and LOOP counts are small, or the run ends at the window's edge.
fn count(random: &mut Random, instruction: &Instruction, case: &mut Case) {
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let counts = matches!(
        instruction.mnemonic(),
        Mnemonic::Loop
            | Mnemonic::Loope
            | Mnemonic::Loopne
            | Mnemonic::Jcxz
            | Mnemonic::Jecxz
            | Mnemonic::Jrcxz
    );
    if !(repeats && instruction.is_string_instruction() || counts) {
        return;
    }
    let rcx = &mut case.state.registers.gpr[RCX];
    *rcx = match random.below(16) {
        0 => 0,
        1 => *rcx,
        2 => random.below(5000),
        3 => random.below(4) | random.bits() << 32,
        _ => random.below(12),
    };
}

/// A dividend of one word's size, or one that just fits, so that not every division overflows.
fn dividend(random: &mut Random, instruction: &Instruction, case: &mut Case) {
    if !matches!(instruction.mnemonic(), Mnemonic::Div | Mnemonic::Idiv) {
        return;
    }
    let gpr = &mut case.state.registers.gpr;
    match random.below(4) {
        0 => gpr[RDX] = 0,
        1 => gpr[RDX] = ((gpr[RAX] as i64) >> 63) as u64,
        2 => {
            gpr[RDX] = random.below(4);
            gpr[RAX] = random.bits();
        }
        _ => {}
    }
    if first_is_register(instruction) && random.one_in(2) {
        let register = instruction.op0_register();
        let number = register.full_register().number();
        if number != RAX && number != RDX && register.is_gpr() {
            gpr[number] = random.bits() | 1 << (register.size() * 8 - 1);
        }
    }
}

/// CMPXCHG finds what it compares with half of the time.
fn comparand(
    random: &mut Random,
    instruction: &Instruction,
    aimed: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    if random.one_in(2) {
        return;
    }
    let gpr = case.state.registers.gpr;
    let target = aimed.first().map(|(_, linear)| *linear);
    match (instruction.mnemonic(), target) {
        (Mnemonic::Cmpxchg, Some(linear)) => {
            poke_bytes(
                linear,
                &gpr[RAX].to_le_bytes()[..instruction.memory_size().size()],
                case,
            );
        }
        (Mnemonic::Cmpxchg, None) if instruction.op0_register().is_gpr() => {
            let number = instruction.op0_register().full_register().number();
            case.state.registers.gpr[number] = gpr[RAX];
        }
        (Mnemonic::Cmpxchg8b, Some(linear)) => {
            poke_bytes(linear, &(gpr[RAX] as u32).to_le_bytes(), case);
            poke_bytes(
                linear.wrapping_add(4),
                &(gpr[RDX] as u32).to_le_bytes(),
                case,
            );
        }
        (Mnemonic::Cmpxchg16b, Some(linear)) => {
            poke_bytes(linear, &gpr[RAX].to_le_bytes(), case);
            poke_bytes(linear.wrapping_add(8), &gpr[RDX].to_le_bytes(), case);
        }
        _ => {}
    }
}

/// A register bit offset reaches memory far from the operand (SDM vol. 1, 3.7.3): keep it near.
fn bit_offset(random: &mut Random, instruction: &Instruction, case: &mut Case) {
    let bit_test = matches!(
        instruction.mnemonic(),
        Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc
    );
    if bit_test && !first_is_register(instruction) && instruction.op1_register().is_gpr() {
        let register = instruction.op1_register().full_register();
        if register != instruction.memory_base().full_register()
            && register != instruction.memory_index().full_register()
        {
            let offset = random.below(0x1_0000) as i64 - 0x8000;
            case.state.registers.gpr[register.number()] = offset as u64;
        }
    }
}

/// Loaded control words are mostly valid. MXCSR bit 17 exists on AMD CPUs only: never set.
fn control_words(
    random: &mut Random,
    instruction: &Instruction,
    aimed: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    let Some((_, linear)) = aimed.first() else {
        return;
    };
    let mut value = random.bits() as u32 & !(1 << 17);
    if !random.one_in(8) {
        value &= 0xffff;
    }
    match instruction.mnemonic() {
        Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr => {
            poke_bytes(*linear, &value.to_le_bytes(), case);
        }
        Mnemonic::Fxrstor | Mnemonic::Fxrstor64 => {
            poke_bytes(
                linear.wrapping_add(MXCSR as u64),
                &value.to_le_bytes(),
                case,
            );
        }
        _ => {}
    }
}

/// Branch operands and return addresses point at landing places.
fn targets(
    random: &mut Random,
    instruction: &Instruction,
    aimed: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    let (start, next) = (case.state.registers.rip, case.next_rip());
    let mut target = landing(random, case.mode, start, next);
    if target == next && !is_near(instruction) {
        // What follows is code for the mode that the transfer may leave.
        target += 16;
    }
    if is_indirect_near(instruction) {
        if first_is_register(instruction) {
            let number = instruction.op0_register().full_register().number();
            case.state.registers.gpr[number] = target;
        } else if let Some((_, linear)) = aimed.iter().find(|(memory, _)| {
            memory.base() == instruction.memory_base()
                && memory.displacement() == instruction.memory_displacement64()
        }) {
            poke_bytes(*linear, &target.to_le_bytes(), case);
        }
        return;
    }
    if instruction.flow_control() == FlowControl::Return && !is_far(instruction) {
        let iret = matches!(instruction.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd)
            || instruction.mnemonic() == Mnemonic::Iretq;
        let stack = case.state.registers.gpr[4];
        if iret {
            interrupt_frame(random, instruction, target, stack, case);
        } else {
            poke_bytes(stack, &target.to_le_bytes(), case);
        }
        return;
    }
    if is_far(instruction) {
        far_pointer(random, instruction, target, aimed, case);
    }
}

fn is_near(instruction: &Instruction) -> bool {
    let iret = matches!(
        instruction.mnemonic(),
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq
    );
    !iret && !is_far(instruction)
}

fn selector(random: &mut Random) -> u16 {
    match random.below(10) {
        0..=4 => USER_CS_64,
        5 | 6 => USER_CS_32,
        7 => USER_DS,
        8 => random.pick(&[
            0, 3, 0x10, 0x13, 0x30, 0x20, 0x40, 0x43, 0x50, 0x88, 0xfff8, 0x37,
        ]),
        _ => random.bits() as u16,
    }
}

fn far_pointer(
    random: &mut Random,
    instruction: &Instruction,
    target: u64,
    aimed: &[(UsedMemory, u64)],
    case: &mut Case,
) {
    // A 32-bit far call into 64-bit code with a stack that wraps round hangs under the hypervisor of
    // the host this was written on.
    // And which width the stack pointer has when 64-bit code calls 32-bit code is not said.
    let stack = &mut case.state.registers.gpr[4];
    if *stack as u32 as u64 != *stack || *stack < 16 {
        *stack = DATA_BASE + 64 + random.below(64);
    }
    let selector = selector(random);
    let returns = instruction.flow_control() == FlowControl::Return;
    let linear = if returns {
        case.state.registers.gpr[4]
    } else {
        match aimed
            .iter()
            .find(|(memory, _)| memory.memory_size() == instruction.memory_size())
        {
            Some((_, linear)) => *linear,
            None => return,
        }
    };
    let slot = match instruction.code() {
        iced_x86::Code::Retfw | iced_x86::Code::Retfw_imm16 => 2,
        iced_x86::Code::Retfd | iced_x86::Code::Retfd_imm16 => 4,
        iced_x86::Code::Retfq | iced_x86::Code::Retfq_imm16 => 8,
        _ => instruction.memory_size().size().saturating_sub(2).min(8),
    };
    if poke_bytes(linear, &target.to_le_bytes()[..slot], case) {
        poke_bytes(
            linear.wrapping_add(slot as u64),
            &selector.to_le_bytes(),
            case,
        );
    }
}

fn interrupt_frame(
    random: &mut Random,
    instruction: &Instruction,
    target: u64,
    stack: u64,
    case: &mut Case,
) {
    let slot = match instruction.mnemonic() {
        Mnemonic::Iret => 2,
        Mnemonic::Iretd => 4,
        _ => 8,
    };
    let flags = random.bits() & 0x0025_4fd5 | 2;
    let new_stack = DATA_BASE + random.below(0x2000);
    let stack_selector = if random.one_in(8) {
        selector(random)
    } else {
        USER_DS
    };
    let words = [
        target,
        u64::from(selector(random)),
        flags,
        new_stack,
        u64::from(stack_selector),
    ];
    for (index, word) in words.iter().enumerate() {
        let linear = stack.wrapping_add((index * slot) as u64);
        poke_bytes(linear, &word.to_le_bytes()[..slot], case);
    }
}
