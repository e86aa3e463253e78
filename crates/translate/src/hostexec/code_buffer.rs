//! Executable memory that is never writable and executable at one address.
//!
//! One memory file is mapped twice: read-write for the emitter, read-execute for the processor.
//! x86 instruction fetch is coherent with stores by physical address, so no flush follows a write.

use std::io;
use std::ptr::{self, NonNull};

/// A fixed-size, append-only buffer of code.
pub(super) struct CodeBuffer {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    capacity: usize,
    used: usize,
}

// SAFETY: both mappings are owned by this value alone; nothing in it belongs to one thread.
unsafe impl Send for CodeBuffer {}

impl CodeBuffer {
    /// Reserves `capacity` bytes, rounded up to whole pages.
    pub(super) fn new(capacity: usize) -> io::Result<Self> {
        let capacity = capacity.max(1).next_multiple_of(4096);
        let length = libc::off_t::try_from(capacity).map_err(io::Error::other)?;
        // SAFETY: the name is a NUL-terminated constant.
        let fd = unsafe { libc::memfd_create(c"wardian-hostexec".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: fd is the memory file just made.
        let sized = match unsafe { libc::ftruncate(fd, length) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        };
        let mapped = sized.and_then(|()| {
            let writable = map(fd, capacity, libc::PROT_READ | libc::PROT_WRITE)?;
            match map(fd, capacity, libc::PROT_READ | libc::PROT_EXEC) {
                Ok(executable) => Ok((writable, executable)),
                Err(error) => {
                    // SAFETY: mapped just above, with this length.
                    unsafe { libc::munmap(writable.as_ptr().cast(), capacity) };
                    Err(error)
                }
            }
        });
        // SAFETY: fd is open and not used again; the mappings keep the file.
        unsafe { libc::close(fd) };
        let (writable, executable) = mapped?;
        Ok(CodeBuffer {
            writable,
            executable,
            capacity,
            used: 0,
        })
    }

    /// Appends `code` at a 16-byte boundary and returns its executable address, or `None` when it
    /// does not fit.
    pub(super) fn append(&mut self, code: &[u8]) -> Option<NonNull<u8>> {
        let start = self.used.next_multiple_of(16);
        if code.len() > self.capacity.checked_sub(start)? {
            return None;
        }
        // SAFETY: start + code.len() ≤ capacity, and the writable mapping has that many bytes.
        unsafe {
            ptr::copy_nonoverlapping(code.as_ptr(), self.writable.as_ptr().add(start), code.len());
        }
        self.used = start + code.len();
        // SAFETY: start < capacity, inside the executable mapping.
        Some(unsafe { self.executable.add(start) })
    }

    /// Forgets all code. Addresses handed out before must not be called again.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }
}

impl Drop for CodeBuffer {
    fn drop(&mut self) {
        // SAFETY: both were mapped in `new` with this length and are not used after this.
        unsafe {
            libc::munmap(self.writable.as_ptr().cast(), self.capacity);
            libc::munmap(self.executable.as_ptr().cast(), self.capacity);
        }
    }
}

fn map(fd: libc::c_int, length: usize, protection: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a fresh shared mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0) };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mmap returned address zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_to_capacity_and_starts_again_after_clear() {
        let mut buffer = CodeBuffer::new(1).expect("memory file");
        let first = buffer.append(&[0xC3; 4000]).expect("fits");
        assert!(buffer.append(&[0xC3; 4000]).is_none());
        assert!(buffer.append(&[0xC3; 96]).is_some());
        assert!(buffer.append(&[0xC3]).is_none());
        buffer.clear();
        assert_eq!(buffer.append(&[0xC3]), Some(first));
    }

    #[test]
    fn no_mapping_is_writable_and_executable() {
        let _buffer = CodeBuffer::new(4096).expect("memory file");
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        assert!(maps.lines().any(|line| line.contains("wardian-hostexec")));
        assert!(!maps.lines().any(|line| line.contains("rwx")));
    }
}
