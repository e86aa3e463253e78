//! Makes an instruction's operands hit something: addresses that touch the data window, its edges
//! and what lies beyond, and values at the places the instruction reads.

use iced_x86::{
    Code, ConstantOffsets, Decoder, DecoderOptions, Instruction, OpKind, Register, UsedMemory,
};

use crate::encoding::Encoding;
use crate::layout::{DATA_BASE, DATA_LEN, DATA_WRITABLE, FS_BASE, GS_BASE, PAGE, data_offset};
use crate::random::Random;
use crate::state::{Case, Mode, Poke, X87_REGISTERS, XMM_REGISTERS, YMM_HIGH};

/// Decodes the one instruction at the start of `bytes`.
pub fn decode(bytes: &[u8], mode: Mode, rip: u64) -> (Instruction, ConstantOffsets) {
    let mut decoder = Decoder::with_ip(mode.bitness(), bytes, rip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    let constants = decoder.get_constant_offsets(&instruction);
    (instruction, constants)
}

/// An address to access `size` bytes at: mostly inside the window, often at one of its edges.
pub fn address(random: &mut Random, size: u64) -> u64 {
    let size = size.max(1);
    let within = |random: &mut Random| random.below(size + 1);
    match random.below(80) {
        0..=57 => DATA_BASE + random.below(DATA_WRITABLE - size.min(PAGE)) / 64 * 64,
        58..=63 => DATA_BASE + random.below(DATA_WRITABLE - size.min(PAGE)),
        // From the first page into the second.
        64..=70 => DATA_BASE + PAGE - within(random),
        // From the writable pages into the read-only one.
        71..=72 => DATA_BASE + 2 * PAGE - within(random),
        73 => DATA_BASE + 2 * PAGE + random.below(PAGE) / 16 * 16,
        // Out of the window on either side.
        74 => DATA_BASE + DATA_LEN - within(random),
        75 => DATA_BASE - within(random),
        76 => DATA_BASE + DATA_LEN + random.below(PAGE),
        // The canonical boundary from both sides, and anywhere beyond it.
        77 => (1 << 47) - within(random),
        78 => (0xffff_8000_0000_0000_u64).wrapping_sub(within(random)),
        _ => random.bits(),
    }
}

/// Rewrites the displacement of a RIP-relative or absolute memory operand so that it hits the
/// window. Reports whether bytes changed.
pub fn aim_displacement(
    random: &mut Random,
    instruction: &Instruction,
    constants: &ConstantOffsets,
    bytes: &mut [u8],
) -> bool {
    let absolute =
        instruction.memory_base() == Register::None && instruction.memory_index() == Register::None;
    if !constants.has_displacement() || !(instruction.is_ip_rel_memory_operand() || absolute) {
        return false;
    }
    if random.one_in(20) {
        return false;
    }
    let size = instruction.memory_size().size() as u64;
    let linear = address(random, size);
    let base = segment_base(instruction.memory_segment());
    let wanted = linear.wrapping_sub(base);
    let field = if instruction.is_ip_rel_memory_operand() {
        wanted.wrapping_sub(instruction.next_ip())
    } else {
        wanted
    };
    let offset = constants.displacement_offset();
    let length = constants.displacement_size();
    bytes[offset..offset + length].copy_from_slice(&field.to_le_bytes()[..length]);
    true
}

/// The base that a segment register adds when a case begins, in both modes.
pub fn segment_base(segment: Register) -> u64 {
    match segment {
        Register::FS => FS_BASE,
        Register::GS => GS_BASE,
        _ => 0,
    }
}

/// The base that a segment register adds in the case's state.
pub(crate) fn base_in(case: &Case, segment: Register) -> u64 {
    match segment {
        Register::FS => case.state.registers.fs_base,
        Register::GS => case.state.registers.gs_base,
        _ => 0,
    }
}

/// Aims all memory accesses of the encoding and fills the vector registers it uses. Returns the
/// accesses that were aimed, with their linear addresses.
pub fn solve(random: &mut Random, encoding: &Encoding, case: &mut Case) -> Vec<(UsedMemory, u64)> {
    for register in &encoding.registers {
        fill_register(random, *register, case);
    }
    let mut pinned = 0_u32;
    let mut aimed = Vec::new();
    for memory in &encoding.memory {
        let size = memory.memory_size().size() as u64;
        let linear = address(random, size);
        let instruction = &encoding.instruction;
        if let Some(actual) = aim(random, memory, linear, instruction, case, &mut pinned) {
            poke(random, actual, size as usize, case);
            aimed.push((*memory, actual));
        }
    }
    aimed
}

/// The memory accesses of the finished case, with their linear addresses. Gathers are left out: they
/// have one address a lane.
pub fn accesses(encoding: &Encoding, case: &Case) -> Vec<(UsedMemory, u64)> {
    let value = |register: Register| {
        if register.is_segment_register() {
            return Some(base_in(case, register));
        }
        let value = *case.state.registers.gpr.get(register.number())?;
        match register.size() {
            _ if !register.is_gpr() => None,
            1 => Some(value & 0xff),
            2 => Some(value & 0xffff),
            4 => Some(value & 0xffff_ffff),
            _ => Some(value),
        }
    };
    let mask = match case.mode {
        Mode::Long => u64::MAX,
        Mode::Compatibility => 0xffff_ffff,
    };
    let linear = |memory: &UsedMemory| {
        let address = memory.virtual_address(0, |register, _, _| value(register))?;
        Some((*memory, address & mask))
    };
    encoding.memory.iter().filter_map(linear).collect()
}

/// Whether an access may touch memory that exists only in the host process.
pub fn reaches_harness(accesses: &[(UsedMemory, u64)]) -> bool {
    accesses.iter().any(|(memory, linear)| {
        let length = memory.memory_size().size() as u64 + 64;
        crate::layout::touches_harness(*linear, length)
    })
}

/// Gives a register of the access's address the value that makes it `linear`, as far as one is free:
/// `pinned` are the registers that are not. Returns the address that it came to.
pub(crate) fn aim(
    random: &mut Random,
    memory: &UsedMemory,
    linear: u64,
    instruction: &Instruction,
    case: &mut Case,
    pinned: &mut u32,
) -> Option<u64> {
    let gpr = &mut case.state.registers.gpr;
    let segment = segment_base(memory.segment());
    let wanted = linear.wrapping_sub(segment);
    let narrow = matches!(memory.base().size().max(memory.index().size()), 2 | 4)
        && !memory.index().is_vector_register();
    let scale = memory.scale() as u64;
    let truncate = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let (base, index) = (memory.base(), memory.index());
    if index.is_vector_register() {
        fill_gather_index(random, instruction, index, scale, case);
        let gpr = &mut case.state.registers.gpr;
        if base.is_gpr() {
            let start = DATA_BASE + random.below(PAGE);
            gpr[base.number()] = start
                .wrapping_sub(memory.displacement())
                .wrapping_sub(segment);
        }
        return None;
    }
    let index_value = match index {
        Register::None => 0,
        register if register.is_gpr() => gpr[register.number()],
        // XLAT's AL is reported as an index of one byte.
        _ => return None,
    };
    let index_value = match index.size() {
        1 => index_value & 0xff,
        4 => index_value & 0xffff_ffff,
        _ => index_value,
    };
    if !base.is_gpr() {
        if base == Register::None && index == Register::None {
            return Some(segment.wrapping_add(memory.displacement()));
        }
        return None;
    }
    let number = base.number();
    let rest = wanted.wrapping_sub(memory.displacement());
    if base.full_register() == index.full_register() {
        // x * (1 + scale) = rest, which has a solution for scale 2, 4 and 8 when odd.
        let factor = scale + 1;
        if *pinned & 1 << number == 0 && rest % factor == 0 {
            gpr[number] = rest / factor;
            *pinned |= 1 << number;
            return Some(linear);
        }
        return None;
    }
    if *pinned & 1 << number != 0 {
        return None;
    }
    let value = rest.wrapping_sub(index_value.wrapping_mul(scale));
    gpr[number] = if narrow && case.mode == Mode::Long {
        truncate(value) | random.bits() << 32
    } else {
        value
    };
    *pinned |= 1 << number;
    if index.is_gpr() {
        *pinned |= 1 << index.number();
    }
    Some(if narrow {
        segment.wrapping_add(truncate(wanted))
    } else {
        linear
    })
}

/// Writes an operand value where the instruction will read; unpoked memory is the background.
pub(crate) fn poke(random: &mut Random, linear: u64, size: usize, case: &mut Case) {
    let size = size.min(64);
    let mut bytes = [0; 64];
    if size <= 8 && random.one_in(2) {
        bytes[..8].copy_from_slice(&random.integer().to_le_bytes());
    } else {
        random.fill_lanes(&mut bytes[..size]);
    }
    poke_bytes(linear, &bytes[..size], case);
}

/// Places `bytes` at a linear address if the whole lies in the writable part of the window.
pub fn poke_bytes(linear: u64, bytes: &[u8], case: &mut Case) -> bool {
    let Some(offset) = data_offset(linear, bytes.len() as u64) else {
        return false;
    };
    if offset + bytes.len() > DATA_WRITABLE as usize || bytes.len() > 64 || bytes.is_empty() {
        return false;
    }
    let mut poke = Poke {
        offset,
        length: bytes.len(),
        bytes: [0; 64],
    };
    poke.bytes[..bytes.len()].copy_from_slice(bytes);
    case.pokes.push(poke);
    true
}

/// Draws what a vector register holds.
pub(crate) fn fill_register(random: &mut Random, register: Register, case: &mut Case) {
    let image = &mut case.state.xsave.0;
    // Only EVEX names registers above 15, and those forms are not run.
    if register.is_vector_register() && register.number() > 15 || register.is_zmm() {
        return;
    }
    if register.is_xmm() || register.is_ymm() {
        let low = XMM_REGISTERS + register.number() * 16;
        let high = YMM_HIGH + register.number() * 16;
        let mut value = [0; 32];
        random.fill_lanes(&mut value);
        image[low..low + 16].copy_from_slice(&value[..16]);
        image[high..high + 16].copy_from_slice(&value[16..]);
    } else if register.is_mm() {
        let start = X87_REGISTERS + register.number() * 16;
        random.fill_lanes(&mut image[start..start + 8]);
    } else if register.is_st() {
        let start = X87_REGISTERS + register.number() * 16;
        let value = random.extended();
        image[start..start + 10].copy_from_slice(&value);
    }
}

/// Gives each lane of a gather's index an offset that stays near the window.
fn fill_gather_index(
    random: &mut Random,
    instruction: &Instruction,
    index: Register,
    scale: u64,
    case: &mut Case,
) {
    if index.number() > 15 {
        return;
    }
    let wide = instruction.is_vsib64();
    let image = &mut case.state.xsave.0;
    let mut value = [0_u8; 32];
    let span = if random.one_in(6) { 3 * PAGE } else { PAGE };
    for lane in value.chunks_mut(if wide { 8 } else { 4 }) {
        let offset = (random.below(span) / scale) as i64;
        let offset = if random.one_in(30) { -offset } else { offset };
        let length = lane.len();
        lane.copy_from_slice(&offset.to_le_bytes()[..length]);
    }
    let low = XMM_REGISTERS + index.number() * 16;
    let high = YMM_HIGH + index.number() * 16;
    image[low..low + 16].copy_from_slice(&value[..16]);
    image[high..high + 16].copy_from_slice(&value[16..]);
}

/// Whether the instruction takes an address in its first operand to jump to.
pub fn is_indirect_near(instruction: &Instruction) -> bool {
    instruction.is_jmp_near_indirect() || instruction.is_call_near_indirect()
}

/// Whether operand 0 is a register.
pub fn first_is_register(instruction: &Instruction) -> bool {
    instruction.op0_kind() == OpKind::Register
}

/// Whether the form is a far transfer through memory or immediate.
pub fn is_far(instruction: &Instruction) -> bool {
    instruction.is_jmp_far_indirect()
        || instruction.is_call_far_indirect()
        || instruction.is_jmp_far()
        || instruction.is_call_far()
        || matches!(
            instruction.code(),
            Code::Retfw
                | Code::Retfd
                | Code::Retfq
                | Code::Retfw_imm16
                | Code::Retfd_imm16
                | Code::Retfq_imm16
        )
}
