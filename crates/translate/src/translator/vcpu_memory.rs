//! Where a vCPU lives when its code is translated.
//!
//! Translated code keeps the address of its [`Cpu`] in the host's stack pointer: every field is one
//! `[rsp + offset]` away, and no register is lost to it. So a vCPU gets a mapping of its own:
//!
//! ```text
//! guard page | stack for signal handlers | Cpu | Fast (software TLB, branch tables)
//!                                          ^ host RSP while translated code runs
//! ```
//!
//! What the kernel pushes for a signal goes below the `Cpu`. Functions called from translated code
//! run on the thread's own stack.

use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr;

use super::fast::Fast;
use crate::cpu::Cpu;

/// Room for the kernel's signal frames: with the largest register states (AMX) about 11 KiB each.
const SIGNAL_STACK: usize = 256 << 10;
const PAGE: usize = 4096;
/// Bytes from a [`Cpu`] to its [`Fast`].
pub(super) const FAST_OFFSET: usize = size_of::<Cpu>().next_multiple_of(PAGE);
const LENGTH: usize = PAGE + SIGNAL_STACK + FAST_OFFSET + size_of::<Fast>().next_multiple_of(PAGE);

/// Owns the mapping; dereferences to the [`Cpu`] in it.
pub struct VcpuMemory {
    base: *mut u8,
}

// SAFETY: the mapping is owned by this value alone. The raw pointers in a vCPU point into guest RAM's
// tables, its own block cache and this mapping; nothing in it is tied to a thread.
unsafe impl Send for VcpuMemory {}

impl VcpuMemory {
    /// Moves `cpu` to where translated code can run it.
    ///
    /// # Errors
    /// The host's refusal of the memory.
    pub fn new(cpu: Cpu) -> io::Result<Self> {
        // SAFETY: a fresh private mapping; the guard is inside it.
        let base = unsafe {
            let base = libc::mmap(
                ptr::null_mut(),
                LENGTH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            );
            if base == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            if libc::mprotect(base, PAGE, libc::PROT_NONE) != 0 {
                let error = io::Error::last_os_error();
                libc::munmap(base, LENGTH);
                return Err(error);
            }
            base.cast::<u8>()
        };
        let mut memory = Self { base };
        // SAFETY: the place is mapped, page aligned, large enough, and holds no value yet.
        unsafe {
            memory.cpu().write(cpu);
            let fast = memory.cpu().byte_add(FAST_OFFSET).cast::<Fast>();
            (*fast).init();
            memory.fast = fast;
        }
        Ok(memory)
    }

    fn cpu(&self) -> *mut Cpu {
        // SAFETY: inside the mapping.
        unsafe { self.base.add(PAGE + SIGNAL_STACK).cast() }
    }
}

impl Deref for VcpuMemory {
    type Target = Cpu;

    fn deref(&self) -> &Cpu {
        // SAFETY: written in `new`, dropped in `drop`.
        unsafe { &*self.cpu() }
    }
}

impl DerefMut for VcpuMemory {
    fn deref_mut(&mut self) -> &mut Cpu {
        // SAFETY: as above; the borrow of `self` is exclusive.
        unsafe { &mut *self.cpu() }
    }
}

impl Drop for VcpuMemory {
    fn drop(&mut self) {
        // SAFETY: the value was written in `new` and is not used again; so is the mapping.
        unsafe {
            self.cpu().drop_in_place();
            libc::munmap(self.base.cast(), LENGTH);
        }
    }
}
