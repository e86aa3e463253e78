//! The tables that translated code looks things up in by itself: the fast software TLB, the branch
//! table and the page views.
//!
//! All are caches over slower tables that know address spaces. They know none: what another address
//! space may see differently is wiped when the address space changes, slot by slot from a log of
//! what was filled.

use super::hints::{HINTS, Hint, STACK_HINTS};
use super::native;
use crate::cpu::Cpu;
use crate::mmu::tlb::Table;

/// Entries of a TLB table.
pub(super) const TLB_ENTRIES: usize = 1 << 14;
/// Entries of a branch table.
pub(super) const BRANCH_ENTRIES: usize = 1 << 14;
/// Slots of page views.
pub(super) const VIEW_SLOTS: usize = 1024;
/// Privilege tables: [`Table::Kernel`], [`Table::KernelToUser`], [`Table::User`].
pub(super) const TABLES: usize = 3;
/// Words of a set of pages.
const STORED_WORDS: usize = 1024;
/// Hints remembered one by one.
pub(super) const HINT_LOG: usize = 4096;
/// Slots remembered one by one; with more, a wipe sweeps the whole table.
const LOG: usize = 2048;

/// One page for loads and stores of translated code.
///
/// The tags are page addresses: an address *xor* its page's tag is the offset in the page, and a
/// wrong tag leaves something far larger, so one compare checks the page and the page's end.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) read: u64,
    pub(super) write: u64,
    /// Host address of the page.
    pub(super) host: u64,
    /// Address of the page's watch byte.
    pub(super) watch: u64,
}

/// See the module text. Lies right behind its `Cpu`.
#[repr(C)]
pub struct Fast {
    pub(super) tlb: [[Entry; TLB_ENTRIES]; TABLES],
    /// Host addresses of blocks' checked entries, by the low bits of the guest address.
    pub(super) branch: [[u64; BRANCH_ENTRIES]; TABLES],
    /// The guest addresses of the same, for the dispatcher.
    pub(super) branch_rip: [[u64; BRANCH_ENTRIES]; TABLES],
    /// Which view of a page is mapped now, kernel and user, by low bits of the page number; 0: unknown.
    pub(super) view: [[u32; VIEW_SLOTS]; 2],
    /// The page each place in translated code used last.
    pub(super) hint: [Hint; HINTS],
    /// Per privilege table: hints filled since the last wipe, as offsets from the vCPU, and how many;
    /// with more than there is room for, all are wiped.
    pub(super) hint_log: [[u32; HINT_LOG]; TABLES],
    pub(super) hint_log_length: [u32; TABLES],
    /// Hints from here on were never used.
    hints_used: usize,
    /// TLB slots that some hint was filled from.
    pub(super) hinted: [[u8; TLB_ENTRIES]; TABLES],
    /// Hosts pages that some entry allows stores to, by the low bits of their number.
    stored: [u64; STORED_WORDS],
    /// What an empty hint refers to: a page that is not canonical, chosen at random, so that no
    /// program computes an address in it, and memory that it may touch if one does.
    void_tag: u64,
    void_watch: u64,
    void: [u8; 4096],
    /// Where a branch goes that is not in the table.
    miss: u64,
    /// The machine has no other vCPU.
    pub(super) sole: bool,
    /// Pages that are the same in every address space, and the others.
    global_log: [Log; TABLES],
    local_log: [Log; TABLES],
    branch_log: [Log; TABLES],
    /// Kernel code was run from a page that is not global.
    kernel_code_is_local: bool,
}

/// Slots filled since the last wipe.
struct Log {
    slots: [u16; LOG],
    length: usize,
}

impl Log {
    fn push(&mut self, slot: usize) {
        if self.length < LOG {
            self.slots[self.length] = slot as u16;
        }
        self.length += 1;
    }

    /// Puts `empty` into every slot in the log, or into all if there are more than it holds.
    fn wipe<T>(&mut self, slots: &mut [T], empty: impl Fn(usize) -> T) {
        if self.length > LOG {
            for (slot, place) in slots.iter_mut().enumerate() {
                *place = empty(slot);
            }
        } else {
            for &slot in &self.slots[..self.length] {
                slots[usize::from(slot)] = empty(usize::from(slot));
            }
        }
        self.length = 0;
    }
}

/// A tag that no address of this slot matches: an address of the slot differs from it in the bits
/// that make the slot number.
const fn no_tag(slot: usize) -> u64 {
    if slot == TLB_ENTRIES - 1 { 0 } else { u64::MAX }
}

const fn empty(slot: usize) -> Entry {
    Entry {
        read: no_tag(slot),
        write: no_tag(slot),
        host: 0,
        watch: 0,
    }
}

/// The TLB slot of an address.
pub(super) fn tlb_slot(gva: u64) -> usize {
    (gva >> 12) as usize % TLB_ENTRIES
}

fn branch_slot(rip: u64) -> usize {
    rip as usize % BRANCH_ENTRIES
}

/// Where a host page is in the set of pages stored to.
fn stored_bit(host: u64) -> (usize, u64) {
    let page = host >> 12;
    ((page >> 6) as usize % STORED_WORDS, 1 << (page & 63))
}

/// The number of a hint from its offset from the vCPU.
fn hint_number(offset: u32) -> usize {
    (offset as usize - native::fast(Fast::hint_offset(0)) as usize) / size_of::<Hint>()
}

fn view_slot(page: u64) -> usize {
    (page >> 12) as usize % VIEW_SLOTS
}

impl Cpu {
    /// The tables of this vCPU, if translated code uses some.
    pub(crate) fn fast_tables(&mut self) -> Option<&mut Fast> {
        // SAFETY: null, or set by `VcpuMemory` to tables that nothing else refers to.
        unsafe { self.fast.as_mut() }
    }
}

impl Fast {
    /// Makes zeroed memory empty tables.
    pub(super) fn init(&mut self) {
        for table in &mut self.tlb {
            for (slot, entry) in table.iter_mut().enumerate() {
                *entry = empty(slot);
            }
        }
        let mut random = [0; 8];
        // SAFETY: the buffer is as long as is said. Without randomness the page is a fixed one.
        unsafe { libc::getrandom(random.as_mut_ptr().cast(), random.len(), 0) };
        // Bits 63 and 62 differ: not canonical.
        self.void_tag = 1 << 62 | u64::from_le_bytes(random) >> 2 & !0xfff;
        for number in 0..STACK_HINTS {
            self.new_hint(number as usize);
        }
    }

    /// Makes a hint ready for use.
    pub(super) fn new_hint(&mut self, number: usize) {
        self.hints_used = self.hints_used.max(number + 1);
        self.empty_hint(number);
        self.hint[number].restart();
    }

    /// Makes a hint refer to nothing.
    pub(super) fn empty_hint(&mut self, number: usize) {
        let (tag, host) = (self.void_tag, self.void.as_ptr() as u64);
        let watch = &raw const self.void_watch as u64;
        let hint = &mut self.hint[number];
        (hint.tag, hint.host, hint.watch) = (tag, host, watch);
    }

    /// Offset from the vCPU of a hint.
    pub(super) fn hint_offset(number: u32) -> usize {
        std::mem::offset_of!(Fast, hint) + number as usize * size_of::<Hint>()
    }

    /// The hint at an offset from the vCPU.
    pub(super) fn hint_at(&mut self, offset: i32) -> &mut Hint {
        &mut self.hint[hint_number(offset as u32)]
    }

    fn wipe_hints(&mut self, table: usize) {
        let length = std::mem::take(&mut self.hint_log_length[table]) as usize;
        if length >= HINT_LOG {
            for number in 0..self.hints_used {
                self.empty_hint(number);
            }
        } else {
            for n in 0..length {
                let number = hint_number(self.hint_log[table][n]);
                self.empty_hint(number);
            }
        }
        self.hinted[table].fill(0);
    }

    /// Wipes the hints that lead to one page.
    fn wipe_page_hints(&mut self, table: usize, page: u64) {
        if self.hinted[table][tlb_slot(page)] == 0 {
            return;
        }
        let length = self.hint_log_length[table] as usize;
        if length >= HINT_LOG {
            return self.wipe_hints(table);
        }
        for n in 0..length {
            let number = hint_number(self.hint_log[table][n]);
            if self.hint[number].tag == page {
                self.empty_hint(number);
            }
        }
    }

    /// Sets where missing branches go, and whether this is the machine's only vCPU; called once,
    /// before anything is filled.
    pub(super) fn prepare(&mut self, miss: u64, sole: bool) {
        self.miss = miss;
        self.sole = sole;
        for table in &mut self.branch {
            table.fill(miss);
        }
    }

    /// A page for translated code; `global` if it is the same in every address space.
    pub(super) fn fill(&mut self, table: Table, gva: u64, entry: Entry, global: bool) {
        let (table, slot) = (table as usize, tlb_slot(gva));
        self.tlb[table][slot] = entry;
        if self.sole {
            let (word, bit) = stored_bit(entry.host);
            self.stored[word] |= bit;
        }
        if global {
            self.global_log[table].push(slot);
        } else {
            self.local_log[table].push(slot);
        }
    }

    /// A block to branch to. `global` as in `fill`.
    pub(super) fn fill_branch(&mut self, table: Table, rip: u64, host: u64, global: bool) {
        let (table, slot) = (table as usize, branch_slot(rip));
        self.branch[table][slot] = host;
        self.branch_rip[table][slot] = rip;
        self.branch_log[table].push(slot);
        self.kernel_code_is_local |= table != Table::User as usize && !global;
    }

    /// The block at `rip`, if the branch table has it.
    pub(super) fn branch(&self, table: Table, rip: u64) -> Option<u64> {
        let (table, slot) = (table as usize, branch_slot(rip));
        let known = self.branch_rip[table][slot] == rip && self.branch[table][slot] != self.miss;
        known.then_some(self.branch[table][slot])
    }

    /// Forgets one block.
    pub(super) fn forget_branch(&mut self, table: Table, rip: u64) {
        let (table, slot) = (table as usize, branch_slot(rip));
        if self.branch_rip[table][slot] == rip {
            self.branch[table][slot] = self.miss;
        }
    }

    /// Which view of the page at `page` is mapped.
    pub(super) fn set_view(&mut self, user: bool, page: u64, view: u32) {
        self.view[usize::from(user)][view_slot(page)] = view;
    }

    /// Offset of a page's view slot in `Fast`.
    pub(super) fn view_offset(user: bool, page: u64) -> usize {
        std::mem::offset_of!(Fast, view)
            + (usize::from(user) * VIEW_SLOTS + view_slot(page)) * size_of::<u32>()
    }

    /// Offset of a privilege table's first TLB entry in `Fast`.
    pub(super) fn tlb_offset(table: Table) -> usize {
        std::mem::offset_of!(Fast, tlb) + table as usize * TLB_ENTRIES * size_of::<Entry>()
    }

    /// Offset of a privilege table's first branch slot in `Fast`.
    pub(super) fn branch_offset(table: Table) -> usize {
        std::mem::offset_of!(Fast, branch) + table as usize * BRANCH_ENTRIES * size_of::<u64>()
    }

    /// Another address space became current, or the current one lost what is not global.
    pub(crate) fn switch_space(&mut self) {
        for table in 0..TABLES {
            // Kernel code has no hints to local pages unless there were some to fill from.
            if table != Table::Kernel as usize || self.local_log[table].length != 0 {
                self.wipe_hints(table);
            }
            self.local_log[table].wipe(&mut self.tlb[table], empty);
        }
        self.wipe_branches(Table::User);
        self.view[1].fill(0);
        if self.kernel_code_is_local {
            self.clear_code();
        }
    }

    /// Forgets one page (INVLPG).
    pub(crate) fn forget_page(&mut self, gva: u64) {
        self.forget_data(gva);
        let view = view_slot(gva);
        if self.view[0][view] | self.view[1][view] != 0 {
            self.clear_code();
        }
    }

    /// Forgets one page for loads and stores.
    pub(crate) fn forget_data(&mut self, gva: u64) {
        let slot = tlb_slot(gva);
        for table in 0..TABLES {
            self.tlb[table][slot] = empty(slot);
            self.wipe_page_hints(table, gva & !0xfff);
        }
    }

    /// Forgets every mapping, global ones too.
    pub(crate) fn forget_all(&mut self) {
        for table in 0..TABLES {
            self.local_log[table].wipe(&mut self.tlb[table], empty);
            self.global_log[table].wipe(&mut self.tlb[table], empty);
            self.wipe_hints(table);
        }
        self.clear_code();
    }

    /// The page at `host` is being decoded from now on. On a machine of one vCPU stores do not look
    /// whether they go to code: instead no page of code is in the tables for stores.
    pub(crate) fn forget_stores(&mut self, host: u64) {
        let (word, bit) = stored_bit(host);
        if self.stored[word] & bit == 0 {
            return;
        }
        self.stored.fill(0);
        for table in 0..TABLES {
            self.local_log[table].wipe(&mut self.tlb[table], empty);
            self.global_log[table].wipe(&mut self.tlb[table], empty);
            self.wipe_hints(table);
        }
    }

    /// Forgets where code is.
    pub(super) fn clear_code(&mut self) {
        for table in [Table::Kernel, Table::KernelToUser, Table::User] {
            self.wipe_branches(table);
        }
        self.view[0].fill(0);
        self.view[1].fill(0);
        self.kernel_code_is_local = false;
    }

    fn wipe_branches(&mut self, table: Table) {
        let miss = self.miss;
        let slots = &mut self.branch[table as usize];
        self.branch_log[table as usize].wipe(slots, |_| miss);
    }
}
