//! Random machine states that reach the interesting corners of each format.

use crate::hostexec::XsaveArea;

/// Bytes of the window that memory operands lie in.
pub(super) const WINDOW: usize = 1024;

/// Everything an instruction of this module can read or write.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) gpr: [u64; 16],
    pub(super) rflags: u64,
    pub(super) area: XsaveArea,
    pub(super) window: [u8; WINDOW],
}

/// A small deterministic generator (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Random(seed | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(super) fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

const DOUBLES: [u64; 16] = [
    0,
    1 << 63,
    0x3FF0_0000_0000_0000,
    0xBFF8_0000_0000_0000,
    0x7FF0_0000_0000_0000,
    0xFFF0_0000_0000_0000,
    0x7FF8_0000_0000_0001,
    0x7FF0_0000_0000_0001,
    0x0000_0000_0000_0001,
    0x800F_FFFF_FFFF_FFFF,
    0x7FEF_FFFF_FFFF_FFFF,
    0x0010_0000_0000_0000,
    0x41DF_FFFF_FFC0_0000,
    0x43E0_0000_0000_0000,
    0x3FE0_0000_0000_0000,
    0x36A0_0000_0000_0000,
];

const SINGLES: [u32; 14] = [
    0,
    0x8000_0000,
    0x3F80_0000,
    0xBFC0_0000,
    0x7F80_0000,
    0xFF80_0000,
    0x7FC0_0001,
    0x7F80_0001,
    0x0000_0001,
    0x807F_FFFF,
    0x7F7F_FFFF,
    0x0080_0000,
    0x4EFF_FFFF,
    0x3880_0000,
];

/// Eight bytes that are often a special float or double.
pub(super) fn lane(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.one_of(&DOUBLES),
        1 => u64::from(random.one_of(&SINGLES)) | u64::from(random.one_of(&SINGLES)) << 32,
        // Near one in magnitude, so that arithmetic is inexact but does not overflow.
        2 => 0x3FF0_0000_0000_0000 ^ (random.next() >> 9) ^ (random.below(2) << 63),
        _ => random.next(),
    }
}

fn extended(random: &mut Random) -> [u8; 10] {
    let (significand, exponent) = match random.below(8) {
        0 => (0, 0),
        1 => (1 << 63, 0x7FFF),
        2 => (0xC000_0000_0000_0000 | random.next() >> 2, 0x7FFF),
        3 => (0x8000_0000_0000_0000 | random.next() >> 2, 0x7FFF),
        4 => (random.next() >> 1, 0),
        5 => (random.next(), random.below(0x8000)),
        _ => (random.next() | 1 << 63, 0x3FFF - 40 + random.below(80)),
    };
    let mut out = [0; 10];
    out[..8].copy_from_slice(&significand.to_le_bytes());
    let sign = random.below(2) << 15;
    out[8..].copy_from_slice(&((exponent | sign) as u16).to_le_bytes());
    out
}

/// A state with all exceptions masked and none pending.
pub(super) fn random_state(random: &mut Random) -> State {
    let mut state = State {
        gpr: std::array::from_fn(|_| lane(random)),
        rflags: random.next() & 0x8D5 | 2,
        area: XsaveArea::default(),
        window: [0; WINDOW],
    };
    for chunk in state.window.chunks_exact_mut(8) {
        chunk.copy_from_slice(&lane(random).to_le_bytes());
    }
    for register in 0..16 {
        let lanes: [[u8; 8]; 4] = std::array::from_fn(|_| lane(random).to_le_bytes());
        let mut ymm = [0; 32];
        ymm.copy_from_slice(lanes.as_flattened());
        state.area.set_ymm(register, ymm);
    }
    for slot in 0..8 {
        state.area.bytes[32 + 16 * slot..][..10].copy_from_slice(&extended(random));
    }
    let area = &mut state.area;
    area.set_fcw(
        0x037F & !0x300 | random.one_of(&[0u16, 0x200, 0x300]) | (random.below(4) as u16) << 10,
    );
    area.set_fsw((random.next() as u16) & 0x7F7F & !0x80);
    let any = random.next() as u8;
    area.set_ftw(random.one_of(&[0xFF, 0xFF, 0x00, any]));
    area.set_mxcsr(0x1F80 | (random.next() as u32 & 0xE07F));
    state
}
