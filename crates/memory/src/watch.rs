//! Who holds something derived from a page's bytes, and how a store to the page reaches them.
//!
//! A vCPU that decodes or translates *watches* the page first. Whoever stores to a watched page
//! advances the page's generation and tells the [`CodeListener`]s which bytes changed. Decoded blocks
//! compare generations when they are looked up; translated blocks jump to each other without a look,
//! so they have to be told.
//!
//! The watch byte of a page is 0 (nobody watches) or 1 + the stores noted since it was set. It changes
//! under one lock only, and under that lock its changes, the generation's and the telling belong
//! together. A storing vCPU takes the lock only if its one look at the byte found it set.
//!
//! # Why no store slips through
//!
//! A *decoder* does: under the lock, set the watch and read the generation; then read the bytes; keep
//! what comes of them; later, ask whether it was told. A *storer* does: store; look at the watch; if
//! set, under the lock, advance the generation and tell. Let a decoder's read of the bytes miss a
//! store, and let the storer find the watch set: then the storer's turn under the lock comes after the
//! decoder's (had it come first, the lock would have made the store visible), so the generation the
//! decoder holds is old, and it is told after it watched. Two things could come between.
//!
//! *The storer looks too early.* On x86 a store may still sit in its CPU's store buffer while the look
//! behind it is over (Intel SDM vol. 3, 9.2.3.4), so the decoder could miss the store and the storer
//! the watch. A full fence after every guest store would cost more than the store; instead the
//! decoder that sets a watch asks the kernel for a barrier on every thread of the process, still under
//! the lock. Afterwards either the store is visible, or the look comes later and sees the watch. A
//! decoder that finds the watch set needs no barrier: whoever set it has been through its own.
//!
//! *The watch is cleared meanwhile.* It is cleared under the lock, after the generation has advanced
//! and the whole page has been told. A decoder whose turn was before that holds an old generation and
//! is told, so the store needs no notice of its own. A decoder whose turn comes after finds the watch
//! clear, sets it anew with a barrier of its own, and reads the bytes after that.

use std::ops::DerefMut;
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::ram::{GuestRam, PAGE_SIZE, PageRef, RamError, Slot};

/// Stores to a watched page after which its watch is cleared: by then it probably holds data again,
/// and storing to it should cost nothing.
const STORES_UNTIL_CLEAR: u8 = 16;

/// Keeps something derived from code, and is told when the bytes it came from change.
pub trait CodeListener: Send + Sync {
    /// `length` bytes at guest-physical `gpa`, all in one page, may have changed.
    ///
    /// Called on the storing thread with the watch lock held, before the guest's next instruction
    /// there: note it and return, without calling back into [`GuestRam`].
    fn code_stored(&self, gpa: u64, length: u64);
}

/// The watch lock, and whom to tell under it.
pub(crate) struct Watches {
    listeners: Mutex<Vec<Arc<dyn CodeListener>>>,
    /// The kernel gives barriers on every thread.
    has_barrier: bool,
}

impl Watches {
    pub(crate) fn new() -> Self {
        Self {
            listeners: Mutex::new(Vec::new()),
            has_barrier: membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED),
        }
    }

    fn lock(&self) -> impl DerefMut<Target = Vec<Arc<dyn CodeListener>>> {
        self.listeners.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl GuestRam {
    /// Tells `listener` from now on about every store to watched pages.
    pub fn add_code_listener(&self, listener: Arc<dyn CodeListener>) {
        self.watches.lock().push(listener);
    }

    /// Watches the page of `gpa` and gives its generation.
    ///
    /// To be called each time before bytes of the page are read to be decoded, since the watch may
    /// have been cleared. What comes of the bytes is good as long as the page has that generation and
    /// no [`CodeListener`] was told otherwise.
    ///
    /// # Errors
    /// [`RamError::OutsideRam`].
    pub fn watch_code(&self, gpa: u64) -> Result<u32, RamError> {
        let outside = RamError::OutsideRam { gpa, length: 1 };
        let (slot, index) = self.find(gpa).ok_or(outside)?;
        let watch = &slot.watch[index];
        let _turn = self.watches.lock();
        if watch.load(Ordering::Relaxed) == 0 {
            watch.store(1, Ordering::SeqCst);
            if self.watches.has_barrier {
                membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
            }
        }
        Ok(slot.generation[index].load(Ordering::Acquire))
    }

    /// To be called after each store to `length` bytes at `offset` in a page. True if the page is
    /// watched: then a vCPU leaves its block, since the store may have changed its next instruction.
    #[inline]
    pub fn stored(&self, page: &PageRef, offset: u64, length: u64) -> bool {
        // SAFETY: PageRef pointers live as long as the GuestRam they came from.
        let watched = unsafe { &*page.watch }.load(Ordering::Relaxed) != 0;
        if watched {
            self.stored_to_code(page.watch, offset, length);
        }
        watched
    }

    /// To be called after a store of `length` bytes at `offset` in the page that `watch` is the watch
    /// byte of, if that byte is not 0. A `length` that leaves the page is cut.
    #[cold]
    #[inline(never)]
    pub fn stored_to_code(&self, watch: *const AtomicU8, offset: u64, length: u64) {
        let Some((slot, index)) = self.find_watch(watch) else {
            return;
        };
        let listeners = self.watches.lock();
        let noted = slot.watch[index].load(Ordering::Relaxed);
        if noted == 0 {
            // Cleared since the look: everybody has been told about the whole page.
            return;
        }
        let clear = noted >= STORES_UNTIL_CLEAR;
        let (offset, length) = if clear {
            (0, PAGE_SIZE)
        } else {
            (offset, length.min(PAGE_SIZE.saturating_sub(offset)))
        };
        slot.generation[index].fetch_add(1, Ordering::SeqCst);
        let gpa = slot.gpa + index as u64 * PAGE_SIZE + offset;
        for listener in listeners.iter() {
            listener.code_stored(gpa, length);
        }
        slot.watch[index].store(if clear { 0 } else { noted + 1 }, Ordering::SeqCst);
    }

    /// Where the watch byte `watch` is, if it is one.
    fn find_watch(&self, watch: *const AtomicU8) -> Option<(&Slot, usize)> {
        self.slots().find_map(|slot| {
            let index = watch
                .addr()
                .wrapping_sub(ptr::from_ref(&slot.watch[0]).addr());
            (index < slot.watch.len()).then_some((slot, index))
        })
    }
}

/// Whether the kernel does what is asked.
fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes no pointers; a kernel without it answers with an error.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Told(Mutex<Vec<(u64, u64)>>);

    impl CodeListener for Told {
        fn code_stored(&self, gpa: u64, length: u64) {
            self.0.lock().unwrap().push((gpa, length));
        }
    }

    impl Told {
        fn take(&self) -> Vec<(u64, u64)> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    fn ram() -> (GuestRam, Arc<Told>) {
        let ram = GuestRam::new();
        ram.map(0, 4 * PAGE_SIZE).unwrap();
        ram.map(0x10_0000, 2 * PAGE_SIZE).unwrap();
        let told = Arc::new(Told::default());
        ram.add_code_listener(Arc::clone(&told) as Arc<dyn CodeListener>);
        (ram, told)
    }

    #[test]
    fn only_stores_to_watched_pages_are_told() {
        let (ram, told) = ram();
        ram.write(0x1000, &[1]).unwrap();
        assert_eq!(ram.watch_code(0x1234).unwrap(), 0);
        ram.write(0x1ffe, &[1; 4]).unwrap();
        ram.write(0x2000, &[1]).unwrap();
        assert_eq!(told.take(), [(0x1ffe, 2)]);
        assert_eq!(ram.watch_code(0x1000).unwrap(), 1);
        assert_eq!(ram.watch_code(0x2000).unwrap(), 0);
        assert!(ram.watch_code(0x4000).is_err());
    }

    #[test]
    fn a_store_is_told_where_it_was_made_in_every_slot() {
        let (ram, told) = ram();
        let page = ram.page(0x10_1000).unwrap();
        assert!(!ram.stored(&page, 8, 4));
        assert_eq!(ram.watch_code(0x10_1ff0).unwrap(), 0);
        assert!(ram.stored(&page, 8, 4));
        ram.stored_to_code(page.watch, 0xffc, 16);
        assert_eq!(told.take(), [(0x10_1008, 4), (0x10_1ffc, 4)]);
    }

    #[test]
    fn a_page_stored_to_often_is_told_whole_and_watched_no_more() {
        let (ram, told) = ram();
        let page = ram.page(0x3000).unwrap();
        for round in 0..3 {
            ram.watch_code(0x3000).unwrap();
            for i in 0..u64::from(STORES_UNTIL_CLEAR) {
                assert!(ram.stored(&page, i, 1), "round {round}, store {i}");
            }
            assert!(!ram.stored(&page, 0, 1));
            let told = told.take();
            assert_eq!(told.len(), usize::from(STORES_UNTIL_CLEAR));
            assert_eq!(told.first(), Some(&(0x3000, 1)));
            assert_eq!(told.last(), Some(&(0x3000, PAGE_SIZE)));
        }
        let stores = 3 * u32::from(STORES_UNTIL_CLEAR);
        assert_eq!(ram.watch_code(0x3000).unwrap(), stores);
    }

    #[test]
    fn watching_a_watched_page_keeps_the_count() {
        let (ram, told) = ram();
        for _ in 0..STORES_UNTIL_CLEAR {
            ram.watch_code(0).unwrap();
            ram.write(0, &[1]).unwrap();
        }
        assert_eq!(told.take().last(), Some(&(0, PAGE_SIZE)));
    }
}
