//! What is compared with the host: the one interface the differential needs of it.

use crate::state::{Case, Outcome};

/// Something that can run instructions of ring 3 with a data window of its own.
pub trait Subject {
    /// Runs the case on the data window as it is.
    fn run_one(&mut self, case: &Case) -> Outcome;

    /// The data window, `DATA_LEN` bytes, for the harness to prepare and to inspect.
    fn data(&mut self) -> &mut [u8];

    /// Whether it has a CPU model: if not, forms outside every model are not asked of it.
    fn has_model(&self) -> bool {
        true
    }

    /// Whether the flags it reports at a fault are all as the program left them. A translator may
    /// destroy those that nothing behind the fault reads.
    fn has_exact_flags(&self) -> bool {
        true
    }

    /// Overwrites the whole data window, its read-only page included.
    fn fill_data(&mut self, bytes: &[u8]) {
        self.data().copy_from_slice(bytes);
    }
}
