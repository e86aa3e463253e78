//! The instruction of a case: its bytes, where they lie, and everything that follows from them alone.

use iced_x86::{
    Code, ConstantOffsets, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
    UsedMemory,
};

use crate::forms::{Form, forms};
use crate::layout::{CODE_BASE, CODE_LEN, PAGE};
use crate::operands::{aim_displacement, decode};
use crate::random::Random;
use crate::rules::{AVX512, Rules, Treatment, may_be_avx512};
use crate::state::Mode;
use crate::tune::{landing, lands_in_itself};

/// One instruction at one place.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// The instruction, and nothing after it.
    pub bytes: Vec<u8>,
    /// Where `bytes` lie.
    pub rip: u64,
    /// The decoding; `Code::INVALID` when the decoder refuses it.
    pub instruction: Instruction,
    /// How to judge it.
    pub treatment: Treatment,
    /// The registers it uses.
    pub registers: Vec<Register>,
    /// The memory accesses it makes.
    pub memory: Vec<UsedMemory>,
    /// Whether one of them may store.
    pub stores: bool,
}

impl Encoding {
    /// `instruction` is the decoding of `bytes` at `rip`.
    pub fn new(
        info: &mut InstructionInfoFactory,
        bytes: Vec<u8>,
        rip: u64,
        instruction: Instruction,
        treatment: Treatment,
    ) -> Self {
        let info = info.info(&instruction);
        let registers = info.used_registers().iter();
        let memory = info.used_memory().iter();
        let loads = |memory: &UsedMemory| {
            use OpAccess as A;
            matches!(memory.access(), A::NoMemAccess | A::Read | A::CondRead)
        };
        Self {
            stores: !memory.clone().all(loads),
            bytes,
            rip,
            instruction,
            treatment,
            registers: registers.map(|used| used.register()).collect(),
            memory: memory
                .filter(|memory| memory.access() != OpAccess::NoMemAccess)
                .copied()
                .collect(),
        }
    }
}

/// Draws encodings of the forms of one mode.
pub struct Encoder {
    mode: Mode,
    forms: Vec<Form>,
    filtered: Option<Vec<bool>>,
    rules: Rules,
    info: InstructionInfoFactory,
}

impl core::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// `only` restricts it to forms whose name contains it, ignoring case.
    pub fn new(mode: Mode, only: Option<&str>) -> Self {
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
            mode,
            forms,
            filtered,
            rules,
            info: InstructionInfoFactory::new(),
        }
    }

    /// The forms that encodings are drawn from.
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }

    /// An encoding, or `None` where the draw gave nothing that may be run.
    pub fn draw(&mut self, random: &mut Random) -> Option<Encoding> {
        let mut bytes = Vec::with_capacity(48);
        let mut rip = CODE_BASE + 0x800;
        self.draw_bytes(random, &mut bytes);
        let (mut instruction, mut constants) = decode(&bytes, self.mode, rip);
        // Most refused encodings say the same: keep few of them.
        while instruction.is_invalid() && !random.one_in(24) {
            bytes.clear();
            self.draw_bytes(random, &mut bytes);
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
            rip = placement(random, bytes.len() as u64);
        }
        (instruction, _) = decode(&bytes, self.mode, rip);
        if aim_displacement(random, &instruction, &constants, &mut bytes) {
            (instruction, _) = decode(&bytes, self.mode, rip);
        }
        if is_relative_branch(&instruction) {
            self.aim_branch(random, &mut bytes, rip, constants);
            (instruction, _) = decode(&bytes, self.mode, rip);
            let next = rip + bytes.len() as u64;
            if lands_in_itself(instruction.near_branch_target(), rip, next) {
                return None;
            }
        }
        Some(Encoding::new(
            &mut self.info,
            bytes,
            rip,
            instruction,
            treatment,
        ))
    }

    /// Most encodings are written from a form, some of those are then damaged, a few are noise.
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
        if matches!(self.rules.of(form.code), Treatment::Absent(_)) && !random.one_in(24) {
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
        bytes: &mut [u8],
        rip: u64,
        constants: ConstantOffsets,
    ) {
        if !constants.has_immediate() || random.one_in(6) {
            return;
        }
        let next = rip + bytes.len() as u64;
        let distance = landing(random, self.mode, rip, next).wrapping_sub(next);
        let offset = constants.immediate_offset();
        let size = constants.immediate_size();
        bytes[offset..offset + size].copy_from_slice(&distance.to_le_bytes()[..size]);
    }
}

/// Whether the instruction's target is a distance in its immediate.
pub(crate) fn is_relative_branch(instruction: &Instruction) -> bool {
    instruction.is_jcc_short_or_near()
        || instruction.is_jmp_short_or_near()
        || instruction.is_call_near()
        || instruction.is_loop()
        || instruction.is_loopcc()
        || instruction.is_jcx_short()
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
