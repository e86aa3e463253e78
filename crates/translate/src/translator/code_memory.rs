//! The code cache's memory: one file mapped twice, writable for the translator and executable for
//! the processor, at addresses that have nothing to do with each other.
//!
//! x86 instruction fetch is coherent with stores by physical address, so no flush follows a write;
//! the thread that writes here is the only one that runs what it wrote.

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
        let size = libc::off_t::try_from(length).map_err(io::Error::other)?;
        // SAFETY: plain system calls; the name is a NUL-terminated constant, and the mappings keep
        // the file after its descriptor is closed.
        unsafe {
            let fd = libc::memfd_create(c"wardian-code".as_ptr(), libc::MFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            let mapped = (libc::ftruncate(fd, size) == 0)
                .then_some(())
                .ok_or_else(io::Error::last_os_error)
                .and_then(|()| map(fd, length, libc::PROT_READ | libc::PROT_WRITE))
                .and_then(|writable| {
                    map(fd, length, libc::PROT_READ | libc::PROT_EXEC)
                        .map(|executable| (writable, executable))
                        .inspect_err(|_| {
                            libc::munmap(writable.as_ptr().cast(), length);
                        })
                });
            libc::close(fd);
            let (writable, executable) = mapped?;
            Ok(Self {
                writable,
                executable,
                length,
            })
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

/// # Safety
/// `fd` is an open file of at least `length` bytes.
unsafe fn map(fd: libc::c_int, length: usize, protection: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh shared mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))
}
