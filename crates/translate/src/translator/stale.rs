//! What one vCPU has yet to forget of its translated code.
//!
//! Whoever stores to code notes the bytes here; the vCPU drops what it translated from them when it
//! next attends, which is before it passes another back edge, indirect transfer or serializing
//! instruction. A vCPU that decodes takes what waits here only *between* translations, never between
//! watching a page and keeping what came of it: then a note that arrives meanwhile drops it again.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use wardian_engine::signal::VcpuSignal;
use wardian_memory::CodeListener;

/// Ranges kept apart: beyond this, dropping everything costs less than looking for each.
const MAX_RANGES: usize = 256;

/// Guest-physical bytes that were stored to.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum Stale {
    /// None.
    #[default]
    Nothing,
    /// At most these: start and length of each, in the order of the stores.
    Ranges(Vec<(u64, u64)>),
    /// More than could be noted.
    Everything,
}

/// The stores to code that one vCPU has not attended to yet.
pub struct StaleCode {
    signal: Arc<VcpuSignal>,
    waiting: AtomicBool,
    noted: Mutex<Stale>,
}

impl StaleCode {
    /// Nothing stale yet; `signal` is the vCPU's own.
    #[must_use]
    pub fn new(signal: Arc<VcpuSignal>) -> Self {
        Self {
            signal,
            waiting: AtomicBool::new(false),
            noted: Mutex::default(),
        }
    }

    /// Whether nothing waits: one relaxed load. A vCPU's own stores show here at once, those of others
    /// as soon as it can know of anything they did after them.
    #[inline(always)]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.waiting.load(Ordering::Relaxed)
    }

    /// Hands over what waits, and clears [`VcpuSignal::CODE`]: for the vCPU's own thread.
    pub fn take(&self) -> Stale {
        // The bit first: a store that comes between raises it again.
        self.signal.take(VcpuSignal::CODE);
        let mut noted = self.lock();
        self.waiting.store(false, Ordering::Relaxed);
        mem::take(&mut *noted)
    }

    fn lock(&self) -> MutexGuard<'_, Stale> {
        self.noted.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl CodeListener for StaleCode {
    fn code_stored(&self, gpa: u64, length: u64) {
        let mut noted = self.lock();
        noted.add(gpa, length);
        self.waiting.store(true, Ordering::Relaxed);
        drop(noted);
        // A parked vCPU may sleep on: it attends before it runs code.
        self.signal.raise_for_later(VcpuSignal::CODE);
    }
}

impl Stale {
    fn add(&mut self, gpa: u64, length: u64) {
        match self {
            Self::Nothing => *self = Self::Ranges(vec![(gpa, length)]),
            Self::Ranges(ranges) => {
                if ranges
                    .last_mut()
                    .is_some_and(|last| merge(last, gpa, length))
                {
                    return;
                }
                if ranges.len() == MAX_RANGES {
                    *self = Self::Everything;
                } else {
                    ranges.push((gpa, length));
                }
            }
            Self::Everything => {}
        }
    }
}

/// Widens `last` by a range that touches it; false if there is a gap between them.
fn merge(last: &mut (u64, u64), gpa: u64, length: u64) -> bool {
    let (start, end) = (last.0, last.0 + last.1);
    if gpa > end || gpa + length < start {
        return false;
    }
    let merged = start.min(gpa);
    *last = (merged, end.max(gpa + length) - merged);
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;
    use std::thread;

    use wardian_memory::{GuestRam, PAGE_SIZE, PageRef};

    use super::*;
    use crate::cpu::int::Int;

    fn stale() -> (StaleCode, Arc<VcpuSignal>) {
        let signal = Arc::new(VcpuSignal::new());
        (StaleCode::new(Arc::clone(&signal)), signal)
    }

    #[test]
    fn what_was_noted_is_taken_once() {
        let (code, signal) = stale();
        assert!(code.is_empty());
        assert_eq!(code.take(), Stale::Nothing);
        code.code_stored(0x1000, 4);
        code.code_stored(0x3000, 8);
        assert!(!code.is_empty());
        assert_eq!(signal.pending(), VcpuSignal::CODE);
        let ranges = vec![(0x1000, 4), (0x3000, 8)];
        assert_eq!(code.take(), Stale::Ranges(ranges));
        assert!(code.is_empty());
        assert_eq!(signal.pending(), 0);
        assert_eq!(code.take(), Stale::Nothing);
    }

    #[test]
    fn stores_side_by_side_are_one_range() {
        let (code, _) = stale();
        for (gpa, length) in [
            (0x1008, 4),
            (0x100c, 4),
            (0x1004, 4),
            (0x1006, 1),
            (0x1000, 0x1000),
        ] {
            code.code_stored(gpa, length);
        }
        assert_eq!(code.take(), Stale::Ranges(vec![(0x1000, 0x1000)]));
    }

    #[test]
    fn too_many_ranges_are_everything() {
        let (code, _) = stale();
        for i in 0..MAX_RANGES as u64 {
            code.code_stored(i * 16, 1);
        }
        code.code_stored((MAX_RANGES as u64 - 1) * 16, 8);
        assert!(matches!(code.take(), Stale::Ranges(r) if r.len() == MAX_RANGES));
        for i in 0..=MAX_RANGES as u64 {
            code.code_stored(i * 16, 1);
        }
        assert_eq!(code.take(), Stale::Everything);
        assert_eq!(code.take(), Stale::Nothing);
    }

    /// Where two threads meet within nanoseconds, which a sleeping barrier would not do.
    #[derive(Default)]
    struct Meeting(AtomicU32);

    impl Meeting {
        /// Waits for the other thread to come as often as this one has: now for the `nth` time.
        fn come(&self, nth: u32) {
            self.0.fetch_add(1, Ordering::SeqCst);
            let mut spins = 0_u32;
            while self.0.load(Ordering::SeqCst) < 2 * nth {
                std::hint::spin_loop();
                spins += 1;
                if spins % 256 == 0 {
                    thread::yield_now();
                }
            }
        }
    }

    const ROUNDS: u32 = 6000;
    const ROUNDS_A_PAGE: u32 = 7;

    /// Where both threads of the race are in a round: one byte of code, in a new page now and then.
    fn place_of(ram: &GuestRam, round: u32) -> (PageRef, u64, *mut u8) {
        let offset = u64::from(round % 4096);
        let gpa = u64::from(round / ROUNDS_A_PAGE) * PAGE_SIZE + offset;
        let page = ram.page(gpa).unwrap();
        (page, gpa, page.hva.wrapping_add(offset as usize))
    }

    fn linger(turns: u32) {
        (0..turns).for_each(|_| std::hint::spin_loop());
    }

    /// A decoder and a storer meet at one byte of code, round after round: with the watch set, clear,
    /// being set and being cleared. When both are done, the decoder holds what the byte is, or it has
    /// been told and the generation it holds is old.
    #[test]
    fn a_decoder_never_ends_with_stale_bytes_and_no_notice() {
        let ram = GuestRam::new();
        ram.map(0, u64::from(ROUNDS / ROUNDS_A_PAGE + 1) * PAGE_SIZE)
            .unwrap();
        let (code, _) = stale();
        let code = Arc::new(code);
        ram.add_code_listener(Arc::clone(&code) as Arc<dyn CodeListener>);
        let meeting = Meeting::default();
        let (mut not_told, mut not_old, mut missed) = (0, 0, 0);
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    let (page, gpa, at) = place_of(&ram, round);
                    meeting.come(2 * round + 1);
                    linger(round * 7 % 61);
                    for i in 0..=(round % 4).pow(2) {
                        // SAFETY: the byte is RAM, which is alive.
                        unsafe { (i as u8 + 1).store(at) };
                        ram.stored(&page, gpa % PAGE_SIZE, 1);
                    }
                    meeting.come(2 * round + 2);
                }
            });
            for round in 0..ROUNDS {
                let (_, gpa, at) = place_of(&ram, round);
                code.take();
                meeting.come(2 * round + 1);
                linger(round * 5 % 53);
                let generation = ram.watch_code(gpa).unwrap();
                // SAFETY: as above.
                let held = unsafe { u8::load(at) };
                meeting.come(2 * round + 2);
                // The storer waits. Nothing may panic before it has ended.
                // SAFETY: as above.
                if held != unsafe { u8::load(at) } {
                    missed += 1;
                    not_told += u32::from(code.is_empty());
                    not_old += u32::from(ram.watch_code(gpa).unwrap() == generation);
                }
            }
        });
        assert_eq!((not_told, not_old), (0, 0), "of {missed} stores missed");
    }
}
