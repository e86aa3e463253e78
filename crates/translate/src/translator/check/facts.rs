//! What has to be known about an instruction to check it.

use iced_x86::{Instruction, Mnemonic, OpKind, RflagsBits};

use super::super::classify::{Class, FlagUse};
use super::super::mode::Mode;
use super::super::source::Decoding;
use crate::cpu::Cpu;
use crate::cpu::flags;
use crate::interp::lower::decoder_options;

/// Slots of the cache of facts.
const SLOTS: usize = 1 << 14;
/// Bytes of the longest instruction.
const LONGEST: usize = 15;

/// How an instruction bears on where a stretch ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Translated code does not run it.
    #[default]
    Unchecked,
    Plain,
    /// Leads backwards if it leads to its own address or below.
    Direct,
    Indirect,
}

/// About one instruction. The masks are of RFLAGS, whose arithmetic flags are in the low 16 bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Fact {
    pub(super) kind: Kind,
    /// It uses vector or x87 registers.
    pub(super) vector: bool,
    /// Flags it needs.
    pub(super) reads: u16,
    /// Flags it may change.
    pub(super) writes: u16,
    /// Flags it changes whatever its operands are.
    pub(super) kills: u16,
    /// Flags whose values after it are up to the processor.
    pub(super) undefined: u16,
}

impl Fact {
    fn of(ins: &Instruction, class: Class) -> Self {
        let kind = match class {
            Class::Interpret { .. } => Kind::Unchecked,
            Class::Jump | Class::JumpIf | Class::Call => Kind::Direct,
            Class::JumpIndirect | Class::CallIndirect | Class::Return => Kind::Indirect,
            _ => Kind::Plain,
        };
        Self {
            kind,
            vector: matches!(class, Class::Vector | Class::X87),
            reads: to_rflags(ins.rflags_read()),
            writes: to_rflags(ins.rflags_modified()),
            kills: to_rflags(FlagUse::of(ins, class).kills),
            undefined: undefined_flags(ins),
        }
    }
}

/// Flags that processors differ in (Intel SDM vol. 2, at each instruction). A count in CL is not
/// known here, so it is taken for one that leaves them undefined.
fn undefined_flags(ins: &Instruction) -> u16 {
    let narrow = match ins.op0_kind() {
        OpKind::Register => ins.op0_register().size() < 4,
        _ => ins.memory_size().size() < 4,
    };
    let more = match ins.mnemonic() {
        // Shifted by more than the operand's width.
        Mnemonic::Shl | Mnemonic::Sal | Mnemonic::Shr if narrow => flags::CF,
        Mnemonic::Shld | Mnemonic::Shrd if narrow => flags::ARITHMETIC,
        _ => 0,
    };
    to_rflags(ins.rflags_undefined()) | more as u16
}

/// Why the result of an instruction may be another on the host than in the interpreter.
pub(super) fn excuse(ins: &Instruction) -> Option<&'static str> {
    match ins.mnemonic() {
        Mnemonic::Shld | Mnemonic::Shrd if ins.op1_register().size() == 2 => {
            Some("a double shift of 16 bits by more than the width gives anything")
        }
        Mnemonic::Bsf | Mnemonic::Bsr if ins.op0_register().size() < 8 => {
            Some("the upper half of the destination, if no bit is set, is up to the processor")
        }
        _ => None,
    }
}

fn to_rflags(bits: u32) -> u16 {
    [
        (RflagsBits::CF, flags::CF),
        (RflagsBits::PF, flags::PF),
        (RflagsBits::AF, flags::AF),
        (RflagsBits::ZF, flags::ZF),
        (RflagsBits::SF, flags::SF),
        (RflagsBits::OF, flags::OF),
    ]
    .iter()
    .filter(|(bit, _)| bits & bit != 0)
    .fold(0, |mask, (_, flag)| mask | *flag as u16)
}

/// An instruction that was looked at before.
#[derive(Clone, Copy, Default)]
struct Known {
    rip: u64,
    /// Its bytes, and zeros behind them.
    bytes: u128,
    /// Ones where `bytes` has bytes of it; 0 if the slot is empty.
    mask: u128,
    /// The mode when this was found out.
    mode: Option<Mode>,
    fact: Fact,
}

/// Facts by guest address, good as long as the bytes there are the same.
pub(super) struct Facts {
    slots: Vec<Known>,
    /// The page that code was last read from, and where it is in this process.
    page: (u64, *const u8),
}

/// No page of code.
const NO_PAGE: (u64, *const u8) = (u64::MAX, std::ptr::null());

impl Default for Facts {
    fn default() -> Self {
        Self {
            slots: vec![Known::default(); SLOTS],
            page: NO_PAGE,
        }
    }
}

// SAFETY: the pointer is into guest RAM, which belongs to no thread.
unsafe impl Send for Facts {}

impl Facts {
    /// To be called when what is mapped where may be another.
    pub(super) fn forget_page(&mut self) {
        self.page = NO_PAGE;
    }
}

impl Cpu {
    /// The facts about the instruction at RIP; `None` if it cannot be fetched from one page.
    #[inline]
    pub(super) fn fact(&mut self) -> Option<Fact> {
        let rip = self.rip();
        let code = self.code_at(rip)?;
        let check = self.checks();
        let slot = (rip.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 50) as usize % SLOTS;
        let known = &check.facts.slots[slot];
        let same = known.rip == rip && known.mask != 0 && known.mode == check.mode;
        if same && code & known.mask == known.bytes {
            return Some(known.fact);
        }
        self.find_fact(slot, rip)
    }

    #[cold]
    fn find_fact(&mut self, slot: usize, rip: u64) -> Option<Fact> {
        let (bytes, length) = self.code_bytes(rip)?;
        let (ins, class) = self.decode_for_check(&bytes[..length], rip)?;
        let mask = (1 << (8 * ins.len())) - 1;
        let fact = Fact::of(&ins, class);
        let mode = self.checks().mode;
        self.checks().facts.slots[slot] = Known {
            rip,
            bytes: u128::from_le_bytes(bytes) & mask,
            mask,
            mode,
            fact,
        };
        Some(fact)
    }

    /// The instruction that `bytes` at `rip` are, decoded as for translation.
    pub(super) fn decode_for_check(
        &mut self,
        bytes: &[u8],
        rip: u64,
    ) -> Option<(Instruction, Class)> {
        let host = self.features.host;
        let mode = self.checks().mode;
        let how = Decoding {
            options: decoder_options(&host),
            features: &host,
            vectors: mode.is_some_and(Mode::vectors),
            x87: mode.is_some_and(Mode::x87),
        };
        how.decode(bytes, rip, 0)
    }

    /// Where the page of code at `rip` is in this process.
    #[inline]
    fn code_host_page(&mut self, rip: u64) -> Option<*const u8> {
        let (page, host) = self.checks().facts.page;
        if page == rip & !0xfff {
            return Some(host);
        }
        let (gpa, _) = self.code_page(rip)?;
        let host = self.board.ram.page(gpa)?.hva;
        self.checks().facts.page = (rip & !0xfff, host);
        Some(host)
    }

    /// The code at `rip` as far as it is in one page, with zeros behind.
    #[inline]
    fn code_at(&mut self, rip: u64) -> Option<u128> {
        let offset = (rip & 0xfff) as usize;
        if offset > 4096 - 16 {
            return self
                .code_bytes(rip)
                .map(|(bytes, _)| u128::from_le_bytes(bytes));
        }
        let host = self.code_host_page(rip)?;
        // SAFETY: the bytes are in a page of RAM, which is never unmapped.
        Some(unsafe { host.add(offset).cast::<u128>().read_unaligned() })
    }

    /// The same as bytes, and how many they are: the longest instruction's, if the page has them.
    pub(super) fn code_bytes(&mut self, rip: u64) -> Option<([u8; 16], usize)> {
        let host = self.code_host_page(rip)?;
        let offset = (rip & 0xfff) as usize;
        let length = LONGEST.min(4096 - offset);
        let mut bytes = [0; 16];
        // SAFETY: as in `code_at`.
        unsafe { std::ptr::copy_nonoverlapping(host.add(offset), bytes.as_mut_ptr(), length) };
        Some((bytes, length))
    }
}
