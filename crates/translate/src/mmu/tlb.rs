//! The software TLB.
//!
//! A data entry answers three questions with one compare each: may this page be read, may it be
//! written, where is it in this process. Entries are tagged with an *address-space number* in the
//! bits below the page number, so that a flush is a new number, not a sweep. There is one table per
//! kind of access, so that an entry never has to be checked against the privilege level:
//!
//! * kernel accesses under SMAP, kernel accesses with SMAP lifted (EFLAGS.AC), user accesses;
//! * and one table that is never filled, for the times when every access needs the slow path
//!   (alignment checks, data breakpoints).

use std::sync::atomic::{AtomicU8, AtomicU32};

use crate::cpu::{Cpu, cr, flags};

/// Entries per data table.
const DATA_ENTRIES: usize = 4096;
/// Entries per code table.
const CODE_ENTRIES: usize = 512;
/// Page tables remembered.
const DIRECTORIES: usize = 64;
/// Address-space numbers before everything is swept once.
const ASIDS: u64 = 0xffe;
/// A tag no address has: its low bits are no address-space number.
const NO_TAG: u64 = u64::MAX;

/// Which data table an access uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Table {
    /// CPL 0 to 2 with SMAP in force (or implicit supervisor accesses).
    Kernel = 0,
    /// CPL 0 to 2 with user pages allowed.
    KernelToUser = 1,
    /// CPL 3.
    User = 2,
    /// Never filled.
    Slow = 3,
}

/// One page for loads and stores.
#[derive(Clone, Copy)]
pub(crate) struct DataEntry {
    pub(crate) read: u64,
    pub(crate) write: u64,
    /// Host address minus guest-virtual address.
    pub(crate) addend: u64,
    pub(crate) watch: *const AtomicU8,
    /// The same in every address space.
    pub(crate) global: bool,
}

/// One page for instruction fetch.
#[derive(Clone, Copy)]
pub(crate) struct CodeEntry {
    pub(crate) tag: u64,
    pub(crate) gpa: u64,
    pub(crate) generation: *const AtomicU32,
    /// The same in every address space.
    pub(crate) global: bool,
}

const EMPTY_DATA: DataEntry = DataEntry {
    read: NO_TAG,
    write: NO_TAG,
    addend: 0,
    watch: std::ptr::null(),
    global: false,
};
const EMPTY_CODE: CodeEntry = CodeEntry {
    tag: NO_TAG,
    gpa: 0,
    generation: std::ptr::null(),
    global: false,
};

/// Where the page table of a 2 MiB region is: a paging-structure cache (Intel SDM vol. 3, 4.10.3).
#[derive(Clone, Copy)]
pub(crate) struct Directory {
    tag: u64,
    /// Guest-physical address of the page table.
    pub(crate) table: u64,
    /// R/W and U/S as combined down to it.
    pub(crate) rights: u64,
    /// NX likewise.
    pub(crate) forbid: u64,
}

const NO_DIRECTORY: Directory = Directory {
    tag: NO_TAG,
    table: 0,
    rights: 0,
    forbid: 0,
};

/// What a guest asked to be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidate {
    /// One page in every address space (INVLPG; more than the architecture asks).
    Page(u64),
    /// One process-context identifier.
    Pcid(u16),
    /// Everything.
    All,
}

/// TLB of one vCPU.
pub struct Tlb {
    data: Box<[[DataEntry; DATA_ENTRIES]; 4]>,
    code: Box<[[CodeEntry; CODE_ENTRIES]; 2]>,
    /// The address-space number in every tag made now.
    pub(crate) asid: u64,
    /// The table that plain data accesses use now.
    pub(crate) table: Table,
    next_asid: u64,
    /// Address-space number of each PCID; 0 is none.
    pcid_asid: Box<[u16; 4096]>,
    /// Span of pages cached from large mappings: INVLPG anywhere in it forgets everything, since one
    /// large page is cached as many small ones.
    large: Option<(u64, u64)>,
    directories: [Directory; DIRECTORIES],
    fills: u64,
    flushes: u64,
}

impl Default for Tlb {
    fn default() -> Self {
        let filled = |n: usize| vec![EMPTY_DATA; n].into_boxed_slice();
        let data: Box<[DataEntry]> = filled(DATA_ENTRIES * 4);
        let code = vec![EMPTY_CODE; CODE_ENTRIES * 2].into_boxed_slice();
        // SAFETY: `[T; N * 4]` and `[[T; N]; 4]` have the same layout, and the lengths match.
        let (data, code) = unsafe {
            (
                Box::from_raw(Box::into_raw(data).cast::<[[DataEntry; DATA_ENTRIES]; 4]>()),
                Box::from_raw(Box::into_raw(code).cast::<[[CodeEntry; CODE_ENTRIES]; 2]>()),
            )
        };
        Self {
            data,
            code,
            asid: 1,
            table: Table::Kernel,
            next_asid: 2,
            pcid_asid: Box::new([0; 4096]),
            large: None,
            directories: [NO_DIRECTORY; DIRECTORIES],
            fills: 0,
            flushes: 0,
        }
    }
}

impl Tlb {
    /// The tag of the page of `gva` in the current address space.
    #[inline(always)]
    pub(crate) fn tag(&self, gva: u64) -> u64 {
        gva & !0xfff | self.asid
    }

    /// Entries filled so far.
    pub fn fills(&self) -> u64 {
        self.fills
    }

    /// Flushes so far.
    pub fn flushes(&self) -> u64 {
        self.flushes
    }

    /// The slot for `gva` in a data table.
    #[inline(always)]
    pub(crate) fn data(&self, table: Table, gva: u64) -> &DataEntry {
        &self.data[table as usize][(gva >> 12) as usize % DATA_ENTRIES]
    }

    /// The slot for `gva` in the code table of ring 3 (`user`) or of the others.
    #[inline(always)]
    pub(crate) fn code(&self, user: bool, gva: u64) -> &CodeEntry {
        &self.code[usize::from(user)][(gva >> 12) as usize % CODE_ENTRIES]
    }

    pub(crate) fn fill_data(&mut self, table: Table, gva: u64, entry: DataEntry, large: bool) {
        self.note_fill(gva, large);
        self.data[table as usize][(gva >> 12) as usize % DATA_ENTRIES] = entry;
    }

    pub(crate) fn fill_code(&mut self, user: bool, gva: u64, entry: CodeEntry, large: bool) {
        self.note_fill(gva, large);
        self.code[usize::from(user)][(gva >> 12) as usize % CODE_ENTRIES] = entry;
    }

    /// The page table that maps `gva` in the current address space, if it is remembered.
    #[inline]
    pub(crate) fn directory(&self, gva: u64) -> Option<&Directory> {
        let directory = &self.directories[(gva >> 21) as usize % DIRECTORIES];
        (directory.tag == self.directory_tag(gva)).then_some(directory)
    }

    /// Remembers the page table that maps `gva`.
    pub(crate) fn fill_directory(&mut self, gva: u64, table: u64, rights: u64, forbid: u64) {
        self.directories[(gva >> 21) as usize % DIRECTORIES] = Directory {
            tag: self.directory_tag(gva),
            table,
            rights,
            forbid,
        };
    }

    /// Forgets one page for loads and stores in the current address space.
    pub(crate) fn forget_data(&mut self, gva: u64) {
        for table in self.data.iter_mut() {
            table[(gva >> 12) as usize % DATA_ENTRIES] = EMPTY_DATA;
        }
    }

    /// Forgets the page table that maps `gva`.
    pub(crate) fn forget_directory(&mut self, gva: u64) {
        self.directories[(gva >> 21) as usize % DIRECTORIES] = NO_DIRECTORY;
    }

    fn directory_tag(&self, gva: u64) -> u64 {
        gva & !0x1f_ffff | self.asid
    }

    fn note_fill(&mut self, gva: u64, large: bool) {
        self.fills += 1;
        if large {
            let (low, high) = self.large.unwrap_or((gva, gva));
            self.large = Some((low.min(gva & !0x3fff_ffff), high.max(gva | 0x3fff_ffff)));
        }
    }

    /// Forgets translations, and says how many; `pcid` is the current one.
    pub(crate) fn invalidate(&mut self, what: Invalidate, pcid: u16) -> Invalidate {
        match what {
            Invalidate::Page(gva) => {
                if self
                    .large
                    .is_some_and(|(low, high)| (low..=high).contains(&gva))
                {
                    return self.invalidate(Invalidate::All, pcid);
                }
                // INVLPG forgets every cached path (4.10.4.1).
                self.directories = [NO_DIRECTORY; DIRECTORIES];
                for table in self.data.iter_mut() {
                    table[(gva >> 12) as usize % DATA_ENTRIES] = EMPTY_DATA;
                }
                for table in self.code.iter_mut() {
                    table[(gva >> 12) as usize % CODE_ENTRIES] = EMPTY_CODE;
                }
            }
            Invalidate::Pcid(other) => {
                self.flushes += 1;
                self.pcid_asid[usize::from(other)] = 0;
                self.switch_to(pcid);
            }
            Invalidate::All => {
                self.flushes += 1;
                self.pcid_asid.fill(0);
                self.switch_to(pcid);
                // A new number for all: what is cached cannot be reached any more. The large span
                // starts anew with the new entries.
                self.large = None;
            }
        }
        what
    }

    /// Makes `pcid` the current address space, with what is still cached of it.
    pub(crate) fn switch_to(&mut self, pcid: u16) {
        let mut asid = u64::from(self.pcid_asid[usize::from(pcid)]);
        if asid == 0 {
            if self.next_asid > ASIDS {
                self.data
                    .iter_mut()
                    .for_each(|table| table.fill(EMPTY_DATA));
                self.code
                    .iter_mut()
                    .for_each(|table| table.fill(EMPTY_CODE));
                self.pcid_asid.fill(0);
                // `large` stays: translated code still has global pages.
                self.directories = [NO_DIRECTORY; DIRECTORIES];
                self.next_asid = 1;
            }
            asid = self.next_asid;
            self.next_asid += 1;
            self.pcid_asid[usize::from(pcid)] = asid as u16;
        }
        self.asid = asid;
    }
}

impl Cpu {
    /// Chooses the data table after CPL, EFLAGS.AC, CR0.AM, CR4.SMAP or DR7 changed.
    pub fn select_tlb(&mut self) {
        let ac = self.system_flags & flags::AC != 0;
        let alignment = self.cpl == 3 && ac && self.cr0 & cr::CR0_AM != 0;
        self.tlb.table = if alignment || self.data_breakpoints_armed() {
            Table::Slow
        } else {
            self.plain_table()
        };
    }

    /// The table by privilege alone.
    pub(crate) fn plain_table(&self) -> Table {
        if self.cpl == 3 {
            Table::User
        } else if self.system_flags & flags::AC != 0 || self.cr4 & cr::CR4_SMAP == 0 {
            Table::KernelToUser
        } else {
            Table::Kernel
        }
    }

    /// The current process-context identifier.
    pub(crate) fn pcid(&self) -> u16 {
        if self.cr4 & cr::CR4_PCIDE != 0 {
            (self.cr3 & 0xfff) as u16
        } else {
            0
        }
    }

    /// Forgets translations, and what the decoder derived from them.
    pub fn invalidate(&mut self, what: Invalidate) {
        let pcid = self.pcid();
        let done = self.tlb.invalidate(what, pcid);
        if let Some(fast) = self.fast_tables() {
            match done {
                Invalidate::Page(gva) => fast.forget_page(gva),
                Invalidate::Pcid(_) => fast.switch_space(),
                Invalidate::All => fast.forget_all(),
            }
        }
    }

    /// Makes `pcid` the current address space, with what is still cached of it.
    pub(crate) fn switch_address_space(&mut self, pcid: u16) {
        self.tlb.switch_to(pcid);
        if let Some(fast) = self.fast_tables() {
            fast.switch_space();
        }
    }
}
