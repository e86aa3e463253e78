//! The guest code of one block: straight-line instructions within a page, with the flags that are
//! live behind each.
//!
//! A block goes on behind a conditional jump that is not taken. It ends at any other transfer, at
//! the page's end, and at instructions after which the machine may be another one.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::classify::{ARITHMETIC, Class, FlagUse, classify};
use crate::hostexec::FeatureSet;

/// Instructions in a block.
const MAX_INSTRUCTIONS: usize = 48;
/// Conditional jumps in a block.
const MAX_SIDE_EXITS: usize = 6;
/// Instructions looked at behind an exit to see whether it needs the flags.
const LOOKAHEAD: usize = 6;
/// Bytes in a page.
const PAGE: u64 = 4096;

/// One guest instruction.
pub(super) struct Guest {
    pub(super) ins: Instruction,
    pub(super) class: Class,
    pub(super) flags: FlagUse,
    /// Arithmetic flags that are read behind it before they are overwritten.
    pub(super) live_after: u32,
    /// For a conditional jump: the same where it leads.
    pub(super) live_taken: u32,
}

/// A block before it is translated.
pub(super) struct Source {
    pub(super) rip: u64,
    pub(super) instructions: Vec<Guest>,
    /// Offsets in the page that were read: the instructions, then what was looked ahead at.
    pub(super) ranges: Vec<(u16, u16)>,
    /// Flags it needs when it is entered.
    pub(super) live_in: u32,
}

/// How code is decoded.
#[derive(Clone, Copy)]
pub(super) struct Decoding<'a> {
    pub(super) options: u32,
    pub(super) features: &'a FeatureSet,
    pub(super) vectors: bool,
    pub(super) x87: bool,
}

impl Decoding<'_> {
    /// The instruction at `offset` of a page that is mapped at `page`; `None` if it runs over the
    /// page's end.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        page: u64,
        offset: usize,
    ) -> Option<(Instruction, Class)> {
        let ip = page.wrapping_add(offset as u64);
        let mut decoder = Decoder::with_ip(64, &bytes[offset..], ip, self.options);
        let ins = decoder.decode();
        if ins.is_invalid() {
            // Cut short or no instruction at all: the interpreter finds out.
            return None;
        }
        // 90 with REX.B is XCHG R8, RAX, which the decoder calls PAUSE behind F3.
        let ins = if ins.mnemonic() == iced_x86::Mnemonic::Pause {
            let options = self.options | DecoderOptions::NO_PAUSE;
            let again = Decoder::with_ip(64, &bytes[offset..], ip, options).decode();
            if again.mnemonic() == iced_x86::Mnemonic::Xchg {
                again
            } else {
                ins
            }
        } else {
            ins
        };
        Some((ins, classify(&ins, self.features, self.vectors, self.x87)))
    }
}

/// Reads the block at `rip`. `bytes` is the whole page that holds it; at most `limit` instructions.
/// `None` if the first instruction cannot be translated by itself.
pub(super) fn read(bytes: &[u8], rip: u64, limit: usize, how: &Decoding) -> Option<Source> {
    let page = rip & !(PAGE - 1);
    let start = (rip & (PAGE - 1)) as usize;
    let mut at = start;
    let mut instructions = Vec::new();
    let mut side_exits = 0;
    while at < PAGE as usize && instructions.len() < limit.min(MAX_INSTRUCTIONS) {
        let Some((ins, class)) = how.decode(bytes, page, at) else {
            break;
        };
        at += ins.len();
        let flags = FlagUse::of(&ins, class);
        instructions.push(Guest {
            ins,
            class,
            flags,
            live_after: 0,
            live_taken: 0,
        });
        side_exits += usize::from(class == Class::JumpIf);
        if class.ends() || side_exits == MAX_SIDE_EXITS {
            break;
        }
    }
    if instructions.is_empty() {
        return None;
    }
    let mut source = Source {
        rip,
        instructions,
        ranges: vec![(start as u16, at as u16)],
        live_in: 0,
    };
    source.interpret_last_sti();
    let end = source.end().wrapping_sub(page) as u16;
    source.ranges[0].1 = end;
    source.find_live_flags(bytes, how);
    Some(source)
}

impl Source {
    /// Some instruction uses the host's x87 registers.
    pub(super) fn uses_x87(&self) -> bool {
        self.instructions.iter().any(|g| g.class == Class::X87)
    }

    /// The guest address behind the last instruction.
    pub(super) fn end(&self) -> u64 {
        self.instructions
            .last()
            .map_or(self.rip, |g| g.ins.next_ip())
    }

    /// STI holds interrupts off for one more instruction: where that is not one the block simply goes
    /// on behind, the interpreter takes both.
    fn interpret_last_sti(&mut self) {
        for n in 0..self.instructions.len() {
            let plain = self.instructions.get(n + 1).is_some_and(|next| {
                !next.class.ends()
                    && !matches!(
                        next.class,
                        Class::JumpIf | Class::SetInterrupts | Class::Interpret { .. }
                    )
            });
            if self.instructions[n].class == Class::SetInterrupts && !plain {
                self.instructions[n].class = Class::Interpret { ends: true };
                self.instructions[n].flags =
                    FlagUse::of(&self.instructions[n].ins, self.instructions[n].class);
                self.instructions.truncate(n + 1);
                return;
            }
        }
    }

    fn find_live_flags(&mut self, bytes: &[u8], how: &Decoding) {
        let last = self.instructions.last().expect("a block is not empty");
        let mut live = match last.class {
            Class::Jump => self.live_at(last.ins.near_branch_target(), bytes, how),
            class if class.ends() => ARITHMETIC,
            _ => self.live_at(self.end(), bytes, how),
        };
        for n in (0..self.instructions.len()).rev() {
            let taken = if self.instructions[n].class == Class::JumpIf {
                let target = self.instructions[n].ins.near_branch_target();
                self.live_at(target, bytes, how)
            } else {
                0
            };
            let guest = &mut self.instructions[n];
            guest.live_after = live;
            guest.live_taken = taken;
            live = (live | taken) & !guest.flags.kills | guest.flags.reads;
        }
        self.live_in = live;
    }

    /// The flags that code at `target` reads before it overwrites them; all, where that cannot be
    /// told within the page. What was looked at becomes part of what the block depends on.
    fn live_at(&mut self, target: u64, bytes: &[u8], how: &Decoding) -> u32 {
        let page = self.rip & !(PAGE - 1);
        if target & !(PAGE - 1) != page {
            return ARITHMETIC;
        }
        let start = (target - page) as usize;
        let (mut at, mut live, mut pending) = (start, 0, ARITHMETIC);
        for _ in 0..LOOKAHEAD {
            let next = (at < PAGE as usize)
                .then(|| how.decode(bytes, page, at))
                .flatten();
            let Some((ins, class)) = next else {
                break;
            };
            let flags = FlagUse::of(&ins, class);
            at += ins.len();
            live |= flags.reads & pending;
            pending &= !flags.kills;
            if pending & !live == 0 || class.ends() || class == Class::JumpIf {
                break;
            }
        }
        let range = (start as u16, at as u16);
        let known = |&(low, high): &(u16, u16)| low <= range.0 && range.1 <= high;
        if !self.ranges.iter().any(known) {
            self.ranges.push(range);
        }
        live | pending
    }
}
