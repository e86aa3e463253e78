//! One vCPU's samples: a table of fixed size that one thread writes and any thread reads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Places a vCPU can tell apart. A power of two; 24 bytes each, allocated by the first profile.
const PLACES: usize = 1 << 14;
/// Neighbours that are tried before a place is given up.
const PROBES: usize = 64;

const USED: u32 = 1 << 0;
const USER: u32 = 1 << 1;
const TRANSLATED: u32 = 1 << 2;
const HALTED: u32 = 1 << 3;

/// Where a vCPU is, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of the block that runs next.
    pub rip: u64,
    /// At ring 3; otherwise at ring 0 to 2.
    pub user: bool,
    /// Coming out of translated code; otherwise the interpreter runs.
    pub translated: bool,
    /// Asleep in HLT, or waiting for its start-up message.
    pub halted: bool,
}

impl Place {
    fn kind(self) -> u32 {
        let bit = |set: bool, bit: u32| if set { bit } else { 0 };
        USED | bit(self.user, USER) | bit(self.translated, TRANSLATED) | bit(self.halted, HALTED)
    }

    fn new(rip: u64, kind: u32) -> Self {
        Self {
            rip,
            user: kind & USER != 0,
            translated: kind & TRANSLATED != 0,
            halted: kind & HALTED != 0,
        }
    }

    fn hash(self) -> usize {
        // Fibonacci hashing: the upper half of the product depends on every bit below it.
        let mixed = (self.rip ^ u64::from(self.kind()) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize
    }
}

/// What one vCPU recorded: a count for each [`Place`]. The vCPU's own thread records, another says
/// what is due, and any thread may read meanwhile.
#[derive(Debug, Default)]
pub struct Samples {
    /// Sampling periods that have passed since the vCPU last recorded.
    due: AtomicU64,
    /// Samples of places for which the table had no room.
    lost: AtomicU64,
    slots: OnceLock<Box<[Slot]>>,
}

/// A place and its count. Free while `kind` is zero; never freed.
#[derive(Debug, Default)]
struct Slot {
    rip: AtomicU64,
    count: AtomicU64,
    kind: AtomicU32,
}

impl Samples {
    /// Makes the table; before that nothing is recorded.
    pub(super) fn prepare(&self) {
        self.slots
            .get_or_init(|| (0..PLACES).map(|_| Slot::default()).collect());
    }

    /// Another sampling period has passed.
    pub(super) fn tick(&self) {
        self.due.fetch_add(1, Ordering::Relaxed);
    }

    /// Charges what is due to `place`: a vCPU that was kept from recording, by a device perhaps, has
    /// been there all the time. Only the vCPU's own thread may call it.
    pub(super) fn record(&self, place: Place) {
        let weight = self.due.swap(0, Ordering::Relaxed);
        let Some(slots) = self.slots.get() else {
            return;
        };
        let (first, kind) = (place.hash(), place.kind());
        for probe in 0..PROBES {
            let slot = &slots[(first + probe) & (PLACES - 1)];
            let found = slot.kind.load(Ordering::Relaxed);
            if found == 0 {
                slot.rip.store(place.rip, Ordering::Relaxed);
                slot.count.store(weight, Ordering::Relaxed);
                // Whoever sees the kind sees the address.
                slot.kind.store(kind, Ordering::Release);
                return;
            }
            if found == kind && slot.rip.load(Ordering::Relaxed) == place.rip {
                slot.count.fetch_add(weight, Ordering::Relaxed);
                return;
            }
        }
        self.lost.fetch_add(weight, Ordering::Relaxed);
    }

    /// Every place and how many sampling periods were spent there, in no order.
    pub fn counts(&self) -> impl Iterator<Item = (Place, u64)> {
        let slots = self.slots.get().map_or(&[][..], |slots| slots);
        slots.iter().filter_map(|slot| {
            let kind = slot.kind.load(Ordering::Acquire);
            let count = slot.count.load(Ordering::Relaxed);
            let place = Place::new(slot.rip.load(Ordering::Relaxed), kind);
            (kind != 0 && count != 0).then_some((place, count))
        })
    }

    /// Samples of places for which there was no room any more.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn record(samples: &Samples, place: Place, times: u64) {
        for _ in 0..times {
            samples.tick();
        }
        samples.record(place);
    }

    #[test]
    fn places_are_told_apart_by_address_ring_tier_and_sleep() {
        let samples = Samples::default();
        samples.prepare();
        let mut expected = HashMap::new();
        for kind in 0..8u32 {
            for rip in [0, 0xffff_ffff_8100_0000, 0x40_1000] {
                let place = Place::new(rip, kind << 1);
                record(&samples, place, u64::from(kind) + 1);
                record(&samples, place, 2);
                expected.insert((rip, place.kind()), u64::from(kind) + 3);
            }
        }
        let found: HashMap<_, _> = samples
            .counts()
            .map(|(place, count)| ((place.rip, place.kind()), count))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(samples.lost(), 0);
    }

    #[test]
    fn memory_is_bounded_and_no_sample_vanishes() {
        let samples = Samples::default();
        samples.prepare();
        let places = 2 * PLACES as u64;
        for rip in 0..places {
            record(&samples, Place::new(rip << 4, 0), 3);
        }
        let counted: u64 = samples.counts().map(|(_, count)| count).sum();
        assert_eq!(counted + samples.lost(), 3 * places);
        assert!(samples.counts().count() > PLACES * 3 / 4);
    }

    #[test]
    fn nothing_is_recorded_before_the_first_profile() {
        let samples = Samples::default();
        record(&samples, Place::new(1, 0), 1);
        assert_eq!(samples.counts().count(), 0);
        samples.prepare();
        record(&samples, Place::new(1, 0), 1);
        assert_eq!(samples.counts().count(), 1);
    }
}
