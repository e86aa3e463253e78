//! Loads and stores of the guest.
//!
//! The fast path is a TLB compare and one host instruction. Everything else (page crossings, device
//! memory, alignment checks, watched pages, data breakpoints) is in the slow path below it. A store
//! that crosses a page writes nothing unless both pages can be written.

use std::sync::atomic::{AtomicU8, Ordering};

use wardian_memory::PageRef;

use super::tlb::Table;
use super::walk::{Intent, Translated, canonical};
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, Stop, StopReason, vector};
use crate::cpu::int::Int;

/// Where an operand lies in this process.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// First byte.
    pub(crate) at: *mut u8,
    pub(super) watch: *const AtomicU8,
}

impl Place {
    /// A place in RAM, and the watch byte of its page.
    pub(crate) fn new(at: *mut u8, watch: *const AtomicU8) -> Self {
        Self { at, watch }
    }
}

impl Cpu {
    /// Loads from a linear address with the current privileges.
    ///
    /// # Errors
    /// #PF, #GP, #AC, or a device in Python.
    #[inline(always)]
    pub fn read<T: Int>(&mut self, gva: u64) -> Exec<T> {
        self.read_through(self.tlb.table, gva)
    }

    /// Stores to a linear address with the current privileges.
    ///
    /// # Errors
    /// As [`Cpu::read`].
    #[inline(always)]
    pub fn write<T: Int>(&mut self, gva: u64, value: T) -> Exec {
        self.write_through(self.tlb.table, gva, value)
    }

    /// Loads as the processor itself does from descriptor tables and the TSS: as supervisor, whatever
    /// the current privilege level.
    ///
    /// # Errors
    /// #PF, #GP.
    pub fn system_read<T: Int>(&mut self, gva: u64) -> Exec<T> {
        self.read_through(Table::Kernel, gva)
    }

    /// Stores as the processor itself does.
    ///
    /// # Errors
    /// #PF, #GP.
    pub fn system_write<T: Int>(&mut self, gva: u64, value: T) -> Exec {
        self.write_through(Table::Kernel, gva, value)
    }

    #[inline(always)]
    fn read_through<T: Int>(&mut self, table: Table, gva: u64) -> Exec<T> {
        let entry = self.tlb.data(table, gva);
        if entry.read == self.tlb.tag(gva) && (gva & 0xfff) <= 4096 - T::BYTES {
            // SAFETY: a matching tag means that the page is mapped at gva + addend, and the operand
            // does not leave the page.
            return Ok(unsafe { T::load(gva.wrapping_add(entry.addend) as *const u8) });
        }
        self.read_slow(table, gva)
    }

    #[inline(always)]
    fn write_through<T: Int>(&mut self, table: Table, gva: u64, value: T) -> Exec {
        let entry = self.tlb.data(table, gva);
        if entry.write == self.tlb.tag(gva) && (gva & 0xfff) <= 4096 - T::BYTES {
            // SAFETY: as in `read_through`; the watch lives as long as RAM does.
            let watched = unsafe {
                value.store(gva.wrapping_add(entry.addend) as *mut u8);
                (*entry.watch).load(Ordering::Relaxed) != 0
            };
            if watched {
                let watch = self.tlb.data(table, gva).watch;
                self.stored_to_watched(watch, gva & 0xfff, T::BYTES);
            }
            return Ok(());
        }
        self.write_slow(table, gva, value)
    }

    /// A store went to a page somebody decoded: whoever did is told, and this vCPU leaves its block,
    /// since the store may have changed the next instruction.
    #[cold]
    #[inline(never)]
    pub(crate) fn stored_to_watched(&mut self, watch: *const AtomicU8, offset: u64, length: u64) {
        self.board.ram.stored_to_code(watch, offset, length);
        self.end_block();
    }

    #[cold]
    #[inline(never)]
    fn read_slow<T: Int>(&mut self, table: Table, gva: u64) -> Exec<T> {
        self.check_address(gva, T::BYTES)?;
        self.check_alignment::<T>(table, gva)?;
        let mut bytes = [0; 8];
        let size = T::BYTES as usize;
        self.read_pieces(table, gva, &mut bytes[..size])?;
        self.note_data_access(table, gva, T::BYTES, false);
        Ok(T::from_u64(u64::from_le_bytes(bytes)))
    }

    #[cold]
    #[inline(never)]
    fn write_slow<T: Int>(&mut self, table: Table, gva: u64, value: T) -> Exec {
        self.check_address(gva, T::BYTES)?;
        self.check_alignment::<T>(table, gva)?;
        let bytes = value.to_u64().to_le_bytes();
        self.write_pieces(table, gva, &bytes[..T::BYTES as usize])?;
        self.note_data_access(table, gva, T::BYTES, true);
        Ok(())
    }

    /// Loads a block of at most a page (vector operands, FXSAVE images).
    ///
    /// # Errors
    /// As [`Cpu::read`].
    pub fn read_bytes(&mut self, gva: u64, out: &mut [u8]) -> Exec {
        let table = self.tlb.table;
        let entry = self.tlb.data(table, gva);
        if entry.read == self.tlb.tag(gva) && (gva & 0xfff) as usize + out.len() <= 4096 {
            let from = gva.wrapping_add(entry.addend) as *const u8;
            // SAFETY: a matching tag means that the page is mapped there, and the block is in it.
            unsafe { copy_from_guest(from, out) };
            return Ok(());
        }
        self.check_address(gva, out.len() as u64)?;
        self.read_pieces(table, gva, out)?;
        self.note_data_access(table, gva, out.len() as u64, false);
        Ok(())
    }

    /// Stores a block of at most a page; nothing is stored if any byte faults.
    ///
    /// # Errors
    /// As [`Cpu::read`].
    pub fn write_bytes(&mut self, gva: u64, data: &[u8]) -> Exec {
        let table = self.tlb.table;
        let entry = self.tlb.data(table, gva);
        if entry.write == self.tlb.tag(gva) && (gva & 0xfff) as usize + data.len() <= 4096 {
            let place = Place {
                at: gva.wrapping_add(entry.addend) as *mut u8,
                watch: entry.watch,
            };
            // SAFETY: as in `read_bytes`.
            unsafe { copy_to_guest(data, place.at) };
            self.stored(&place, data.len() as u64);
            return Ok(());
        }
        self.check_address(gva, data.len() as u64)?;
        self.write_pieces(table, gva, data)?;
        self.note_data_access(table, gva, data.len() as u64, true);
        Ok(())
    }

    /// Faults now if `gva` could not be loaded from; nothing is loaded, not even from a device.
    ///
    /// # Errors
    /// #PF, #GP.
    pub fn probe_read(&mut self, gva: u64) -> Exec {
        self.check_address(gva, 1)?;
        let gva = self.linear(gva);
        self.translate(self.tlb.table, gva, Intent::Read).map(drop)
    }

    /// Whether `gva..gva + size` is RAM that can be stored to without any fault or device access.
    pub(crate) fn is_plain_store(&self, gva: u64, size: u64) -> bool {
        let entry = self.tlb.data(self.tlb.table, gva);
        entry.write == self.tlb.tag(gva) && (gva & 0xfff) + size <= 4096
    }

    /// Faults now if `gva..gva + size` could not be stored to.
    ///
    /// # Errors
    /// #PF, #GP.
    pub fn probe_write(&mut self, gva: u64, size: u64) -> Exec {
        if self.is_plain_store(gva, size) {
            return Ok(());
        }
        let table = self.tlb.table;
        self.check_address(gva, size)?;
        if self.rehearsing() {
            return self.rehearse_place(gva, size as usize).map(drop);
        }
        self.translate(table, self.linear(gva), Intent::Write)?;
        if (gva & 0xfff) + size > 4096 {
            self.translate(table, self.next_page(gva), Intent::Write)?;
        }
        Ok(())
    }

    /// Where an operand that is read and then written lies, if it is in one page of RAM; `None` if it
    /// crosses a page or is device memory. Faults are those of a store, as for any such instruction.
    /// Whoever stores there calls [`Cpu::stored`].
    ///
    /// # Errors
    /// #PF, #GP, #AC.
    #[inline(always)]
    pub(crate) fn place<T: Int>(&mut self, gva: u64) -> Exec<Option<Place>> {
        let entry = self.tlb.data(self.tlb.table, gva);
        if entry.write == self.tlb.tag(gva) && (gva & 0xfff) <= 4096 - T::BYTES {
            return Ok(Some(Place {
                at: gva.wrapping_add(entry.addend) as *mut u8,
                watch: entry.watch,
            }));
        }
        self.place_slow::<T>(gva)
    }

    #[cold]
    #[inline(never)]
    fn place_slow<T: Int>(&mut self, gva: u64) -> Exec<Option<Place>> {
        let table = self.tlb.table;
        self.check_address(gva, T::BYTES)?;
        if self.rehearsing() {
            return self.rehearse_place(gva, T::BYTES as usize).map(Some);
        }
        self.check_alignment::<T>(table, gva)?;
        let found = self.translate(table, self.linear(gva), Intent::Write)?;
        if (gva & 0xfff) > 4096 - T::BYTES {
            self.translate(table, self.next_page(gva), Intent::Write)?;
            return Ok(None);
        }
        let Some(page) = found.page else {
            return Ok(None);
        };
        self.note_data_access(table, gva, T::BYTES, true);
        Ok(Some(Place {
            // SAFETY: the offset is within the page.
            at: unsafe { page.hva.add((found.gpa & 0xfff) as usize) },
            watch: page.watch,
        }))
    }

    /// To be called after each store of `length` bytes through a [`Place`].
    #[inline(always)]
    pub(crate) fn stored(&mut self, place: &Place, length: u64) {
        // SAFETY: places point into RAM's tables, which outlive the vCPU's borrow of them.
        if unsafe { &*place.watch }.load(Ordering::Relaxed) != 0 {
            // Pages of RAM are pages of the host, so the offset is the same.
            self.stored_to_watched(place.watch, place.at as u64 & 0xfff, length);
        }
    }

    /// The same for a store to a page that was found by its guest-physical address; the processor's
    /// own stores to paging structures are such, and may be in a page of code.
    pub(crate) fn stored_to_page(&mut self, page: &PageRef, offset: u64, length: u64) {
        if self.board.ram.stored(page, offset, length) {
            self.end_block();
        }
    }

    /// The bytes from `gva` to the end of its page, and how many they are, if plain loads (`write`:
    /// stores) may go there without any check: what string instructions move in bulk.
    pub(crate) fn bulk(&mut self, gva: u64, write: bool) -> Option<(Place, u64)> {
        let entry = self.tlb.data(self.tlb.table, gva);
        let tag = if write { entry.write } else { entry.read };
        let place = Place {
            at: gva.wrapping_add(entry.addend) as *mut u8,
            watch: entry.watch,
        };
        (tag == self.tlb.tag(gva)).then_some((place, 4096 - (gva & 0xfff)))
    }

    /// The linear address as the current mode forms it.
    #[inline(always)]
    fn linear(&self, gva: u64) -> u64 {
        if self.long_mode() {
            gva
        } else {
            gva & 0xffff_ffff
        }
    }

    /// The linear address of the first byte of the page behind that of `gva`.
    fn next_page(&self, gva: u64) -> u64 {
        self.linear((gva | 0xfff).wrapping_add(1))
    }

    fn check_address(&mut self, gva: u64, size: u64) -> Exec {
        let last = gva.wrapping_add(size.max(1) - 1);
        if self.long_mode() && !(canonical(gva) && canonical(last)) {
            self.stop = StopReason::NonCanonical;
            return Err(Stop);
        }
        Ok(())
    }

    fn check_alignment<T: Int>(&mut self, table: Table, gva: u64) -> Exec {
        self.check_multiple(table, gva, T::BYTES)
    }

    fn check_multiple(&mut self, table: Table, gva: u64, alignment: u64) -> Exec {
        if table == Table::Slow && self.alignment_checked() && gva & (alignment - 1) != 0 {
            return self.fault(vector::AC, Some(0));
        }
        Ok(())
    }

    /// Faults as an access of `size` bytes does before paging, if alignment is checked at all: for an
    /// address that is not canonical or no multiple of `alignment`.
    ///
    /// # Errors
    /// #GP, #AC.
    #[inline(always)]
    pub(crate) fn check_operand(&mut self, gva: u64, size: u64, alignment: u64) -> Exec {
        if self.tlb.table != Table::Slow {
            return Ok(());
        }
        self.check_address(gva, size)?;
        self.check_multiple(Table::Slow, gva, alignment)
    }

    fn read_pieces(&mut self, table: Table, gva: u64, out: &mut [u8]) -> Exec {
        if self.rehearsing() {
            return self.rehearse_load(gva, out);
        }
        let split = split_at_page(gva, out.len());
        let first = self.translate(table, self.linear(gva), Intent::Read)?;
        if split == out.len() {
            return self.read_physical(first, out);
        }
        let next = self.linear(gva.wrapping_add(split as u64));
        let second = self.translate(table, next, Intent::Read)?;
        let (low, high) = out.split_at_mut(split);
        self.read_physical(first, low)?;
        self.read_physical(second, high)
    }

    fn write_pieces(&mut self, table: Table, gva: u64, data: &[u8]) -> Exec {
        if self.rehearsing() {
            return self.rehearse_store(gva, data);
        }
        let split = split_at_page(gva, data.len());
        let first = self.translate(table, self.linear(gva), Intent::Write)?;
        if split == data.len() {
            return self.write_physical(first, data);
        }
        let next = self.linear(gva.wrapping_add(split as u64));
        let second = self.translate(table, next, Intent::Write)?;
        let (low, high) = data.split_at(split);
        self.write_physical(first, low)?;
        self.write_physical(second, high)
    }

    fn read_physical(&mut self, at: Translated, out: &mut [u8]) -> Exec {
        let Some(page) = at.page else {
            return self.device_read(at.gpa, out);
        };
        let offset = (at.gpa & 0xfff) as usize;
        // SAFETY: `read_pieces` splits at the page's end.
        unsafe {
            copy_from_guest(page.hva.add(offset), out);
        }
        Ok(())
    }

    fn write_physical(&mut self, at: Translated, data: &[u8]) -> Exec {
        let Some(page) = at.page else {
            return self.device_write(at.gpa, data);
        };
        let offset = at.gpa & 0xfff;
        // SAFETY: `write_pieces` splits at the page's end.
        unsafe { copy_to_guest(data, page.hva.add(offset as usize)) };
        self.stored_to_page(&page, offset, data.len() as u64);
        Ok(())
    }
}

/// Copies with one load where the size allows, so that what another vCPU stores whole is seen whole.
///
/// # Safety
/// `from` is as many bytes of mapped RAM as `out` has.
#[inline]
pub(super) unsafe fn copy_from_guest(from: *const u8, out: &mut [u8]) {
    // SAFETY: the caller vouches for the address.
    unsafe {
        match out.len() {
            1 => out[0] = u8::load(from),
            2 => out.copy_from_slice(&u16::load(from).to_le_bytes()),
            4 => out.copy_from_slice(&u32::load(from).to_le_bytes()),
            8 => out.copy_from_slice(&u64::load(from).to_le_bytes()),
            n => std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), n),
        }
    }
}

/// Copies with one store where the size allows.
///
/// # Safety
/// `to` is as many bytes of mapped RAM as `data` has.
#[inline]
pub(super) unsafe fn copy_to_guest(data: &[u8], to: *mut u8) {
    // SAFETY: the caller vouches for the address.
    unsafe {
        match *data {
            [a] => a.store(to),
            [a, b] => u16::from_le_bytes([a, b]).store(to),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).store(to),
            [a, b, c, d, e, f, g, h] => u64::from_le_bytes([a, b, c, d, e, f, g, h]).store(to),
            _ => std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len()),
        }
    }
}

fn split_at_page(gva: u64, length: usize) -> usize {
    length.min(4096 - (gva & 0xfff) as usize)
}
