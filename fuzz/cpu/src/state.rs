//! The user-visible state of a CPU, one case, and what running it came to.

use crate::layout::{FS_BASE, GS_BASE, USER_CS_32, USER_CS_64};

/// Bytes of an XSAVE image in the standard format with x87, SSE and AVX (SDM vol. 1, 13.4).
pub const XSAVE_LEN: usize = 832;

/// Offset of the high halves of the YMM registers in the image (fixed by every CPU so far; the
/// host's CPUID leaf 0Dh is checked against it at start).
pub const YMM_HIGH: usize = 576;
/// Offset of ST0 in the image.
pub const X87_REGISTERS: usize = 32;
/// Offset of XMM0 in the image.
pub const XMM_REGISTERS: usize = 160;
/// Offset of MXCSR in the image.
pub const MXCSR: usize = 24;
const XSTATE_BV: usize = 512;

/// Selectors in the order of [`Registers::selectors`].
pub const SELECTOR_NAMES: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];

/// General registers, flags, segment selectors and bases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Registers {
    /// In hardware order: rax rcx rdx rbx rsp rbp rsi rdi r8 … r15.
    pub gpr: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// FS base.
    pub fs_base: u64,
    /// GS base.
    pub gs_base: u64,
    /// es, cs, ss, ds, fs, gs.
    pub selectors: [u16; 6],
}

/// An XSAVE image of x87, SSE and AVX state in the standard format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Xsave(pub [u8; XSAVE_LEN]);

impl Default for Xsave {
    fn default() -> Self {
        Self::initial()
    }
}

impl Xsave {
    /// The state after FNINIT with MXCSR at its reset value, all three components present.
    pub fn initial() -> Self {
        let mut image = Self([0; XSAVE_LEN]);
        image.0[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
        image.0[MXCSR..MXCSR + 4].copy_from_slice(&0x1f80_u32.to_le_bytes());
        image.0[XSTATE_BV] = 7;
        image
    }

    /// Brings an image that a CPU saved into the one form in which images are compared: components
    /// in their initial state are written out, and the fields nobody promises are zero: the x87
    /// opcode and last instruction and data pointers (SDM vol. 1, 8.1.8 leaves them to the model),
    /// MXCSR_MASK, reserved bytes and the header.
    pub fn normalise(&mut self) {
        let present = self.0[XSTATE_BV];
        if present & 1 == 0 {
            self.0[0..24].fill(0);
            self.0[0..2].copy_from_slice(&0x37f_u16.to_le_bytes());
            self.0[X87_REGISTERS..XMM_REGISTERS].fill(0);
        }
        if present & 2 == 0 {
            self.0[XMM_REGISTERS..XMM_REGISTERS + 256].fill(0);
        }
        if present & 4 == 0 {
            self.0[YMM_HIGH..].fill(0);
        }
        self.0[5..24].fill(0);
        self.0[28..32].fill(0);
        for register in 0..8 {
            let end = X87_REGISTERS + register * 16 + 16;
            self.0[end - 6..end].fill(0);
        }
        self.0[416..YMM_HIGH].fill(0);
        self.0[XSTATE_BV] = 7;
    }
}

/// General and vector state together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// General registers, flags, segments.
    pub registers: Registers,
    /// x87, SSE, AVX.
    pub xsave: Xsave,
}

/// The two ways ring-3 code runs in long mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// CS.L = 1.
    Long,
    /// CS.L = 0, CS.D = 1.
    Compatibility,
}

impl Mode {
    /// The bitness iced-x86 calls it by.
    pub fn bitness(self) -> u32 {
        match self {
            Self::Long => 64,
            Self::Compatibility => 32,
        }
    }

    /// The code selector of the mode.
    pub fn code_selector(self) -> u16 {
        match self {
            Self::Long => USER_CS_64,
            Self::Compatibility => USER_CS_32,
        }
    }
}

/// Bytes written into the data window before a case.
#[derive(Clone, Copy, Debug)]
pub struct Poke {
    /// Offset into the data window.
    pub offset: usize,
    /// How many of `bytes` count.
    pub length: usize,
    /// The bytes.
    pub bytes: [u8; 64],
}

/// Most instructions of a case.
pub const INSTRUCTIONS_MAX: usize = 8;

/// Where the instructions of a case begin, as offsets into its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    count: u8,
    offsets: [u8; INSTRUCTIONS_MAX],
}

impl Starts {
    /// One instruction and nothing else.
    pub const SINGLE: Self = Self {
        count: 1,
        offsets: [0; INSTRUCTIONS_MAX],
    };

    /// Adds the instruction at `offset`, which lies behind those added before.
    pub fn push(&mut self, offset: usize) {
        self.offsets[usize::from(self.count)] = offset as u8;
        self.count += 1;
    }

    /// How many instructions there are.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The number of the instruction that begins at `offset`.
    pub fn find(&self, offset: u64) -> Option<usize> {
        let offsets = &self.offsets[..self.count()];
        offsets.iter().position(|start| u64::from(*start) == offset)
    }
}

/// An instruction or a block of them with everything it starts from.
#[derive(Clone, Debug)]
pub struct Case {
    /// Number of the case; with the seed it determines everything else.
    pub index: u64,
    /// Mode it runs in.
    pub mode: Mode,
    /// The instructions, and nothing after them.
    pub bytes: Vec<u8>,
    /// Where in `bytes` each instruction begins.
    pub starts: Starts,
    /// The state before. `rip` is where `bytes` lie.
    pub state: State,
    /// What the data window holds apart from the background of the epoch.
    pub pokes: Vec<Poke>,
}

impl Case {
    /// The address after the last instruction.
    pub fn next_rip(&self) -> u64 {
        self.state.registers.rip + self.bytes.len() as u64
    }

    /// The number of the instruction that begins at `rip`, if one does.
    pub fn instruction_at(&self, rip: u64) -> Option<usize> {
        self.starts.find(rip.wrapping_sub(self.state.registers.rip))
    }
}

/// Registers every case starts from before values are chosen.
pub fn base_registers(mode: Mode) -> Registers {
    use crate::layout::{FS_SELECTOR_32, GS_SELECTOR_32, USER_DS};
    let selectors = match mode {
        Mode::Long => [0, USER_CS_64, USER_DS, 0, 0, 0],
        Mode::Compatibility => [
            USER_DS,
            USER_CS_32,
            USER_DS,
            USER_DS,
            FS_SELECTOR_32,
            GS_SELECTOR_32,
        ],
    };
    Registers {
        fs_base: FS_BASE,
        gs_base: GS_BASE,
        selectors,
        rflags: 0x202,
        ..Default::default()
    }
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every instruction on the way completed; `registers.rip` is the next instruction's address.
    Completed,
    /// An exception; `registers.rip` is what the handler would see pushed.
    Exception {
        /// Vector number.
        vector: u8,
        /// Error code, 0 where the vector has none.
        error: u32,
        /// CR2 for #PF, 0 otherwise.
        address: u64,
    },
    /// It reached the host's kernel as a system call, or left the interpreter in another way that
    /// no ring-3 instruction of the model can.
    Escaped,
}

impl End {
    /// The exception's vector.
    pub fn vector(&self) -> Option<u8> {
        match self {
            Self::Exception { vector, .. } => Some(*vector),
            _ => None,
        }
    }
}

/// End and state of a case. Memory stays in the runner's data window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The state after, `xsave` in normal form.
    pub state: State,
}
