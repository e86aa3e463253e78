//! Accesses of instructions that are run only to see what they do, and taken back afterwards.
//!
//! In a rehearsal every access takes the slow path ([`Table::Slow`]), and comes here from there. A
//! store is noted with the bytes it replaces; what cannot be taken back, or is not done by translated
//! code itself (device memory, an access that crosses a page), stops the instruction. Pages are
//! looked up in the order in which translated code does: if the guest has changed a page table and
//! not flushed yet, both must see the same page.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Table;
use super::access::{Place, copy_from_guest, copy_to_guest};
use super::walk::Intent;
use crate::cpu::Cpu;
use crate::cpu::exception::{Exec, Stop, StopReason};

/// The watch byte of places in a rehearsal: nobody is told of a store that will not stay.
static NOBODY: AtomicU8 = AtomicU8::new(0);

/// One store, or the possibility of one.
pub(crate) struct Store {
    /// Linear address.
    pub(crate) gva: u64,
    at: *mut u8,
    length: usize,
    before: [u8; 32],
}

impl Store {
    /// What is there now.
    pub(crate) fn now(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // SAFETY: the place is in a page of RAM, which is never unmapped.
        unsafe { copy_from_guest(self.at, &mut bytes[..self.length]) };
        bytes
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

/// The stores of a rehearsal, oldest first.
#[derive(Default)]
pub(crate) struct StoreLog {
    pub(crate) stores: Vec<Store>,
    /// A page table's A or D bits were set, which a later load of the page table would see.
    pub(crate) marked: bool,
    /// A store went to code that somebody decoded; translated code leaves behind such a store.
    pub(crate) to_code: bool,
}

impl StoreLog {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.stores.clear();
        self.marked = false;
        self.to_code = false;
    }

    /// Puts back what was there before the first store.
    pub(crate) fn take_back(&self) {
        for store in self.stores.iter().rev() {
            // SAFETY: as in `Store::now`.
            unsafe { copy_to_guest(&store.before[..store.length], store.at) };
        }
    }
}

impl Cpu {
    /// Whether instructions are being rehearsed.
    #[inline]
    pub(crate) fn rehearsing(&mut self) -> bool {
        self.tlb.table == Table::Slow && self.store_log().is_some()
    }

    /// Where an access of `size` bytes goes.
    fn rehearsal_place(&mut self, gva: u64, size: usize, intent: Intent) -> Exec<Place> {
        if (gva & 0xfff) as usize + size > 4096 {
            return self.outside_rehearsal();
        }
        let table = self.plain_table();
        let store = intent == Intent::Write;
        if let Some(place) = self.translated_place(table, gva, store) {
            return Ok(place);
        }
        let entry = self.tlb.data(table, gva);
        let tag = if store { entry.write } else { entry.read };
        if tag == self.tlb.tag(gva) {
            return Ok(Place {
                at: gva.wrapping_add(entry.addend) as *mut u8,
                watch: entry.watch,
            });
        }
        let found = self.translate(table, gva, intent)?;
        let Some(page) = found.page else {
            return self.outside_rehearsal();
        };
        Ok(Place {
            // SAFETY: the offset is within the page.
            at: unsafe { page.hva.add((gva & 0xfff) as usize) },
            watch: page.watch,
        })
    }

    fn outside_rehearsal<T>(&mut self) -> Exec<T> {
        self.stop = StopReason::Device;
        Err(Stop)
    }

    /// A load.
    pub(crate) fn rehearse_load(&mut self, gva: u64, out: &mut [u8]) -> Exec {
        let place = self.rehearsal_place(gva, out.len(), Intent::Read)?;
        // SAFETY: the place is as large as was asked for.
        unsafe { copy_from_guest(place.at, out) };
        Ok(())
    }

    /// A store.
    pub(crate) fn rehearse_store(&mut self, gva: u64, data: &[u8]) -> Exec {
        let place = self.rehearse_place(gva, data.len())?;
        // SAFETY: as in `rehearse_load`.
        unsafe { copy_to_guest(data, place.at) };
        Ok(())
    }

    /// A place that will perhaps be stored to.
    pub(crate) fn rehearse_place(&mut self, gva: u64, size: usize) -> Exec<Place> {
        if size > 32 {
            return self.outside_rehearsal();
        }
        let place = self.rehearsal_place(gva, size, Intent::Write)?;
        let mut before = [0; 32];
        // SAFETY: the place is as large as was asked for, and watches live as long as RAM.
        let watched = unsafe {
            copy_from_guest(place.at, &mut before[..size]);
            (*place.watch).load(Ordering::Relaxed) != 0
        };
        if let Some(log) = self.store_log() {
            log.to_code |= watched;
            log.stores.push(Store {
                gva,
                at: place.at,
                length: size,
                before,
            });
        }
        Ok(Place {
            at: place.at,
            watch: &NOBODY,
        })
    }

    /// To be called when a page walk set A or D.
    pub(crate) fn page_table_marked(&mut self) {
        if let Some(log) = self.store_log() {
            log.marked = true;
        }
    }
}
