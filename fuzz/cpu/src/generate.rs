//! From a seed and a number to a case.

use iced_x86::{Instruction, UsedMemory};

use crate::encoding::{Encoder, Encoding};
use crate::forms::Form;
use crate::layout::{DATA_BASE, DATA_LEN, FS_BASE, GS_BASE, HARNESS_BASE, HARNESS_LEN, PAGE};
use crate::operands::{accesses, reaches_harness, solve};
use crate::random::Random;
use crate::report;
use crate::rules::Treatment;
use crate::state::{
    Case, MXCSR, Mode, Starts, State, X87_REGISTERS, XMM_REGISTERS, Xsave, YMM_HIGH, base_registers,
};
use crate::tune::tune;
use crate::vendor::vendor_difference;

/// Cases that share one background of memory and vector registers.
pub const EPOCH: u64 = 4096;
/// Cases in a row that share one encoding: drawing and decoding it costs as much as running it.
const STATES: u64 = 8;

// What streams of random numbers are for.
const CASES: u64 = 1;
const EPOCHS: u64 = 2;
const ENCODINGS: u64 = 3;
/// Status flags and DF.
const FLAGS: u64 = 0xcd5;
/// AC: operands that are not aligned raise #AC.
pub(crate) const ALIGNMENT_CHECK: u64 = 1 << 18;

/// A case, its decoding, and what the rules say about it.
#[derive(Debug)]
pub struct Generated {
    /// The case.
    pub case: Case,
    /// Its decoding; `Code::INVALID` when the decoder refuses it.
    pub instruction: Instruction,
    /// How to judge it.
    pub treatment: Treatment,
    /// Its memory accesses, with their linear addresses.
    pub accesses: Vec<(UsedMemory, u64)>,
    /// Whether one of them may store.
    pub stores: bool,
}

impl Generated {
    /// The instruction and what it starts from.
    pub fn text(&self) -> String {
        let instruction = report::disassembly(&self.instruction, &self.case.bytes);
        format!("{instruction}\n{}", report::inputs(&self.case))
    }
}

/// Makes cases. Equal seed, mode and filter give equal cases.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    mode: Mode,
    encoder: Encoder,
    /// The encoding drawn last, and its number.
    encoding: (u64, Option<Encoding>),
    background: Xsave,
}

impl Generator {
    /// `only` restricts the cases to forms whose name contains it, ignoring case.
    pub fn new(seed: u64, mode: Mode, only: Option<&str>) -> Self {
        Self {
            seed,
            mode,
            encoder: Encoder::new(mode, only),
            encoding: (u64::MAX, None),
            background: Xsave::initial(),
        }
    }

    /// The forms that cases are drawn from.
    pub fn forms(&self) -> &[Form] {
        self.encoder.forms()
    }

    /// Starts the epoch that case `index` belongs to; returns the data window's background.
    pub fn start_epoch(&mut self, index: u64) -> Vec<u8> {
        background(self.seed, index, &mut self.background)
    }

    /// Case `index` of the epoch that was started last; `None` where the draw gave nothing that may
    /// be run.
    pub fn case(&mut self, index: u64) -> Option<Generated> {
        let number = index / STATES;
        if self.encoding.0 != number {
            let mut random = Random::new(self.seed, ENCODINGS, number);
            self.encoding = (number, self.encoder.draw(&mut random));
        }
        let encoding = self.encoding.1.as_ref()?;
        let mut random = Random::new(self.seed, CASES, index);
        let mut case = Case {
            index,
            mode: self.mode,
            bytes: encoding.bytes.clone(),
            starts: Starts::SINGLE,
            state: State {
                registers: base_registers(self.mode),
                xsave: self.background,
            },
            pokes: Vec::new(),
        };
        case.state.registers.rip = encoding.rip;
        fill_registers(&mut random, &mut case);
        let instruction = &encoding.instruction;
        let aimed = solve(&mut random, encoding, &mut case);
        tune(&mut random, instruction, &aimed, &mut case);
        if self.mode == Mode::Compatibility {
            crate::host::clear_invisible(&mut case.state.registers);
        }
        let accesses = accesses(encoding, &case);
        let judged = vendor_difference(instruction, &case, &accesses, encoding.treatment);
        if judged.is_some() || names_harness(&case) || reaches_harness(&accesses) {
            return None;
        }
        Some(Generated {
            case,
            instruction: *instruction,
            treatment: encoding.treatment,
            accesses,
            stores: encoding.stores,
        })
    }
}

/// What registers and data window hold in the epoch of case `index`.
pub(crate) fn background(seed: u64, index: u64, registers: &mut Xsave) -> Vec<u8> {
    let mut random = Random::new(seed, EPOCHS, index / EPOCH);
    let mut data = vec![0; DATA_LEN as usize];
    for chunk in data.chunks_mut(64) {
        random.fill_lanes(chunk);
    }
    let image = &mut registers.0;
    for register in image[XMM_REGISTERS..XMM_REGISTERS + 256].chunks_mut(16) {
        random.fill_lanes(register);
    }
    for register in image[YMM_HIGH..].chunks_mut(16) {
        random.fill_lanes(register);
    }
    for register in image[X87_REGISTERS..XMM_REGISTERS].chunks_mut(16) {
        register[..10].copy_from_slice(&random.extended());
    }
    data
}

/// Draws everything that no operand asks for.
pub(crate) fn fill_registers(random: &mut Random, case: &mut Case) {
    for value in &mut case.state.registers.gpr {
        *value = random.integer();
    }
    if !random.one_in(8) {
        let stack = DATA_BASE + PAGE + random.below(0x40) * 8;
        case.state.registers.gpr[4] = stack;
    }
    case.state.registers.rflags |= random.bits() & FLAGS;
    if random.one_in(32) {
        case.state.registers.rflags |= ALIGNMENT_CHECK;
    }
    let image = &mut case.state.xsave.0;
    let control = random.bits();
    let mut fcw = 0x37f | (control as u16 & 0x0f00);
    if random.one_in(8) {
        fcw = control as u16 & 0x1f3f | 0x40;
    }
    image[0..2].copy_from_slice(&fcw.to_le_bytes());
    let mut fsw = 0_u16;
    if random.one_in(3) {
        // TOP and the condition codes; sometimes exceptions pending from an earlier
        // instruction.
        fsw = (control >> 16) as u16 & 0x7f00;
        if random.one_in(4) {
            fsw |= (control >> 32) as u16 & 0x7f;
        }
        if fsw & !fcw & 0x3f != 0 {
            fsw |= 0x8080;
        }
    }
    image[2..4].copy_from_slice(&fsw.to_le_bytes());
    image[4] = match random.below(4) {
        0 => 0xff,
        1 => 0,
        _ => (control >> 40) as u8,
    };
    let mut mxcsr = 0x1f80 | (control >> 48) as u32 & 0xe07f;
    if random.one_in(8) {
        mxcsr = (control >> 48) as u32;
    }
    image[MXCSR..MXCSR + 4].copy_from_slice(&mxcsr.to_le_bytes());
}

/// A pointer into the harness, directly or through a segment, must not even be near a register.
pub(crate) fn names_harness(case: &Case) -> bool {
    let near = |value: u64| value.wrapping_sub(HARNESS_BASE - PAGE) < HARNESS_LEN + 2 * PAGE;
    case.state.registers.gpr.iter().any(|value| {
        let value = *value & 0xffff_ffff;
        near(value) || near(value.wrapping_add(FS_BASE)) || near(value.wrapping_add(GS_BASE))
    })
}
