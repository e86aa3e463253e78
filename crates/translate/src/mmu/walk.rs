//! The page walk (Intel SDM vol. 3, chapter 4): all modes, all permission bits, A and D.

use wardian_memory::PageRef;

use super::tlb::{CodeEntry, DataEntry, Table};
use crate::cpu::exception::{Exception, Exec, Stop, StopReason, vector};
use crate::cpu::int::Int;
use crate::cpu::{CodeMode, Cpu, cr};

const P: u64 = 1;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const NX: u64 = 1 << 63;

/// Page-fault error code bits (Intel SDM vol. 3, 4.7).
mod code {
    pub(super) const PRESENT: u32 = 1;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const USER: u32 = 1 << 2;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
}

/// Instead of an error code: an entry changed between its reading and the setting of A or D, so the
/// walk starts anew, as a processor's would. No error code has this bit.
const CHANGED: u32 = 1 << 31;

/// What an access wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Fetch,
}

/// What the page tables say about one page.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    gpa: u64,
    writable: bool,
    user: bool,
    no_execute: bool,
    dirty: bool,
    large: bool,
    /// The same in every address space.
    global: bool,
}

impl Mapping {
    /// From a leaf entry of 8 bytes that maps `1 << shift` bytes. `address` masks address bits,
    /// `rights` are R/W and U/S and `forbid` is NX, as combined along the walk.
    fn of_leaf(gva: u64, entry: u64, shift: u32, address: u64, rights: u64, forbid: u64) -> Self {
        let inside = (1 << shift) - 1;
        Self {
            gpa: entry & address & !inside | gva & inside & !0xfff,
            writable: rights & RW != 0,
            user: rights & US != 0,
            no_execute: forbid != 0,
            dirty: entry & D != 0,
            large: shift != 12,
            global: entry & G != 0,
        }
    }
}

/// A translated address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translated {
    pub(crate) gpa: u64,
    /// The page, if it is RAM.
    pub(crate) page: Option<PageRef>,
}

impl Cpu {
    /// Translates for a data access through `table`'s privileges and fills the TLB. `gva` is
    /// canonical or already cut to 32 bits.
    pub(crate) fn translate(&mut self, table: Table, gva: u64, intent: Intent) -> Exec<Translated> {
        let table = if table == Table::Slow {
            self.plain_table()
        } else {
            table
        };
        let mapping = self.walk(table, gva, intent)?;
        let gpa = mapping.gpa | gva & 0xfff;
        let page = self.board.ram.page(gpa);
        if let Some(page) = page {
            let tag = self.tlb.tag(gva);
            // A store must come through here once more to set D, unless D is set already.
            let may_write = mapping.dirty && self.write_allowed(table, &mapping);
            let entry = DataEntry {
                read: tag,
                write: if may_write { tag } else { u64::MAX },
                addend: (page.hva as u64).wrapping_sub(gva & !0xfff),
                watch: page.watch,
                global: mapping.global && self.cr4 & cr::CR4_PGE != 0,
            };
            self.tlb.fill_data(table, gva, entry, mapping.large);
        }
        Ok(Translated { gpa, page })
    }

    /// Translates for instruction fetch and fills the code TLB. Code outside RAM cannot be run.
    pub(crate) fn translate_code(&mut self, gva: u64) -> Exec<CodeEntry> {
        let user = self.cpl == 3;
        if self.mode == CodeMode::Bits64 && !canonical(gva) {
            return self.gp(0);
        }
        let table = if user { Table::User } else { Table::Kernel };
        let mapping = self.walk(table, gva, Intent::Fetch)?;
        let Some(page) = self.board.ram.page(mapping.gpa) else {
            return self.fail(format!(
                "the guest jumped to {gva:#x}, which is guest-physical {:#x}: not RAM",
                mapping.gpa
            ));
        };
        let entry = CodeEntry {
            tag: self.tlb.tag(gva),
            gpa: mapping.gpa,
            generation: page.generation,
            global: mapping.global && self.cr4 & cr::CR4_PGE != 0,
        };
        self.tlb.fill_code(user, gva, entry, mapping.large);
        Ok(entry)
    }

    fn walk(&mut self, table: Table, gva: u64, intent: Intent) -> Exec<Mapping> {
        if self.cr0 & cr::CR0_PG == 0 {
            return Ok(Mapping {
                gpa: gva & 0xffff_f000,
                writable: true,
                user: true,
                no_execute: false,
                dirty: true,
                large: false,
                global: false,
            });
        }
        loop {
            let walked = if self.long_mode() {
                self.walk_long(table, gva, intent)
            } else if self.cr4 & cr::CR4_PAE != 0 {
                self.walk_pae(table, gva, intent)
            } else {
                self.walk_32(table, gva, intent)
            };
            match walked {
                Err(CHANGED) => {}
                other => return other.map_err(|bits| self.page_fault(table, gva, intent, bits)),
            }
        }
    }

    fn page_fault(&mut self, table: Table, gva: u64, intent: Intent, bits: u32) -> Stop {
        // The fault forgets what is cached of the address (4.10.4.1): the handler may map another
        // page there without INVLPG.
        self.tlb.forget_data(gva);
        if let Some(fast) = self.fast_tables() {
            fast.forget_data(gva);
        }
        let nx_visible =
            self.efer & cr::EFER_NXE != 0 && (self.long_mode() || self.cr4 & cr::CR4_PAE != 0);
        let fetch_visible = nx_visible || self.cr4 & cr::CR4_SMEP != 0;
        let error = bits
            | if table == Table::User { code::USER } else { 0 }
            | match intent {
                Intent::Write => code::WRITE,
                Intent::Fetch if fetch_visible => code::FETCH,
                _ => 0,
            };
        self.stop = StopReason::Exception(Exception {
            vector: vector::PF,
            error: Some(error),
            address: gva,
            dr6: 0,
        });
        Stop
    }

    /// IA-32e paging: 4 levels, 4 KiB, 2 MiB and 1 GiB pages.
    fn walk_long(&mut self, table: Table, gva: u64, intent: Intent) -> Result<Mapping, u32> {
        let remembered = self.tlb.directory(gva).is_some();
        self.walk_levels(table, gva, intent).map_err(|bits| {
            if !remembered || bits == CHANGED {
                return bits;
            }
            // A fault forgets the cached path to the address (4.10.4.1), and software may rely on
            // it: rights that were raised need no INVLPG. What the tables say now decides.
            self.tlb.forget_directory(gva);
            CHANGED
        })
    }

    fn walk_levels(&mut self, table: Table, gva: u64, intent: Intent) -> Result<Mapping, u32> {
        let nx = self.efer & cr::EFER_NXE != 0;
        let address = self.features.physical_mask() & !0xfff;
        let reserved =
            0x000f_ffff_ffff_ffff & !self.features.physical_mask() | if nx { 0 } else { NX };
        let mut path = Path::new();
        let mut next = self.cr3 & address;
        let mut rights = RW | US;
        let mut forbid = 0;
        let mut levels: &[u32] = &[39, 30, 21, 12];
        if let Some(directory) = self.tlb.directory(gva) {
            (next, rights, forbid) = (directory.table, directory.rights, directory.forbid);
            levels = &[12];
        }
        let mut directory = (next, rights, forbid);
        for &shift in levels {
            let at = next | (gva >> shift & 0x1ff) << 3;
            let entry = self.load_entry::<u64>(at);
            if entry & P == 0 {
                return Err(0);
            }
            let mut bad = reserved;
            let leaf = shift == 12 || entry & PS != 0;
            if shift == 39 || shift == 30 && !self.features.pages_1g {
                bad |= PS;
            } else if leaf && shift != 12 {
                // Address bits inside the page; bit 12 is PAT there.
                bad |= ((1 << shift) - 1) & !0x1fff;
            }
            if entry & bad != 0 {
                return Err(code::RESERVED | code::PRESENT);
            }
            rights &= entry;
            forbid |= entry & NX;
            path.push(at, entry);
            if leaf {
                let mapping = Mapping::of_leaf(gva, entry, shift, address, rights, forbid);
                let mapping = self.finish::<u64>(table, mapping, intent, &path)?;
                if shift == 12 {
                    // The path above is accessed and present: it may be cached (4.10.3).
                    let (table, rights, forbid) = directory;
                    self.tlb.fill_directory(gva, table, rights, forbid);
                }
                return Ok(mapping);
            }
            next = entry & address;
            directory = (next, rights, forbid);
        }
        Err(code::RESERVED | code::PRESENT)
    }

    /// PAE paging: the top level was loaded with CR3.
    fn walk_pae(&mut self, table: Table, gva: u64, intent: Intent) -> Result<Mapping, u32> {
        let nx = self.efer & cr::EFER_NXE != 0;
        let address = self.features.physical_mask() & !0xfff;
        let reserved =
            0x7fff_ffff_ffff_ffff & !self.features.physical_mask() | if nx { 0 } else { NX };
        let pointer = self.pdptrs[(gva >> 30 & 3) as usize];
        if pointer & P == 0 {
            return Err(0);
        }
        let mut path = Path::new();
        let mut next = pointer & address;
        let mut rights = RW | US;
        let mut forbid = 0;
        for shift in [21, 12] {
            let at = next | (gva >> shift & 0x1ff) << 3;
            let entry = self.load_entry::<u64>(at);
            if entry & P == 0 {
                return Err(0);
            }
            let leaf = shift == 12 || entry & PS != 0;
            let inside = if leaf && shift == 21 { 0x1f_e000 } else { 0 };
            if entry & (reserved | inside) != 0 {
                return Err(code::RESERVED | code::PRESENT);
            }
            rights &= entry;
            forbid |= entry & NX;
            path.push(at, entry);
            if leaf {
                let mapping = Mapping::of_leaf(gva, entry, shift, address, rights, forbid);
                return self.finish::<u64>(table, mapping, intent, &path);
            }
            next = entry & address;
        }
        Err(code::RESERVED | code::PRESENT)
    }

    /// 32-bit paging: 4 KiB pages, and 4 MiB pages with PSE-36 addresses.
    fn walk_32(&mut self, table: Table, gva: u64, intent: Intent) -> Result<Mapping, u32> {
        let mut path = Path::new();
        let at = self.cr3 & 0xffff_f000 | (gva >> 22 & 0x3ff) << 2;
        let directory = u64::from(self.load_entry::<u32>(at));
        if directory & P == 0 {
            return Err(0);
        }
        path.push(at, directory);
        if directory & PS != 0 && self.cr4 & cr::CR4_PSE != 0 {
            // Bits 20:13 are address bits 39:32; bit 21 is reserved with 40-bit addresses.
            let high = directory >> 13 & 0xff;
            let unreachable = high << 32 & !self.features.physical_mask();
            if directory & 1 << 21 != 0 || unreachable != 0 {
                return Err(code::RESERVED | code::PRESENT);
            }
            let mapping = Mapping {
                gpa: directory & 0xffc0_0000 | high << 32 | gva & 0x3f_f000,
                writable: directory & RW != 0,
                user: directory & US != 0,
                no_execute: false,
                dirty: directory & D != 0,
                large: true,
                global: directory & G != 0,
            };
            return self.finish::<u32>(table, mapping, intent, &path);
        }
        let at = directory & 0xffff_f000 | (gva >> 12 & 0x3ff) << 2;
        let entry = u64::from(self.load_entry::<u32>(at));
        if entry & P == 0 {
            return Err(0);
        }
        path.push(at, entry);
        let rights = directory & entry;
        let mapping = Mapping {
            gpa: entry & 0xffff_f000,
            writable: rights & RW != 0,
            user: rights & US != 0,
            no_execute: false,
            dirty: entry & D != 0,
            large: false,
            global: entry & G != 0,
        };
        self.finish::<u32>(table, mapping, intent, &path)
    }

    /// Checks permissions, then sets A along the path and D at its end.
    fn finish<T: Int>(
        &mut self,
        table: Table,
        mut mapping: Mapping,
        intent: Intent,
        path: &Path,
    ) -> Result<Mapping, u32> {
        let allowed = match intent {
            Intent::Read => self.read_allowed(table, &mapping),
            Intent::Write => self.write_allowed(table, &mapping),
            Intent::Fetch => self.fetch_allowed(table, &mapping),
        };
        if !allowed {
            return Err(code::PRESENT);
        }
        let last = path.entries().len() - 1;
        for (i, &(at, entry)) in path.entries().iter().enumerate() {
            let want = if i == last && intent == Intent::Write {
                A | D
            } else {
                A
            };
            if entry & want != want && !self.set_entry_bits::<T>(at, entry, want) {
                return Err(CHANGED);
            }
        }
        mapping.dirty |= intent == Intent::Write;
        Ok(mapping)
    }

    fn read_allowed(&self, table: Table, mapping: &Mapping) -> bool {
        match table {
            Table::User => mapping.user,
            Table::KernelToUser => true,
            _ => !mapping.user || self.cr4 & cr::CR4_SMAP == 0,
        }
    }

    fn write_allowed(&self, table: Table, mapping: &Mapping) -> bool {
        let write_protect = table == Table::User || self.cr0 & cr::CR0_WP != 0;
        self.read_allowed(table, mapping) && (mapping.writable || !write_protect)
    }

    fn fetch_allowed(&self, table: Table, mapping: &Mapping) -> bool {
        let mode = if table == Table::User {
            mapping.user
        } else {
            !mapping.user || self.cr4 & cr::CR4_SMEP == 0
        };
        mode && !mapping.no_execute
    }

    /// A paging-structure entry; what is not RAM reads as all ones, like any unclaimed address.
    fn load_entry<T: Int>(&self, gpa: u64) -> T {
        match self.board.ram.page(gpa) {
            // SAFETY: entries are aligned, so they lie in the page.
            Some(page) => unsafe { T::load(page.hva.add((gpa & 0xfff) as usize)) },
            None => T::from_u64(u64::MAX),
        }
    }

    fn set_entry_bits<T: Int>(&mut self, gpa: u64, entry: u64, bits: u64) -> bool {
        let Some(page) = self.board.ram.page(gpa) else {
            return true;
        };
        let (old, new) = (T::from_u64(entry), T::from_u64(entry | bits));
        let offset = gpa & 0xfff;
        // SAFETY: entries are aligned, so they lie in the page.
        let was = unsafe { T::compare_exchange(page.hva.add(offset as usize), old, new) };
        self.stored_to_page(&page, offset, T::BYTES);
        self.page_table_marked();
        was == old
    }
}

/// The entries a walk went through: guest-physical address and value.
struct Path {
    entries: [(u64, u64); 4],
    length: usize,
}

impl Path {
    fn new() -> Self {
        Self {
            entries: [(0, 0); 4],
            length: 0,
        }
    }

    fn push(&mut self, at: u64, entry: u64) {
        self.entries[self.length] = (at, entry);
        self.length += 1;
    }

    fn entries(&self) -> &[(u64, u64)] {
        &self.entries[..self.length]
    }
}

/// Bits 63:47 are all the same.
#[inline(always)]
pub(crate) fn canonical(gva: u64) -> bool {
    ((gva << 16) as i64 >> 16) as u64 == gva
}
