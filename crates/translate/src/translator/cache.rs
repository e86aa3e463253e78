//! The code cache of one vCPU: blocks, where they are, how they are linked, and how they go.
//!
//! A block is keyed by its guest-virtual and guest-physical address and by the mode it was
//! translated for. It is dropped when code it was made from is stored to, or when its segment of the
//! cache is needed again: segments are filled in turn, and the oldest is emptied. Only the vCPU's own
//! thread touches its cache, so nobody ever waits for anybody.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use iced_x86::Encoder;

use super::code_memory::CodeMemory;
use super::emit::{Emitter, NUMBER_BITS, Product, Rest};
use super::fast::Fast;
use super::hints::HintPool;
use super::host::{Asm, Target};
use super::mode::Mode;
use super::source::Source;
use super::stubs::{self, Stubs};
use crate::interp::op::Op;

/// Bytes of the code cache. The host gives pages only as they are used.
const CACHE_BYTES: u32 = 32 << 20;
/// Bytes kept for the stubs.
const STUB_BYTES: u32 = 16 << 10;
/// Segments the rest is divided into.
const SEGMENTS: u32 = 8;
const SEGMENT_BYTES: u32 = (CACHE_BYTES - STUB_BYTES) / SEGMENTS;
/// Page views remembered; a view that was forgotten only costs a new link.
const MAX_VIEWS: usize = 1 << 16;

/// Which code a block is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key {
    pub(super) rip: u64,
    pub(super) gpa: u64,
    pub(super) mode: Mode,
}

/// A call site as the dispatcher sees it.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) rip: u64,
    pub(super) next: u64,
    pub(super) retry: u32,
    /// 0: the block does not go on.
    pub(super) after: u32,
    pub(super) size: u8,
    pub(super) align: u8,
    pub(super) undo: i32,
    /// Offset from the vCPU of its hint; 0 if it has none.
    pub(super) hint: i32,
    pub(super) store: bool,
    pub(super) rest: Rest,
    /// Its block uses the host's x87 registers.
    pub(super) x87: bool,
    /// Number of the decoded instruction in its block, if it is there to be interpreted.
    pub(super) op: Option<u16>,
}

#[derive(Clone, Copy)]
pub(super) struct Exit {
    pub(super) target: u64,
    jump: u32,
    unlinked: u32,
    view: Option<(u32, bool)>,
    live: bool,
    links: bool,
    linked: Option<u32>,
}

/// One translated block.
pub(super) struct Block {
    pub(super) key: Key,
    /// Offsets in its guest page that it was made from.
    ranges: Vec<(u16, u16)>,
    start: u32,
    length: u32,
    saved_entry: u32,
    live_entry: u32,
    sites: Vec<Site>,
    exits: Vec<Exit>,
    /// Exits of other blocks that lead here.
    incoming: Vec<(u32, u16)>,
    view: u32,
    segment: u32,
    hints: Vec<u32>,
    /// Decoded instructions for the interpreter.
    ops: Vec<Op>,
}

/// Multiplies and folds: keys are addresses, which no guest can choose to much effect on a host that
/// only it would slow down.
#[derive(Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

type AddressMap<K, V> = HashMap<K, V, BuildHasherDefault<AddressHasher>>;

/// What the cache has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CacheCounts {
    /// Blocks translated.
    pub blocks: u64,
    /// Guest bytes translated.
    pub guest_bytes: u64,
    /// Host bytes they became.
    pub host_bytes: u64,
    /// Nanoseconds spent on it.
    pub nanoseconds: u64,
    /// Blocks dropped because their code was stored to.
    pub stale: u64,
    /// Blocks dropped to make room.
    pub evicted: u64,
    /// Exits linked to blocks.
    pub links: u64,
}

/// See the module text.
pub(super) struct CodeCache {
    memory: CodeMemory,
    pub(super) stubs: Stubs,
    asm: Asm,
    encoder: Encoder,
    blocks: Vec<Option<Box<Block>>>,
    free: Vec<u32>,
    by_key: AddressMap<Key, u32>,
    by_page: AddressMap<u64, Vec<u32>>,
    views: AddressMap<(u64, u64, bool), u32>,
    next_view: u32,
    segments: Vec<Vec<u32>>,
    segment: u32,
    /// Offset of the first free byte of the current segment.
    top: u32,
    pub(super) hints: HintPool,
    /// No other vCPU stores to RAM: see [`Fast::forget_stores`].
    pub(super) sole: bool,
    pub(super) counts: CacheCounts,
}

impl CodeCache {
    pub(super) fn new(sole: bool) -> io::Result<Self> {
        let mut memory = CodeMemory::new(CACHE_BYTES as usize)?;
        let mut asm = Asm::default();
        let stubs = stubs::assemble(&mut asm, 0);
        assert!(
            asm.len() <= STUB_BYTES as usize,
            "the stubs fit in their place"
        );
        let (hot, _) = asm.finish(0);
        memory.write(0, hot);
        Ok(Self {
            memory,
            stubs,
            asm,
            encoder: Encoder::new(64),
            blocks: Vec::new(),
            free: Vec::new(),
            by_key: AddressMap::default(),
            by_page: AddressMap::default(),
            views: AddressMap::default(),
            next_view: 1,
            segments: vec![Vec::new(); SEGMENTS as usize],
            segment: 0,
            top: STUB_BYTES,
            hints: HintPool::default(),
            sole,
            counts: CacheCounts::default(),
        })
    }

    /// Host address of an offset in the cache.
    pub(super) fn address(&self, offset: u32) -> u64 {
        self.memory.address(offset)
    }

    /// The block of `key`, if it is there.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    pub(super) fn block(&self, number: u32) -> &Block {
        self.blocks[number as usize]
            .as_deref()
            .expect("a number that is in use names a block")
    }

    fn block_mut(&mut self, number: u32) -> &mut Block {
        self.blocks[number as usize]
            .as_deref_mut()
            .expect("a number that is in use names a block")
    }

    /// The checked entry of a block: for RCX = its address and saved flags.
    pub(super) fn checked_entry(&self, number: u32) -> u64 {
        self.address(self.block(number).start)
    }

    /// Blocks in the cache.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// A site from the number its code pushed.
    pub(super) fn site(&self, number: u64) -> Site {
        let (block, index) = split(number);
        self.block(block).sites[index]
    }

    /// The instructions of block `number` that are there to be interpreted: site and address.
    pub(super) fn interpreted(&self, number: u32) -> Vec<(usize, u64)> {
        let sites = self.block(number).sites.iter().enumerate();
        sites
            .filter(|(_, site)| site.op.is_some())
            .map(|(index, site)| (index, site.rip))
            .collect()
    }

    /// Keeps the decoded instruction of a site.
    pub(super) fn keep_op(&mut self, number: u32, site: usize, op: Op) {
        let block = self.block_mut(number);
        block.sites[site].op = Some(block.ops.len() as u16);
        block.ops.push(op);
    }

    /// The decoded instruction of a site, if it is kept.
    pub(super) fn op(&self, number: u64) -> Option<*const Op> {
        let block = self.block(split(number).0);
        let op = block.sites[split(number).1].op?;
        block.ops.get(usize::from(op)).map(|op| &raw const *op)
    }

    /// The guest address an exit leads to.
    pub(super) fn exit_target(&self, number: u64) -> u64 {
        let (block, index) = split(number);
        self.block(block).exits[index].target
    }

    /// The mode of the block an exit belongs to.
    pub(super) fn exit_mode(&self, number: u64) -> Mode {
        self.block(split(number).0).key.mode
    }

    /// The entry of a block for saved flags.
    pub(super) fn entry(&self, number: u32) -> u64 {
        self.address(self.block(number).saved_entry)
    }

    /// The number of the view `page` → `gpa`.
    pub(super) fn view(&mut self, page: u64, gpa: u64, user: bool) -> u32 {
        if self.views.len() >= MAX_VIEWS {
            self.views.clear();
        }
        let next = &mut self.next_view;
        *self.views.entry((page, gpa, user)).or_insert_with(|| {
            *next += 1;
            *next
        })
    }

    /// The view a block belongs to.
    pub(super) fn view_of(&self, number: u32) -> u32 {
        self.block(number).view
    }

    /// Translates `source`, which lies at `key`. Room is made by dropping the oldest blocks.
    pub(super) fn translate(&mut self, fast: &mut Fast, key: Key, source: &Source) -> u32 {
        if let Some(old) = self.find(&key) {
            self.drop_block(fast, old);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.blocks.push(None);
            (self.blocks.len() - 1) as u32
        });
        let emitter = Emitter::new(
            &mut self.asm,
            &mut self.encoder,
            &self.stubs,
            &mut self.hints,
            key.mode.table(),
            number,
            !self.sole,
        );
        let product = emitter.block(source);
        let length = self.asm.len() as u32;
        let start = self.allocate(fast, length);
        let view = self.view(key.rip & !0xfff, key.gpa & !0xfff, key.mode.user());
        for &hint in &product.hints {
            fast.new_hint(hint as usize);
        }
        let block = self.place(key, source, product, start, view);
        let (hot, cold) = self.asm.finish(start);
        self.memory.write(start, hot);
        self.memory.write(start + hot.len() as u32, cold);
        self.counts.blocks += 1;
        self.counts.guest_bytes += source.end().wrapping_sub(source.rip);
        self.counts.host_bytes += u64::from(length);
        self.blocks[number as usize] = Some(Box::new(block));
        self.by_key.insert(key, number);
        self.by_page
            .entry(key.gpa & !0xfff)
            .or_default()
            .push(number);
        self.segments[self.segment as usize].push(number);
        number
    }

    fn place(&self, key: Key, source: &Source, product: Product, start: u32, view: u32) -> Block {
        let at = |target: Target| self.asm.place(start, target);
        let x87 = source.uses_x87();
        Block {
            key,
            ranges: source.ranges.clone(),
            start,
            length: self.asm.len() as u32,
            saved_entry: at(product.saved_entry.expect("every block has entries")),
            live_entry: at(product.live_entry.expect("every block has entries")),
            sites: product
                .sites
                .iter()
                .map(|site| Site {
                    rip: site.rip,
                    next: site.next,
                    retry: at(site.retry),
                    after: site.after.map_or(0, at),
                    size: site.size,
                    align: site.align,
                    undo: site.undo,
                    hint: site.hint,
                    store: site.store,
                    rest: site.rest,
                    x87,
                    op: site.interprets.then_some(u16::MAX),
                })
                .collect(),
            exits: product
                .exits
                .iter()
                .map(|exit| Exit {
                    target: exit.target,
                    jump: at(exit.jump),
                    unlinked: at(exit.unlinked),
                    view: exit.view.map(|(place, negative)| (at(place), negative)),
                    live: exit.live,
                    links: exit.links,
                    linked: None,
                })
                .collect(),
            incoming: Vec::new(),
            view,
            segment: self.segment,
            hints: product.hints,
            ops: Vec::new(),
        }
    }

    /// Finds room, emptying the next segment if this one is full.
    fn allocate(&mut self, fast: &mut Fast, length: u32) -> u32 {
        let end = STUB_BYTES + (self.segment + 1) * SEGMENT_BYTES;
        let start = self.top.next_multiple_of(16);
        if start + length <= end {
            self.top = start + length;
            return start;
        }
        assert!(length <= SEGMENT_BYTES, "no block is as large as a segment");
        self.segment = (self.segment + 1) % SEGMENTS;
        for number in std::mem::take(&mut self.segments[self.segment as usize]) {
            let here = self.blocks[number as usize]
                .as_ref()
                .is_some_and(|block| block.segment == self.segment);
            if here {
                self.counts.evicted += 1;
                self.drop_block(fast, number);
            }
        }
        self.top = STUB_BYTES + self.segment * SEGMENT_BYTES;
        self.allocate(fast, length)
    }

    /// Patches an exit so that it goes to block `to` by itself.
    pub(super) fn link(&mut self, number: u64, to: u32) {
        let (from, index) = split(number);
        let target = self.block(to);
        let (saved, live, view) = (target.saved_entry, target.live_entry, target.view);
        let same_page = self.block(from).key.gpa & !0xfff == target.key.gpa & !0xfff;
        let exit = &mut self.block_mut(from).exits[index];
        // An exit within its page is taken without a look at what is mapped there.
        let unchecked_elsewhere = exit.view.is_none() && !same_page;
        if exit.linked == Some(to) || !exit.links || unchecked_elsewhere {
            return;
        }
        let before = exit.linked.replace(to);
        let exit = *exit;
        if let Some(before) = before {
            let gone = (from, index as u16);
            self.block_mut(before).incoming.retain(|&link| link != gone);
        }
        self.block_mut(to).incoming.push((from, index as u16));
        if let Some((place, negative)) = exit.view {
            let compared = if negative {
                (view as i32).wrapping_neg()
            } else {
                view as i32
            };
            self.memory.write(place, &compared.to_le_bytes());
        }
        self.patch(exit.jump, if exit.live { live } else { saved });
        self.counts.links += 1;
    }

    fn patch(&mut self, displacement: u32, target: u32) {
        let distance = target.wrapping_sub(displacement + 4);
        self.memory.write(displacement, &distance.to_le_bytes());
    }

    fn unlink(&mut self, (from, index): (u32, u16)) {
        let exit = &mut self.block_mut(from).exits[usize::from(index)];
        exit.linked = None;
        let (jump, unlinked) = (exit.jump, exit.unlinked);
        self.patch(jump, unlinked);
    }

    /// Drops a block: nothing leads to it any more.
    fn drop_block(&mut self, fast: &mut Fast, number: u32) {
        for link in std::mem::take(&mut self.block_mut(number).incoming) {
            self.unlink(link);
        }
        let block = self.blocks[number as usize]
            .take()
            .expect("a number that is in use names a block");
        for (index, exit) in block.exits.iter().enumerate() {
            let gone = (number, index as u16);
            // A block that leads to itself is gone already.
            if let Some(to) = exit.linked.and_then(|to| self.blocks[to as usize].as_mut()) {
                to.incoming.retain(|&link| link != gone);
            }
        }
        for &hint in &block.hints {
            fast.empty_hint(hint as usize);
        }
        self.hints.give_back(&block.hints);
        fast.forget_branch(block.key.mode.table(), block.key.rip);
        self.by_key.remove(&block.key);
        if let Some(page) = self.by_page.get_mut(&(block.key.gpa & !0xfff)) {
            page.retain(|&other| other != number);
            if page.is_empty() {
                self.by_page.remove(&(block.key.gpa & !0xfff));
            }
        }
        self.free.push(number);
    }

    /// Drops the blocks made from `length` bytes at `gpa`.
    pub(super) fn drop_stale(&mut self, fast: &mut Fast, gpa: u64, length: u64) {
        let end = gpa.saturating_add(length.max(1));
        let mut page = gpa & !0xfff;
        while page < end {
            let low = gpa.saturating_sub(page).min(4096);
            let high = (end - page).min(4096);
            let numbers = self.by_page.get(&page).cloned().unwrap_or_default();
            for number in numbers {
                let hit = self
                    .block(number)
                    .ranges
                    .iter()
                    .any(|&(from, to)| u64::from(from) < high && low < u64::from(to));
                if hit {
                    self.counts.stale += 1;
                    self.drop_block(fast, number);
                }
            }
            page += 4096;
        }
    }

    /// Drops every block.
    pub(super) fn clear(&mut self, fast: &mut Fast) {
        let numbers: Vec<u32> = self.by_key.values().copied().collect();
        for number in numbers {
            self.counts.stale += 1;
            self.drop_block(fast, number);
        }
    }

    /// Where a block's host code starts, and its length in bytes.
    pub(super) fn host_code(&self, number: u32) -> (u64, u64) {
        let block = self.block(number);
        (self.address(block.start), u64::from(block.length))
    }

    /// The guest address of the block that a site or exit belongs to, if it still exists.
    pub(super) fn block_rip(&self, number: u64) -> Option<u64> {
        let block = self.blocks.get(split(number).0 as usize)?;
        block.as_ref().map(|block| block.key.rip)
    }
}

/// Block and index of a site's or exit's number.
fn split(number: u64) -> (u32, usize) {
    let number = number as u32;
    (
        number >> NUMBER_BITS,
        (number & ((1 << NUMBER_BITS) - 1)) as usize,
    )
}
