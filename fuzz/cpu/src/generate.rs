//! From a seed and a number to a case.

use iced_x86::{Code, Instruction, Mnemonic, UsedMemory};

use crate::forms::{Form, forms};
use crate::layout::{
    CODE_BASE, CODE_LEN, DATA_BASE, DATA_LEN, FS_BASE, GS_BASE, HARNESS_BASE, HARNESS_LEN, PAGE,
};
use crate::operands::{Solver, aim_displacement, decode, reaches_harness};
use crate::random::Random;
use crate::rules::{AVX512, Rules, Treatment, may_be_avx512};
use crate::state::{
    Case, MXCSR, Mode, State, X87_REGISTERS, XMM_REGISTERS, Xsave, YMM_HIGH, base_registers,
};
use crate::tune::{landing, lands_in_itself, tune};
use crate::vendor::vendor_difference;

/// Cases that share one background of memory and vector registers.
pub const EPOCH: u64 = 4096;

const CASES: u64 = 1;
const EPOCHS: u64 = 2;
/// Status flags and DF.
const FLAGS: u64 = 0xcd5;

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
}

/// Makes cases. Equal seed, mode and filter give equal cases.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
    mode: Mode,
    forms: Vec<Form>,
    filtered: Option<Vec<bool>>,
    rules: Rules,
    solver: Solver,
    background: Xsave,
}

impl Generator {
    /// `only` restricts the cases to forms whose name contains it, ignoring case.
    pub fn new(seed: u64, mode: Mode, only: Option<&str>) -> Self {
        let rules = Rules::default();
        let mut forms = forms(mode);
        forms.retain(|form| !matches!(rules.of(form.code), Treatment::Skip(_)));
        let filtered = only.map(|pattern| {
            let pattern = pattern.to_lowercase();
            Code::values()
                .map(|code| format!("{code:?}").to_lowercase().contains(&pattern))
                .collect::<Vec<_>>()
        });
        if let Some(wanted) = &filtered {
            forms.retain(|form| wanted[form.code as usize]);
        }
        Self {
            seed,
            mode,
            forms,
            filtered,
            rules,
            solver: Solver::default(),
            background: Xsave::initial(),
        }
    }

    /// The forms that cases are drawn from.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// Starts the epoch that case `index` belongs to; returns the data window's background.
    pub fn start_epoch(&mut self, index: u64) -> Vec<u8> {
        let mut random = Random::new(self.seed, EPOCHS, index / EPOCH);
        let mut data = vec![0; DATA_LEN as usize];
        for chunk in data.chunks_mut(64) {
            random.fill_lanes(chunk);
        }
        let image = &mut self.background.0;
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

    /// Case `index` of the epoch that was started last; `None` where the draw gave nothing that may
    /// be run.
    pub fn case(&mut self, index: u64) -> Option<Generated> {
        let mut random = Random::new(self.seed, CASES, index);
        let mut bytes = Vec::with_capacity(48);
        let mut rip = CODE_BASE + 0x800;
        self.draw_bytes(&mut random, &mut bytes);
        let (mut instruction, mut constants) = decode(&bytes, self.mode, rip);
        // Most refused encodings say the same: keep few of them.
        while instruction.is_invalid() && !random.one_in(6) {
            bytes.clear();
            self.draw_bytes(&mut random, &mut bytes);
            (instruction, constants) = decode(&bytes, self.mode, rip);
        }
        if instruction.is_invalid() {
            // What follows an unknown encoding must not become part of a longer known one.
            let length = instruction.len().clamp(1, 15);
            bytes.truncate(length);
            bytes.resize(15, 0xcc);
        } else {
            bytes.truncate(instruction.len());
        }
        let code = instruction.code() as usize;
        if self.filtered.as_ref().is_some_and(|wanted| !wanted[code]) {
            return None;
        }
        let treatment = if instruction.is_invalid() && may_be_avx512(&bytes) {
            Treatment::Absent(AVX512)
        } else {
            self.rules.of(instruction.code())
        };
        if matches!(treatment, Treatment::Skip(_)) || instruction.mnemonic() == Mnemonic::Wait {
            return None;
        }
        if random.one_in(32) {
            rip = placement(&mut random, bytes.len() as u64);
        }
        let mut case = Case {
            index,
            mode: self.mode,
            bytes,
            state: State {
                registers: base_registers(self.mode),
                xsave: self.background,
            },
            pokes: Vec::new(),
        };
        case.state.registers.rip = rip;
        (instruction, _) = decode(&case.bytes, self.mode, rip);
        if instruction.is_invalid() && case.bytes.len() < 15 {
            return None;
        }
        if aim_displacement(&mut random, &instruction, &constants, &mut case.bytes) {
            (instruction, _) = decode(&case.bytes, self.mode, rip);
        }
        if instruction.is_jcc_short_or_near()
            || instruction.is_jmp_short_or_near()
            || instruction.is_call_near()
            || instruction.is_loop()
            || instruction.is_loopcc()
            || instruction.is_jcx_short()
        {
            self.aim_branch(&mut random, &mut case, constants);
            (instruction, _) = decode(&case.bytes, self.mode, rip);
            if lands_in_itself(instruction.near_branch_target(), &case) {
                return None;
            }
        }
        self.fill_registers(&mut random, &mut case);
        let aimed = self.solver.solve(&mut random, &instruction, &mut case);
        tune(&mut random, &instruction, &aimed, &mut case);
        if self.mode == Mode::Compatibility {
            crate::host::clear_invisible(&mut case.state.registers);
        }
        let accesses = self.solver.accesses(&instruction, &case);
        let judged = vendor_difference(&instruction, &case, &accesses, treatment).is_some();
        if judged || names_harness(&case) || reaches_harness(&accesses) {
            return None;
        }
        Some(Generated {
            case,
            instruction,
            treatment,
            accesses,
        })
    }

    /// Most cases are written from a form, some of those are then damaged, a few are noise.
    fn draw_bytes(&self, random: &mut Random, bytes: &mut Vec<u8>) {
        let noise = random.below(32);
        if noise == 0 && self.filtered.is_none() || self.forms.is_empty() {
            let length = 15;
            for _ in 0..length {
                bytes.push(random.bits() as u8);
            }
            return;
        }
        let mut form = self.form(random);
        if matches!(self.rules.of(form.code), Treatment::Absent(_)) && !random.one_in(8) {
            form = self.form(random);
        }
        form.write(random, self.mode, bytes);
        if noise <= 2 {
            for _ in 0..=random.below(3) {
                let prefix = random.pick(&PREFIXES);
                bytes.insert(0, prefix);
            }
        } else if noise == 3 {
            let position = random.below(6.min(bytes.len() as u64)) as usize;
            bytes[position] ^= 1 << random.below(8);
        } else if noise == 4 && random.one_in(8) {
            for _ in 0..random.below(14) {
                bytes.insert(0, random.pick(&PREFIXES));
            }
        }
    }

    fn form(&self, random: &mut Random) -> Form {
        random.pick(&self.forms)
    }

    /// Points a relative branch at a landing place, as far as its displacement reaches.
    fn aim_branch(
        &self,
        random: &mut Random,
        case: &mut Case,
        constants: iced_x86::ConstantOffsets,
    ) {
        if !constants.has_immediate() || random.one_in(6) {
            return;
        }
        let distance = landing(random, case).wrapping_sub(case.next_rip());
        let offset = constants.immediate_offset();
        let size = constants.immediate_size();
        case.bytes[offset..offset + size].copy_from_slice(&distance.to_le_bytes()[..size]);
    }

    fn fill_registers(&self, random: &mut Random, case: &mut Case) {
        for value in &mut case.state.registers.gpr {
            *value = random.integer();
        }
        if !random.one_in(8) {
            let stack = DATA_BASE + PAGE + random.below(0x40) * 8;
            case.state.registers.gpr[4] = stack;
        }
        case.state.registers.rflags |= random.bits() & FLAGS;
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
}

/// Every prefix byte of both modes (40 to 4F are INC and DEC in 32-bit code: as good as any).
const PREFIXES: [u8; 16] = [
    0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65, 0x40, 0x48, 0x41, 0x44, 0x4f,
];

/// Across the two code pages, ending exactly at the end of the window, or cut off by it.
fn placement(random: &mut Random, length: u64) -> u64 {
    match random.below(3) {
        0 => CODE_BASE + PAGE - random.below(length + 1),
        1 => CODE_BASE + CODE_LEN - length,
        _ => CODE_BASE + CODE_LEN - 1 - random.below(length),
    }
}

/// A pointer into the harness, directly or through a segment, must not even be near a register.
fn names_harness(case: &Case) -> bool {
    let near = |value: u64| value.wrapping_sub(HARNESS_BASE - PAGE) < HARNESS_LEN + 2 * PAGE;
    case.state.registers.gpr.iter().any(|value| {
        let value = *value & 0xffff_ffff;
        near(value) || near(value.wrapping_add(FS_BASE)) || near(value.wrapping_add(GS_BASE))
    })
}
