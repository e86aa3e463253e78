//! Seeded randomness, and the values instructions go wrong on.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and two multiplications a number, and every
/// seed is as good as any other, so each case can have its own.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream for one purpose: `domain` keeps cases and epochs apart.
    pub fn new(seed: u64, domain: u64, index: u64) -> Self {
        let mut mixer = Self(seed ^ domain.rotate_left(32));
        let start = mixer
            .bits()
            .wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut random = Self(start);
        random.0 = random.bits();
        random
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (which must not be 0); the bias of 2^-32 does not matter here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.bits() >> 32) * bound) >> 32
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// An element of a list that is not empty.
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    /// An integer operand: half of the time one at an edge, otherwise anything.
    pub fn integer(&mut self) -> u64 {
        let bits = self.bits();
        let shift = (bits >> 8) % 64;
        match bits & 15 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => 1 << shift,
            4 => (1 << shift) - 1,
            5 => !(1 << shift),
            6 => self.pick(&WIDTH_EDGES),
            7 => (bits >> 16) % 70,
            8 => u64::MAX - (bits >> 16) % 70,
            9 => bits >> 32,
            _ => self.bits(),
        }
    }

    /// Fills a register or memory operand with lanes of one kind.
    pub fn fill_lanes(&mut self, target: &mut [u8]) {
        match self.below(5) {
            0 => {
                for lane in target.chunks_mut(4) {
                    let value = self.single();
                    lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
                }
            }
            1 => {
                for lane in target.chunks_mut(8) {
                    let value = self.double();
                    lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
                }
            }
            2 => {
                let width = 1 << self.below(4);
                for lane in target.chunks_mut(width) {
                    let value = self.integer();
                    lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
                }
            }
            3 => {
                for lane in target.chunks_mut(10) {
                    let value = self.extended();
                    lane.copy_from_slice(&value[..lane.len()]);
                }
            }
            _ => {
                for lane in target.chunks_mut(8) {
                    let value = self.bits();
                    lane.copy_from_slice(&value.to_le_bytes()[..lane.len()]);
                }
            }
        }
    }

    /// A single-precision pattern: zeros, denormals, infinities, both NaNs, range edges, ordinary.
    pub fn single(&mut self) -> u32 {
        let bits = self.bits();
        let sign = (bits >> 63 << 31) as u32;
        let mantissa = (bits >> 8) as u32 & 0x7f_ffff;
        sign | match bits & 15 {
            0 => 0,
            1 => 1,
            2 => 0x7f_ffff,
            3 => mantissa,
            4 => 0x80_0000,
            5 => 0x7f7f_ffff,
            6 => 0x7f80_0000,
            7 => 0x7fc0_0000 | mantissa,
            8 => 0x7f80_0001 | (mantissa & 0x3f_ffff),
            9 => 0x3f80_0000,
            10 => 0x4f00_0000,
            11 => (0x3f00_0000 + ((bits >> 40) as u32 & 0x1f) * 0x80_0000) | mantissa,
            _ => (bits >> 8) as u32 & 0x7fff_ffff,
        }
    }

    /// A double-precision pattern, in the same classes.
    pub fn double(&mut self) -> u64 {
        let bits = self.bits();
        let sign = bits & (1 << 63);
        let mantissa = self.bits() >> 12;
        sign | match bits & 15 {
            0 => 0,
            1 => 1,
            2 => 0xf_ffff_ffff_ffff,
            3 => mantissa,
            4 => 0x10_0000_0000_0000,
            5 => 0x7fef_ffff_ffff_ffff,
            6 => 0x7ff0_0000_0000_0000,
            7 => 0x7ff8_0000_0000_0000 | mantissa,
            8 => 0x7ff0_0000_0000_0001 | (mantissa & 0x7_ffff_ffff_ffff),
            9 => 0x3ff0_0000_0000_0000,
            10 => 0x43e0_0000_0000_0000,
            11 => (0x3fe0_0000_0000_0000 + ((bits >> 8) & 0x3f) * 0x10_0000_0000_0000) | mantissa,
            _ => (bits << 1) >> 1,
        }
    }

    /// A double-extended pattern, with the encodings only x87 has: pseudo-denormals, unnormals,
    /// pseudo-infinities, pseudo-NaNs.
    pub fn extended(&mut self) -> [u8; 10] {
        let bits = self.bits();
        let sign = (bits >> 63 << 15) as u16;
        let random = self.bits();
        let integer_bit = 1_u64 << 63;
        let (exponent, significand) = match bits & 15 {
            0 => (0, 0),
            1 => (0, 1),
            2 => (0, random & !integer_bit),
            3 => (0, random | integer_bit),
            4 => (1, integer_bit),
            5 => (0x7ffe, u64::MAX),
            6 => (0x7fff, integer_bit),
            7 => (0x7fff, 0xc000_0000_0000_0000 | random),
            8 => (0x7fff, integer_bit | (random >> 2) | 1),
            9 => (0x7fff, random & !integer_bit),
            10 => ((bits >> 8) as u16 & 0x7fff, random & !integer_bit),
            11 => (0x3fff, integer_bit),
            12 => (0x3ff0 + ((bits >> 8) as u16 & 0x5f), random | integer_bit),
            13 => (
                0x3fff + ((bits >> 8) as u16 & 0x3f),
                (random | integer_bit) & !0xffff_ffff,
            ),
            _ => ((bits >> 8) as u16 & 0x7fff, random | integer_bit),
        };
        let mut value = [0; 10];
        value[..8].copy_from_slice(&u64::to_le_bytes(significand));
        value[8..].copy_from_slice(&(sign | exponent).to_le_bytes());
        value
    }
}

/// The largest and smallest values of each width, sign-extended and not.
const WIDTH_EDGES: [u64; 12] = [
    0x7f,
    0x80,
    0xff,
    0xffff_ffff_ffff_ff80,
    0x7fff,
    0x8000,
    0xffff,
    0xffff_ffff_ffff_8000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff_8000_0000,
    0x8000_0000_0000_0000,
];
