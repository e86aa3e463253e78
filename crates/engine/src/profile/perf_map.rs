//! The list of translated blocks that `perf` reads to put names on host addresses.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::{Mutex, PoisonError};

/// A file in the format of Linux's tools/perf/Documentation/jit-interface.txt: a line
/// `START SIZE NAME` for each block, numbers in hexadecimal.
///
/// The name of a block is `guest:k:RIP` for ring 0 to 2 and `guest:u:RIP` for ring 3. Names for the
/// addresses are put in later, by whoever knows the guest's symbols.
#[derive(Debug)]
pub struct PerfMap {
    file: Mutex<BufWriter<File>>,
}

impl PerfMap {
    /// Appends to `file`.
    #[must_use]
    pub fn new(file: File) -> Self {
        Self {
            file: Mutex::new(BufWriter::new(file)),
        }
    }

    /// Lists `size` bytes of host code at `host_start`: the translation of the block at `rip`.
    pub fn block(&self, host_start: u64, size: u64, rip: u64, user: bool) {
        let ring = if user { 'u' } else { 'k' };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk costs names in a report, and must not cost the guest anything.
        let _lost = writeln!(file, "{host_start:x} {size:x} guest:{ring}:{rip:#x}");
    }

    /// Brings what was listed so far into the file; it is not lost with the process then.
    pub fn flush(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let _lost = file.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};
    use std::os::fd::FromRawFd;

    use super::*;

    /// A file without a name.
    fn memory_file() -> File {
        // SAFETY: the name is a C string; the descriptor is new and nobody else's.
        unsafe {
            let descriptor = libc::memfd_create(c"perf-map".as_ptr(), libc::MFD_CLOEXEC);
            assert!(descriptor >= 0);
            File::from_raw_fd(descriptor)
        }
    }

    #[test]
    fn a_line_a_block() {
        let mut file = memory_file();
        let map = PerfMap::new(file.try_clone().unwrap());
        map.block(0x7f00_0000_1000, 0x40, 0xffff_ffff_8100_0010, false);
        map.block(0x7f00_0000_1040, 255, 0x40_1000, true);
        map.flush();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(
            text,
            "7f0000001000 40 guest:k:0xffffffff81000010\n7f0000001040 ff guest:u:0x401000\n"
        );
    }
}
