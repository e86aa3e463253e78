//! What a worker tells its parent, which has to survive the worker's death.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use iced_x86::Code;

use crate::contest::Verdict;
use crate::parts::Parts;

const CODES: usize = 5248;
const EXAMPLES_LEN: usize = 4 << 20;
/// Examples kept for each form.
const EXAMPLES_PER_CODE: u32 = 3;

/// One difference in full.
#[derive(Debug)]
pub struct Example {
    /// The form's number.
    pub code: u16,
    /// What differed; empty for a crash or a hang.
    pub parts: Parts,
    /// The case's number.
    pub index: u64,
    /// The report.
    pub text: String,
}

/// Memory that parent and one worker share.
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) current: AtomicU64,
    pub(crate) cases: AtomicU64,
    pub(crate) faulted: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) left: AtomicU64,
    pub(crate) differed: AtomicU64,
    pub(crate) stop: AtomicU64,
    examples_len: AtomicUsize,
    pub(crate) by_vector: [AtomicU64; 32],
    pub(crate) by_code: [AtomicU32; CODES],
    pub(crate) differed_by_code: [AtomicU32; CODES],
    examples: [core::cell::UnsafeCell<u8>; EXAMPLES_LEN],
}

impl Shared {
    /// A new one, all zero.
    pub(crate) fn map() -> io::Result<&'static Self> {
        // SAFETY: a fresh zeroed mapping is a valid `Shared`, whose fields are all integers; it is
        // never unmapped.
        unsafe {
            let memory = libc::mmap(
                core::ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if memory == libc::MAP_FAILED {
                return Err(io::Error::last_os_error());
            }
            Ok(&*memory.cast::<Shared>())
        }
    }

    /// Counts what the worker's case came to.
    pub(crate) fn record(&self, index: u64, verdict: Verdict) {
        let count = |counter: &AtomicU64| {
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        };
        match verdict {
            Verdict::Skipped => count(&self.skipped),
            Verdict::Left(_) => count(&self.left),
            Verdict::Agreed { codes, vector } => {
                count(&self.cases);
                if let Some(vector) = vector {
                    count(&self.faulted);
                    count(&self.by_vector[usize::from(vector & 31)]);
                }
                self.count_forms(&codes);
            }
            Verdict::Differed {
                codes,
                code,
                parts,
                text,
            } => {
                count(&self.cases);
                count(&self.differed);
                self.count_forms(&codes);
                let before = self.differed_by_code[code as usize].fetch_add(1, Relaxed);
                if before < EXAMPLES_PER_CODE {
                    self.add_example(code as u16, parts, index, &text);
                }
            }
        }
    }

    fn count_forms(&self, codes: &[Code]) {
        for code in codes {
            let counter = &self.by_code[*code as usize];
            counter.store(counter.load(Relaxed) + 1, Relaxed);
        }
    }

    /// Appends `code, parts, length, index, text`; drops the example when the space is used up.
    fn add_example(&self, code: u16, parts: Parts, index: u64, text: &str) {
        let start = self.examples_len.load(Relaxed);
        let mut record = Vec::with_capacity(text.len() + 16);
        record.extend(code.to_le_bytes());
        record.push(parts.0);
        record.push(0);
        record.extend((text.len() as u32).to_le_bytes());
        record.extend(index.to_le_bytes());
        record.extend(text.as_bytes());
        if start + record.len() > EXAMPLES_LEN {
            return;
        }
        for (offset, byte) in record.iter().enumerate() {
            // SAFETY: the one worker writes beyond `examples_len`, the parent reads below it and
            // only after the worker has ended.
            unsafe { *self.examples[start + offset].get() = *byte };
        }
        self.examples_len.store(start + record.len(), Relaxed);
    }

    /// The worker's examples, when it has ended.
    pub(crate) fn examples(&self) -> Vec<Example> {
        // SAFETY: the worker has ended; see `add_example`.
        let bytes: Vec<u8> = self.examples[..self.examples_len.load(Relaxed)]
            .iter()
            .map(|cell| unsafe { *cell.get() })
            .collect();
        let mut examples = Vec::new();
        let mut rest = &bytes[..];
        while rest.len() >= 16 {
            let (head, tail) = rest.split_at(16);
            let field = |range: core::ops::Range<usize>| {
                head[range]
                    .iter()
                    .rev()
                    .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
            };
            let length = field(4..8) as usize;
            let (text, next) = tail.split_at(length);
            examples.push(Example {
                code: field(0..2) as u16,
                parts: Parts(head[2]),
                index: field(8..16),
                text: String::from_utf8_lossy(text).into_owned(),
            });
            rest = next;
        }
        examples
    }
}
