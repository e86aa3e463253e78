//! The code cache's memory: the same pages mapped twice, writable for the translator and executable
//! for the processor, at addresses that have nothing to do with each other.
//!
//! x86 instruction fetch is coherent with stores by physical address, so no flush follows a write;
//! the thread that writes here is the only one that runs what it wrote.
//!
//! It is anonymous memory, not a memory file: only for the former does `perf` look into the list of
//! blocks that `wardian_engine::profile::PerfMap` writes.

use std::io;
use std::ptr::{self, NonNull};

/// A fixed number of bytes of code.
pub(super) struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    length: usize,
}

// SAFETY: both mappings are owned by this value alone; nothing in it belongs to one thread.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Reserves `length` bytes, a multiple of the page size; the host gives pages as they are used.
    ///
    /// # Errors
    /// The host's refusal.
    pub(super) fn new(length: usize) -> io::Result<Self> {
        const WRITABLE: libc::c_int = libc::PROT_READ | libc::PROT_WRITE;
        const EXECUTABLE: libc::c_int = libc::PROT_READ | libc::PROT_EXEC;
        const SHARED: libc::c_int = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let writable = unsafe { libc::mmap(ptr::null_mut(), length, WRITABLE, SHARED, -1, 0) };
        let writable = pointer(writable)?;
        // A length of zero makes a second mapping of shared pages and leaves the first (mremap(2)).
        // SAFETY: the first mapping is ours and has `length` bytes.
        let second =
            unsafe { libc::mremap(writable.as_ptr().cast(), 0, length, libc::MREMAP_MAYMOVE) };
        let memory = pointer(second).map(|executable| Self {
            writable,
            executable,
            length,
        });
        let memory = memory.inspect_err(|_| {
            // SAFETY: mapped above, and nothing refers to it.
            unsafe { libc::munmap(writable.as_ptr().cast(), length) };
        })?;
        // SAFETY: the second mapping is ours; nothing has used it yet.
        match unsafe { libc::mprotect(second, length, EXECUTABLE) } {
            0 => Ok(memory),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Where `offset` runs.
    pub(super) fn address(&self, offset: u32) -> u64 {
        debug_assert!((offset as usize) < self.length);
        self.executable.as_ptr() as u64 + u64::from(offset)
    }

    /// Writes code.
    pub(super) fn write(&mut self, offset: u32, code: &[u8]) {
        let end = offset as usize + code.len();
        assert!(
            end <= self.length,
            "the allocator keeps code inside the cache"
        );
        // SAFETY: inside the writable mapping, as checked.
        unsafe {
            let to = self.writable.as_ptr().add(offset as usize);
            ptr::copy_nonoverlapping(code.as_ptr(), to, code.len());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        // SAFETY: both were mapped in `new` with this length and are not used after this.
        unsafe {
            libc::munmap(self.writable.as_ptr().cast(), self.length);
            libc::munmap(self.executable.as_ptr().cast(), self.length);
        }
    }
}

/// What mmap or mremap gave, or why it gave nothing.
fn pointer(mapped: *mut libc::c_void) -> io::Result<NonNull<u8>> {
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(mapped.cast()).ok_or_else(|| io::Error::other("mapped at address zero"))
}
