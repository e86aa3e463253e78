//! Memory at fixed addresses, and the same memory elsewhere.

use std::io;

/// New memory, as a file that can be mapped more than once.
pub(crate) fn shared_memory(length: u64) -> io::Result<libc::c_int> {
    // SAFETY: the name is a C string; the descriptor is checked.
    unsafe {
        let file = libc::memfd_create(c"fuzz-cpu".as_ptr(), libc::MFD_CLOEXEC);
        if file < 0 || libc::ftruncate(file, length as libc::off_t) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(file)
    }
}

/// Maps the file at an address where nothing is mapped yet.
pub(crate) fn map_at(
    address: u64,
    length: u64,
    protection: i32,
    file: libc::c_int,
) -> io::Result<()> {
    let flags = libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE | libc::MAP_POPULATE;
    // SAFETY: NOREPLACE cannot disturb an existing mapping.
    let mapped = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            length as usize,
            protection,
            flags,
            file,
            0,
        )
    };
    if mapped as u64 == address {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Maps the file, writable, where the kernel likes.
pub(crate) fn map_anywhere(length: u64, file: libc::c_int) -> io::Result<*mut u8> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let mapped = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            length as usize,
            protection,
            flags,
            file,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped.cast())
}

/// Changes what may be done with a window.
pub(crate) fn protect(address: u64, length: u64, protection: i32) -> io::Result<()> {
    // SAFETY: only called on the windows, which `map_at` mapped.
    let result =
        unsafe { libc::mprotect(address as *mut libc::c_void, length as usize, protection) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
