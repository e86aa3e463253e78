//! The subjects that matter: the CPU of `wardian-translate`, one instruction at a time or a block.

use std::io;
use std::ops::DerefMut;

use wardian_engine::state::Segment;
use wardian_translate::cpu::Cpu;
use wardian_translate::cpu::exception::StopReason;
use wardian_translate::cpu::registers::RIP;
use wardian_translate::cpu::segment::index;
use wardian_translate::translator::{Heat, VcpuMemory};

use crate::guest;
use crate::host::{clear_invisible, normalise_null_selectors};
use crate::layout::{CODE_BASE, CODE_LEN, DATA_LEN, FS_BASE, GS_BASE};
use crate::state::{
    Case, End, Mode, Outcome, Registers, State, X87_REGISTERS, XMM_REGISTERS, Xsave, YMM_HIGH,
};
use crate::subject::Subject;
use crate::text::{BREAKPOINT, TEXT_LEN, text};

const MXCSR_MASK: core::ops::Range<usize> = 28..32;
const FLAG_RESUME: u64 = 1 << 16;

/// Executes up to so many instructions at RIP.
type Step = fn(&mut Cpu, usize) -> StopReason;

/// A CPU at ring 3 that the interpreter runs.
pub type Interpreter = Runner<Box<Cpu>>;

/// A CPU at ring 3 whose code is translated.
pub type Translator = Runner<VcpuMemory>;

/// A CPU at ring 3 in whatever memory its engine wants it in.
pub struct Runner<C> {
    cpu: C,
    step: Step,
    exact_flags: bool,
    segments: [Segment; 8],
    data: *mut u8,
    /// Where the code window holds a text, and that text: cases in a row often share it, and what is
    /// written again must be decoded again.
    written: (u64, [u8; TEXT_LEN]),
}

impl<C> core::fmt::Debug for Runner<C> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Runner")
    }
}

impl Interpreter {
    /// A CPU with the windows mapped.
    ///
    /// # Errors
    /// When the host refuses memory.
    pub fn new(mode: Mode) -> io::Result<Self> {
        Self::with(Box::new(guest::cpu(mode)?), mode, |cpu, _| {
            cpu.execute_one()
        })
    }

    /// Runs the case on the data window as it is, an instruction at a time. Before each, `observe` is
    /// told its number and the state, and says whether to go on. Returns RIP at the end.
    pub fn replay(&mut self, case: &Case, observe: &mut dyn FnMut(usize, &State) -> bool) -> u64 {
        self.write_code(case.state.registers.rip, text(case));
        self.load(case);
        while let Some(number) = case.instruction_at(self.cpu.regs[RIP]) {
            if !observe(number, &self.save(case)) || self.cpu.execute_one() != StopReason::None {
                break;
            }
        }
        self.cpu.regs[RIP]
    }
}

impl Translator {
    /// A CPU with the windows mapped, in the memory that translated code needs, translated as if it
    /// were the `sole` one of its machine or not.
    ///
    /// # Errors
    /// When the host refuses memory.
    pub fn new(mode: Mode, sole: bool) -> io::Result<Self> {
        let mut cpu = VcpuMemory::new(guest::cpu(mode)?)?;
        cpu.translate(Heat::default(), sole)?;
        let mut translator = Self::with(cpu, mode, Cpu::execute_translated)?;
        translator.exact_flags = false;
        Ok(translator)
    }
}

impl<C: DerefMut<Target = Cpu>> Runner<C> {
    /// `cpu` with the windows mapped, and how it is run.
    fn with(cpu: C, mode: Mode, step: Step) -> io::Result<Self> {
        let ram = &cpu.board.ram;
        ram.write(guest::CODE_FRAMES, &[BREAKPOINT; CODE_LEN as usize])
            .map_err(io::Error::other)?;
        let frame = ram
            .page(guest::DATA_FRAMES)
            .expect("the data window lies inside RAM");
        let data = frame.hva;
        Ok(Self {
            cpu,
            step,
            exact_flags: true,
            segments: guest::segments(mode),
            data,
            written: (CODE_BASE, [BREAKPOINT; TEXT_LEN]),
        })
    }

    fn load(&mut self, case: &Case) {
        let cpu: &mut Cpu = &mut self.cpu;
        let registers = &case.state.registers;
        cpu.regs[..16].copy_from_slice(&registers.gpr);
        cpu.regs[RIP] = registers.rip;
        for (which, segment) in self.segments.iter().enumerate() {
            let base = cpu.seg_base[which];
            if cpu.seg[which] != *segment || base != segment.base {
                cpu.set_segment(which, *segment);
            }
        }
        if cpu.cpl != 3 {
            cpu.set_cpl(3);
        }
        cpu.set_rflags(registers.rflags);
        cpu.set_segment_base(index::FS, FS_BASE);
        cpu.set_segment_base(index::GS, GS_BASE);
        // The header and MXCSR_MASK stay the interpreter's own.
        let (image, area) = (&case.state.xsave.0, &mut cpu.vectors.bytes);
        area[..MXCSR_MASK.start].copy_from_slice(&image[..MXCSR_MASK.start]);
        area[X87_REGISTERS..XMM_REGISTERS + 256]
            .copy_from_slice(&image[X87_REGISTERS..XMM_REGISTERS + 256]);
        area[YMM_HIGH..].copy_from_slice(&image[YMM_HIGH..]);
    }

    /// Makes `text`, cut off where the window ends, all that the code window holds.
    fn write_code(&mut self, rip: u64, text: [u8; TEXT_LEN]) {
        let new = (rip, text);
        if self.written == new {
            return;
        }
        let old = self.written.0;
        for (address, text) in [(old, [BREAKPOINT; TEXT_LEN]), new] {
            let offset = address - CODE_BASE;
            let length = text.len().min((CODE_LEN - offset) as usize);
            let ram = &self.cpu.board.ram;
            ram.write(guest::CODE_FRAMES + offset, &text[..length])
                .expect("inside RAM");
        }
        self.written = new;
    }

    fn save(&self, case: &Case) -> State {
        let cpu: &Cpu = &self.cpu;
        let mut registers = Registers {
            rip: cpu.regs[RIP],
            rflags: cpu.rflags(),
            fs_base: cpu.seg_base[index::FS],
            gs_base: cpu.seg_base[index::GS],
            ..Registers::default()
        };
        registers.gpr.copy_from_slice(&cpu.regs[..16]);
        for (selector, segment) in registers.selectors.iter_mut().zip(&cpu.seg) {
            *selector = segment.selector;
        }
        if case.mode == Mode::Compatibility {
            clear_invisible(&mut registers);
        }
        normalise_null_selectors(&mut registers.selectors);
        let mut xsave = Xsave(cpu.vectors.bytes);
        xsave.normalise();
        State { registers, xsave }
    }

    /// INT3, INTO and INT1 are delivered by the interpreter itself: takes the frame off the kernel's
    /// stack and reports what it says.
    fn undo_delivery(&mut self, state: &mut State) -> End {
        let mut frame = [0; 40];
        let bottom = guest::STACK_TOP_FRAME - frame.len() as u64;
        self.cpu
            .board
            .ram
            .read(bottom, &mut frame)
            .expect("inside RAM");
        let word = |index: usize| {
            frame[index * 8..index * 8 + 8]
                .iter()
                .rev()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let vector = (self.cpu.regs[RIP] - guest::HANDLERS) as u8;
        let registers = &mut state.registers;
        registers.rip = word(0);
        registers.selectors[1] = word(1) as u16;
        registers.rflags = word(2) & !FLAG_RESUME;
        registers.gpr[4] = word(3);
        registers.selectors[2] = word(4) as u16;
        End::Exception {
            vector,
            error: 0,
            address: 0,
        }
    }
}

impl<C: DerefMut<Target = Cpu>> Subject for Runner<C> {
    fn run_one(&mut self, case: &Case) -> Outcome {
        self.write_code(case.state.registers.rip, text(case));
        self.load(case);
        let mut stop = StopReason::None;
        // A long repeated string instruction may come back between iterations, a block after a branch.
        while let Some(number) = case.instruction_at(self.cpu.regs[RIP]) {
            stop = (self.step)(&mut self.cpu, case.starts.count() - number);
            if stop != StopReason::None || self.cpu.cpl != 3 {
                break;
            }
        }
        let mut state = self.save(case);
        let end = match stop {
            StopReason::None if self.cpu.cpl != 3 => self.undo_delivery(&mut state),
            StopReason::None => End::Completed,
            StopReason::Exception(exception) => {
                state.registers.rflags &= !FLAG_RESUME;
                End::Exception {
                    vector: exception.vector,
                    error: exception.error.unwrap_or(0),
                    address: if exception.vector == 14 {
                        exception.address
                    } else {
                        0
                    },
                }
            }
            _ => End::Escaped,
        };
        Outcome { end, state }
    }

    fn has_exact_flags(&self) -> bool {
        self.exact_flags
    }

    fn data(&mut self) -> &mut [u8] {
        // SAFETY: the data window's frames are one contiguous piece of guest RAM, which is never
        // unmapped, and nothing runs in the guest while the slice lives.
        unsafe { core::slice::from_raw_parts_mut(self.data, DATA_LEN as usize) }
    }
}
