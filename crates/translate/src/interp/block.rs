//! Blocks of decoded instructions, found by guest-physical address.
//!
//! A block is straight-line code within one page. It is keyed by where its bytes are in guest-physical
//! memory, so every mapping of a page shares its blocks, and it remembers the page's generation, so a
//! store to the page by anyone makes it stale. The table is direct-mapped: a newcomer replaces what was
//! in its slot, which bounds the memory.

use std::sync::atomic::{AtomicU32, Ordering};

use super::lower::{self, MAX_LENGTH};
use super::op::Op;
use crate::cpu::exception::Exec;
use crate::cpu::segment::index;
use crate::cpu::{CodeMode, Cpu, event};

/// Blocks kept per vCPU.
const SLOTS: usize = 1 << 15;
/// Instructions in one block: bounds the time between looks at interrupts.
const MAX_OPS: usize = 48;
/// Instructions in all blocks: bounds what hostile code can make a vCPU keep, at about 140 bytes each.
const MAX_HELD: usize = 1 << 19;
/// No key: keys have a mode in their top bits that no mode has.
const NO_KEY: u64 = u64::MAX;

/// The page a block's last instruction runs over into.
struct Tail {
    gpa: u64,
    generation: u32,
}

/// Straight-line decoded code.
pub(crate) struct Block {
    key: u64,
    generation: u32,
    /// Bytes of code.
    length: u64,
    tail: Option<Tail>,
    ops: Vec<Op>,
}

/// Decoded blocks of one vCPU.
pub struct BlockCache {
    slots: Vec<Block>,
    /// Instructions in them.
    held: usize,
    /// Blocks decoded so far.
    pub decoded: u64,
}

impl Default for BlockCache {
    fn default() -> Self {
        let empty = || Block {
            key: NO_KEY,
            generation: 0,
            length: 0,
            tail: None,
            ops: Vec::new(),
        };
        Self {
            slots: (0..SLOTS).map(|_| empty()).collect(),
            held: 0,
            decoded: 0,
        }
    }
}

impl BlockCache {
    /// Forgets everything decoded.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            decoded: self.decoded,
            ..Self::default()
        };
    }
}

/// The instructions of a block, first and one past the last. Valid until the next block is found.
pub(crate) type Span = (*const Op, *const Op);

impl Cpu {
    /// The linear address of the next instruction.
    #[inline(always)]
    pub(crate) fn code_address(&self) -> u64 {
        if self.mode == CodeMode::Bits64 {
            self.rip()
        } else {
            self.seg_base[index::CS].wrapping_add(self.rip()) & 0xffff_ffff
        }
    }

    /// Finds or decodes the block at RIP.
    ///
    /// # Errors
    /// Faults of the instruction fetch.
    #[inline(always)]
    pub(crate) fn find_block(&mut self) -> Exec<Span> {
        let gva = self.code_address();
        let entry = *self.tlb.code(self.cpl == 3, gva);
        if entry.tag == self.tlb.tag(gva) && self.code_is_unlimited() {
            let key = block_key(entry.gpa | gva & 0xfff, self.mode);
            let block = &self.blocks.slots[slot_of(key)];
            // SAFETY: code entries point into RAM's generation table.
            let generation = unsafe { &*entry.generation }.load(Ordering::Acquire);
            if block.key == key && block.generation == generation && block.tail.is_none() {
                let ops = block.ops.as_ptr_range();
                return Ok((ops.start, ops.end));
            }
        }
        self.find_block_slow(gva)
    }

    /// No instruction can run past the code segment's limit.
    #[inline(always)]
    fn code_is_unlimited(&self) -> bool {
        self.mode == CodeMode::Bits64 || self.seg[index::CS].limit == u32::MAX
    }

    #[cold]
    #[inline(never)]
    fn find_block_slow(&mut self, gva: u64) -> Exec<Span> {
        let left = if self.code_is_unlimited() {
            u64::MAX
        } else {
            (u64::from(self.seg[index::CS].limit) + 1).saturating_sub(self.rip())
        };
        if left == 0 {
            return self.gp(0);
        }
        let mut entry = *self.tlb.code(self.cpl == 3, gva);
        if entry.tag != self.tlb.tag(gva) {
            entry = self.translate_code(gva)?;
        }
        let gpa = entry.gpa | gva & 0xfff;
        let key = block_key(gpa, self.mode);
        let generation = generation_of(entry.generation);
        let cached = &self.blocks.slots[slot_of(key)];
        let fresh = cached.key == key && cached.generation == generation && cached.length <= left;
        if fresh && self.tail_is_current(slot_of(key), gva)? {
            let ops = self.blocks.slots[slot_of(key)].ops.as_ptr_range();
            return Ok((ops.start, ops.end));
        }
        let span = self.decode_block(gva, gpa, key, left)?;
        // A block is cut at the limit, so only its first instruction can be over it.
        if self.blocks.slots[slot_of(key)].length > left {
            return self.gp(0);
        }
        Ok(span)
    }

    /// Whether the second page of a block that has one is still the page it was decoded from.
    fn tail_is_current(&mut self, slot: usize, gva: u64) -> Exec<bool> {
        let Some(Tail { gpa, generation }) = self.blocks.slots[slot].tail else {
            return Ok(true);
        };
        let entry = self.translate_code((gva | 0xfff).wrapping_add(1))?;
        Ok(entry.gpa == gpa && generation_of(entry.generation) == generation)
    }

    /// Decodes at most `left` bytes, but at least one instruction.
    fn decode_block(&mut self, gva: u64, gpa: u64, key: u64, left: u64) -> Exec<Span> {
        let mut bytes = [0; MAX_OPS * MAX_LENGTH];
        let in_page = (4096 - (gva & 0xfff) as usize).min(bytes.len());
        let generation = self.fetch_code(gpa, &mut bytes[..in_page])?;
        let mut ops = Vec::with_capacity(8);
        let mut at = 0;
        while ops.len() < MAX_OPS && at < in_page {
            let ip = self.rip().wrapping_add(at as u64);
            let Some((op, ends)) = lower::decode(self, &bytes[at..in_page], ip) else {
                break;
            };
            if at > 0 && (at + usize::from(op.len)) as u64 > left {
                break;
            }
            at += usize::from(op.len);
            ops.push(op);
            if ends {
                break;
            }
        }
        let mut tail = None;
        if ops.is_empty() {
            // The first instruction needs more bytes than the page has, or is no instruction at all.
            let mut length = in_page.min(MAX_LENGTH);
            if in_page < MAX_LENGTH {
                let next = self.translate_code((gva | 0xfff).wrapping_add(1))?;
                tail = Some(Tail {
                    gpa: next.gpa,
                    generation: self.fetch_code(next.gpa, &mut bytes[in_page..MAX_LENGTH])?,
                });
                length = MAX_LENGTH;
            }
            let ip = self.rip();
            let op = match lower::decode(self, &bytes[..length], ip) {
                Some((op, _)) => op,
                None => lower::invalid(),
            };
            at = usize::from(op.len);
            ops.push(op);
        }
        ops.shrink_to_fit();
        self.blocks.decoded += 1;
        let slot = &mut self.blocks.slots[slot_of(key)];
        self.blocks.held = self.blocks.held - slot.ops.len() + ops.len();
        if self.blocks.held > MAX_HELD {
            self.events |= event::DROP_CODE;
        }
        *slot = Block {
            key,
            generation,
            length: at as u64,
            tail,
            ops,
        };
        let ops = slot.ops.as_ptr_range();
        Ok((ops.start, ops.end))
    }

    /// Reads bytes of one page to be decoded, and gives the generation of the page that they are at
    /// least as new as. The page is watched from before they are read.
    pub(crate) fn fetch_code(&mut self, gpa: u64, out: &mut [u8]) -> Exec<u32> {
        let ram = &self.board.ram;
        let generation = ram.watch_code(gpa);
        // SAFETY: null, or the tables of this vCPU.
        if let (Some(fast), Some(page)) = (unsafe { self.fast.as_mut() }, ram.page(gpa)) {
            fast.forget_stores(page.hva as u64);
        }
        match generation.and_then(|generation| ram.read(gpa, out).map(|()| generation)) {
            Ok(generation) => Ok(generation),
            Err(error) => self.fail(error.to_string()),
        }
    }
}

fn generation_of(generation: *const AtomicU32) -> u32 {
    // SAFETY: code entries point into RAM's generation table, which outlives the vCPU.
    unsafe { &*generation }.load(Ordering::Acquire)
}

fn block_key(gpa: u64, mode: CodeMode) -> u64 {
    gpa | (mode as u64) << 60
}

fn slot_of(key: u64) -> usize {
    // Fibonacci hashing: neighbouring addresses spread over the table.
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SLOTS
}
