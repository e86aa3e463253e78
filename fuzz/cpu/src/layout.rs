//! Where everything lies in virtual memory.
//!
//! The same addresses are mapped in the host process and in the interpreter's guest, so that a
//! pointer in a register means the same thing to both. All of them are below 2 GiB, so that a
//! 32-bit displacement, a RIP-relative operand and 32-bit code reach them.

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;

/// Two executable, read-only pages; the pages on both sides are not mapped.
pub const CODE_BASE: u64 = 0x2000_0000;
/// Length of the code window in bytes.
pub const CODE_LEN: u64 = 2 * PAGE;

/// Two writable pages and then one read-only page; the pages on both sides are not mapped. That
/// gives every kind of page crossing: into the window, inside it, into the read-only page and out
/// of the window.
pub const DATA_BASE: u64 = 0x3000_0000;
/// Length of the writable part of the data window in bytes.
pub const DATA_WRITABLE: u64 = 2 * PAGE;
/// Length of the whole data window in bytes.
pub const DATA_LEN: u64 = 3 * PAGE;

/// FS base of every 64-bit case, and of the `FS_SELECTOR_32` descriptor.
pub const FS_BASE: u64 = DATA_BASE + PAGE;
/// GS base of every 64-bit case, and of the `GS_SELECTOR_32` descriptor.
pub const GS_BASE: u64 = DATA_BASE;
/// Limit of the `GS_SELECTOR_32` descriptor: ends in the middle of the second data page, so that
/// the segment limit can be crossed where the paging does not fault.
pub const GS_LIMIT_32: u32 = 0x17ff;

/// The harness's own code and its exchange frame. It exists only in the host process; no generated
/// address may lie in it, so it is no small sum of the others.
pub const HARNESS_BASE: u64 = 0x7654_0000;
/// Length of the harness's window in bytes.
pub const HARNESS_LEN: u64 = 4 * PAGE;

/// Linux's selector of 64-bit user code (GDT entry 6, RPL 3).
pub const USER_CS_64: u16 = 0x33;
/// Linux's selector of 32-bit user code (GDT entry 4, RPL 3).
pub const USER_CS_32: u16 = 0x23;
/// Linux's selector of user data (GDT entry 5, RPL 3).
pub const USER_DS: u16 = 0x2b;
/// The first TLS descriptor (GDT entry 12, RPL 3): flat 4 GiB from `FS_BASE`.
pub const FS_SELECTOR_32: u16 = 0x63;
/// The second TLS descriptor (GDT entry 13, RPL 3): `GS_BASE`, limit `GS_LIMIT_32` in bytes.
pub const GS_SELECTOR_32: u16 = 0x6b;

/// Whether `length` bytes at `address` touch memory that only the host process has.
pub fn touches_harness(address: u64, length: u64) -> bool {
    let end = address.wrapping_add(length);
    address < HARNESS_BASE + HARNESS_LEN && end > HARNESS_BASE
}

/// The offset into the data window of an access that lies wholly inside it.
pub fn data_offset(address: u64, length: u64) -> Option<usize> {
    let offset = address.checked_sub(DATA_BASE)?;
    if offset.checked_add(length)? <= DATA_LEN {
        usize::try_from(offset).ok()
    } else {
        None
    }
}
