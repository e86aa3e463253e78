//! Slots of guest RAM.

use std::ptr;
use std::sync::atomic::{AtomicU8, AtomicU32};
use std::sync::{Mutex, OnceLock};

use crate::watch::Watches;

/// Bytes in a page of guest RAM.
pub const PAGE_SIZE: u64 = 4096;

/// Slots a machine may have. RAM below and above the 4 GiB hole needs two.
const MAX_SLOTS: usize = 8;

/// Why guest RAM could not be made or touched.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The slot is empty, not page aligned, wraps, or overlaps another.
    #[error("a RAM slot of {length:#x} bytes at {gpa:#x} is not possible: {reason}")]
    BadSlot {
        /// Guest-physical start.
        gpa: u64,
        /// Length in bytes.
        length: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The host refused the memory.
    #[error("the host has no {length} bytes for guest RAM: {source}")]
    Host {
        /// Length in bytes.
        length: u64,
        /// What the host said.
        source: std::io::Error,
    },
    /// The range is not all RAM.
    #[error("guest-physical range {gpa:#x}+{length:#x} is not RAM")]
    OutsideRam {
        /// Guest-physical start.
        gpa: u64,
        /// Length in bytes.
        length: u64,
    },
}

/// One run of RAM.
pub(crate) struct Slot {
    pub(crate) gpa: u64,
    length: u64,
    hva: *mut u8,
    /// One per page, at least one.
    pub(crate) watch: Box<[AtomicU8]>,
    /// One per page.
    pub(crate) generation: Box<[AtomicU32]>,
}

// SAFETY: the mapping lives as long as the slot and is plain shared bytes; every access goes
// through raw pointers with single host instructions, never through Rust references.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Drop for Slot {
    fn drop(&mut self) {
        // SAFETY: `hva` and `length` are exactly what mmap returned and was asked for.
        unsafe { libc::munmap(self.hva.cast(), self.length as usize) };
    }
}

/// One page of RAM as an engine's TLB wants it. The pointers stay valid as long as the [`GuestRam`].
#[derive(Clone, Copy, Debug)]
pub struct PageRef {
    /// First byte of the page in this process.
    pub hva: *mut u8,
    /// The page's watch byte: not 0 while somebody holds code of the page.
    pub watch: *const AtomicU8,
    /// The page's generation.
    pub generation: *const AtomicU32,
}

/// The RAM of one machine. Slots are only ever added, so a page found once stays where it is.
pub struct GuestRam {
    slots: [OnceLock<Slot>; MAX_SLOTS],
    adding: Mutex<()>,
    pub(crate) watches: Watches,
}

impl Default for GuestRam {
    fn default() -> Self {
        Self::new()
    }
}

impl GuestRam {
    /// RAM with no slots yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slots: [const { OnceLock::new() }; MAX_SLOTS],
            adding: Mutex::new(()),
            watches: Watches::new(),
        }
    }

    /// Adds `length` bytes of zeroed RAM at `gpa`, both multiples of [`PAGE_SIZE`].
    ///
    /// # Errors
    /// [`RamError::BadSlot`] (the caller's fault), [`RamError::Host`] (the host's).
    pub fn map(&self, gpa: u64, length: u64) -> Result<(), RamError> {
        let bad = |reason| RamError::BadSlot {
            gpa,
            length,
            reason,
        };
        let _one_at_a_time = self.adding.lock().unwrap_or_else(|e| e.into_inner());
        if length == 0 || gpa % PAGE_SIZE != 0 || length % PAGE_SIZE != 0 {
            return Err(bad("it is empty or not page aligned"));
        }
        let end = gpa.checked_add(length).ok_or(bad("it wraps around"))?;
        if self.slots().any(|s| gpa < s.gpa + s.length && s.gpa < end) {
            return Err(bad("it overlaps another slot"));
        }
        let free = self
            .slots
            .iter()
            .find(|s| s.get().is_none())
            .ok_or(bad("no slot is left"))?;
        let pages = (length / PAGE_SIZE) as usize;
        let slot = Slot {
            gpa,
            length,
            hva: map_memfd(length).map_err(|source| RamError::Host { length, source })?,
            watch: (0..pages).map(|_| AtomicU8::new(0)).collect(),
            generation: (0..pages).map(|_| AtomicU32::new(0)).collect(),
        };
        let added = free.set(slot).is_ok();
        debug_assert!(added, "slots are added under a lock");
        Ok(())
    }

    /// Bytes of RAM in all slots.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.slots().map(|s| s.length).sum()
    }

    /// The page that holds `gpa`, if it is RAM.
    #[must_use]
    pub fn page(&self, gpa: u64) -> Option<PageRef> {
        let (slot, index) = self.find(gpa)?;
        Some(PageRef {
            // SAFETY: `find` gives the number of a page in the slot.
            hva: unsafe { slot.hva.add(index * PAGE_SIZE as usize) },
            watch: &slot.watch[index],
            generation: &slot.generation[index],
        })
    }

    /// Copies RAM out. The bytes may be mid-change if a vCPU is running.
    ///
    /// # Errors
    /// [`RamError::OutsideRam`] if any byte is not RAM; `out` is then unspecified.
    pub fn read(&self, gpa: u64, out: &mut [u8]) -> Result<(), RamError> {
        self.each_page(gpa, out.len(), |page, offset, at, n| {
            // SAFETY: each_page gives in-page ranges of mapped RAM and in-range parts of `out`.
            unsafe { ptr::copy_nonoverlapping(page.hva.add(offset), out[at..].as_mut_ptr(), n) };
        })
    }

    /// Copies bytes into RAM and tells whoever watches them: what a device's DMA uses.
    ///
    /// # Errors
    /// [`RamError::OutsideRam`] if any byte is not RAM; nothing is then written.
    pub fn write(&self, gpa: u64, data: &[u8]) -> Result<(), RamError> {
        self.each_page(gpa, data.len(), |_, _, _, _| {})?;
        self.each_page(gpa, data.len(), |page, offset, at, n| {
            // SAFETY: each_page gives in-page ranges of mapped RAM and in-range parts of `data`.
            unsafe { ptr::copy_nonoverlapping(data[at..].as_ptr(), page.hva.add(offset), n) };
            self.stored(&page, offset as u64, n as u64);
        })
    }

    /// The slot that holds `gpa`, and the page's number in it.
    pub(crate) fn find(&self, gpa: u64) -> Option<(&Slot, usize)> {
        let slot = self.slots().find(|s| gpa.wrapping_sub(s.gpa) < s.length)?;
        Some((slot, ((gpa - slot.gpa) / PAGE_SIZE) as usize))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map_while(OnceLock::get)
    }

    fn each_page(
        &self,
        gpa: u64,
        length: usize,
        mut visit: impl FnMut(PageRef, usize, usize, usize),
    ) -> Result<(), RamError> {
        let outside = || RamError::OutsideRam {
            gpa,
            length: length as u64,
        };
        gpa.checked_add(length as u64).ok_or_else(outside)?;
        let mut at = 0;
        while at < length {
            let here = gpa + at as u64;
            let offset = (here % PAGE_SIZE) as usize;
            let n = (PAGE_SIZE as usize - offset).min(length - at);
            visit(self.page(here).ok_or_else(outside)?, offset, at, n);
            at += n;
        }
        Ok(())
    }
}

fn map_memfd(length: u64) -> std::io::Result<*mut u8> {
    let last = std::io::Error::last_os_error;
    let length = usize::try_from(length).map_err(std::io::Error::other)?;
    // SAFETY: plain system calls on values checked above; the name is NUL-terminated. The mapping
    // keeps the memory alive, so the descriptor is closed at once.
    unsafe {
        let fd = libc::memfd_create(c"wardian-ram".as_ptr(), libc::MFD_CLOEXEC);
        if fd < 0 {
            return Err(last());
        }
        let hva = if libc::ftruncate(fd, length as libc::off_t) < 0 {
            libc::MAP_FAILED
        } else {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(
                ptr::null_mut(),
                length,
                prot,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                fd,
                0,
            )
        };
        let error = last();
        libc::close(fd);
        if hva == libc::MAP_FAILED {
            Err(error)
        } else {
            Ok(hva.cast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ram() -> GuestRam {
        let ram = GuestRam::new();
        ram.map(0, 4 * PAGE_SIZE).unwrap();
        ram.map(0x10_0000, PAGE_SIZE).unwrap();
        ram
    }

    #[test]
    fn bytes_written_are_bytes_read_across_pages() {
        let ram = ram();
        let data: Vec<u8> = (0..5000).map(|i| i as u8).collect();
        ram.write(100, &data).unwrap();
        let mut back = vec![0; 5000];
        ram.read(100, &mut back).unwrap();
        assert_eq!(back, data);
    }

    #[test]
    fn ranges_that_leave_ram_are_refused_whole() {
        let ram = ram();
        assert!(ram.write(4 * PAGE_SIZE - 1, &[1, 2]).is_err());
        let mut byte = [0xff];
        ram.read(4 * PAGE_SIZE - 1, &mut byte).unwrap();
        assert_eq!(byte, [0]);
        assert!(ram.read(u64::MAX, &mut [0, 0]).is_err());
    }

    #[test]
    fn impossible_slots_are_refused() {
        let ram = ram();
        for (gpa, length) in [
            (0, 0),
            (1, 4096),
            (4096, 100),
            (0x3000, 0x1000),
            (u64::MAX - 4095, 8192),
        ] {
            assert!(
                matches!(ram.map(gpa, length), Err(RamError::BadSlot { .. })),
                "{gpa:#x}"
            );
        }
    }
}
