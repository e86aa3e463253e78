//! The machine's clock: one object that every timer, the TSC and the paravirtual clock read.
//!
//! Two host clocks meet here. Timers run on CLOCK_MONOTONIC, because that is what a thread can
//! sleep on. The guest's TSC is the host's TSC unchanged, because code that runs directly on the
//! host cannot be stopped from reading it. The two drift against each other by the calibration
//! error, so a TSC value is turned into nanoseconds relative to "now", never to machine start.

use std::arch::x86_64::{__cpuid, _rdtsc};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// How long the TSC is compared with CLOCK_MONOTONIC when CPUID does not tell its rate.
const CALIBRATION: Duration = Duration::from_millis(20);
/// Wall time of a manual clock at its nanosecond 0 (2020-01-01T00:00:00Z).
const MANUAL_EPOCH_NS: u64 = 1_577_836_800 * NS_PER_S;

#[derive(Debug)]
enum Source {
    Host { start_monotonic_ns: u64 },
    Manual { now_ns: AtomicU64 },
}

/// The machine's time. Shared by all threads; reading it never blocks.
#[derive(Debug)]
pub struct Clock {
    source: Source,
    tsc_hz: u64,
    /// Nanoseconds per TSC tick as a 32.32 fixed-point number.
    ns_per_tick: u64,
    /// Guest TSC at nanosecond 0.
    start_tsc: u64,
}

impl Clock {
    /// A clock that starts now. The first call in a process may take 20 ms to measure the TSC.
    #[must_use]
    pub fn new() -> Self {
        let tsc_hz = host_tsc_hz();
        let (start_tsc, start_monotonic_ns) = sample();
        Self::with(Source::Host { start_monotonic_ns }, tsc_hz, start_tsc)
    }

    /// A clock that stands still until [`Clock::advance_ns`], with a 1 GHz TSC that reads 0 at
    /// nanosecond 0. For deterministic tests.
    #[must_use]
    pub fn manual() -> Self {
        let now_ns = AtomicU64::new(0);
        Self::with(Source::Manual { now_ns }, NS_PER_S, 0)
    }

    fn with(source: Source, tsc_hz: u64, start_tsc: u64) -> Self {
        let ns_per_tick = (u128::from(NS_PER_S) << 32) / u128::from(tsc_hz);
        Self {
            source,
            tsc_hz,
            ns_per_tick: u64::try_from(ns_per_tick).unwrap_or(u64::MAX),
            start_tsc,
        }
    }

    /// Moves a manual clock forward; a host clock moves by itself and ignores this.
    pub fn advance_ns(&self, ns: u64) {
        if let Source::Manual { now_ns } = &self.source {
            now_ns.fetch_add(ns, Ordering::SeqCst);
        }
    }

    /// The TSC's rate in Hz, a whole number of kHz, the same for the life of the process.
    #[must_use]
    pub fn tsc_hz(&self) -> u64 {
        self.tsc_hz
    }

    /// Nanoseconds since this clock was made.
    #[must_use]
    #[inline]
    pub fn now_ns(&self) -> u64 {
        match &self.source {
            Source::Host { start_monotonic_ns } => {
                host_ns(libc::CLOCK_MONOTONIC).saturating_sub(*start_monotonic_ns)
            }
            Source::Manual { now_ns } => now_ns.load(Ordering::SeqCst),
        }
    }

    /// The guest's TSC with offset 0, which is the host's TSC.
    #[must_use]
    #[inline]
    pub fn tsc(&self) -> u64 {
        match &self.source {
            Source::Host { .. } => host_tsc(),
            Source::Manual { now_ns } => now_ns.load(Ordering::SeqCst),
        }
    }

    /// When the TSC reads, or read, `tsc`, on the [`Clock::now_ns`] scale. A moment before this
    /// clock was made is 0; one too far away to express is `u64::MAX`.
    #[must_use]
    pub fn tsc_to_ns(&self, tsc: u64) -> u64 {
        let now_tsc = self.tsc();
        let now_ns = self.now_ns();
        if tsc >= now_tsc {
            now_ns.saturating_add(self.ticks_to_ns(tsc - now_tsc))
        } else {
            now_ns.saturating_sub(self.ticks_to_ns(now_tsc - tsc))
        }
    }

    /// Wall-clock time: nanoseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn wall_ns(&self) -> u64 {
        match &self.source {
            Source::Host { .. } => host_ns(libc::CLOCK_REALTIME),
            Source::Manual { now_ns } => {
                MANUAL_EPOCH_NS.saturating_add(now_ns.load(Ordering::SeqCst))
            }
        }
    }

    /// What a pvclock page says: `(tsc_timestamp, system_time_ns, tsc_to_system_mul, tsc_shift)`.
    ///
    /// The guest computes `system_time + (((tsc - tsc_timestamp) << tsc_shift) * mul >> 32)`, a
    /// negative shift meaning a right shift (Linux Documentation/virt/kvm/x86/msr.rst,
    /// MSR_KVM_SYSTEM_TIME_NEW). The answer never changes during the life of the clock: with one
    /// anchor for all vCPUs and all times the guest's clock is monotonic across vCPUs, so the
    /// stable bit may be set.
    #[must_use]
    pub fn pvclock(&self) -> (u64, u64, u32, i8) {
        let (mul, shift) = pvclock_scale(self.tsc_hz);
        (self.start_tsc, 0, mul, shift)
    }

    /// A span of TSC ticks in nanoseconds, rounded down; `u64::MAX` if it does not fit.
    #[must_use]
    pub fn ticks_to_ns(&self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32;
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// `mul` in 2^31..2^32 and `shift` with `ns = ((ticks << shift) * mul) >> 32`, for `hz` >= 1.
fn pvclock_scale(hz: u64) -> (u32, i8) {
    let mut scaled = u128::from(hz);
    let mut shift: i8 = 0;
    while scaled > 2 * u128::from(NS_PER_S) {
        scaled >>= 1;
        shift -= 1;
    }
    while scaled <= u128::from(NS_PER_S) {
        scaled <<= 1;
        shift += 1;
    }
    // From the exact rate and not from `scaled`, whose low bits the right shifts have dropped.
    let exponent = u32::try_from(32 - i32::from(shift)).unwrap_or(0);
    let mul = (u128::from(NS_PER_S) << exponent) / u128::from(hz);
    (u32::try_from(mul).unwrap_or(u32::MAX), shift)
}

#[inline]
fn host_tsc() -> u64 {
    // SAFETY: RDTSC exists on every x86-64 CPU and touches no memory.
    unsafe { _rdtsc() }
}

#[inline]
fn host_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid timespec that outlives the call. The call cannot fail for the two
    // clocks used here, and a failure would leave the zeroes.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec.unsigned_abs())
        .wrapping_mul(NS_PER_S)
        .wrapping_add(time.tv_nsec.unsigned_abs())
}

/// The TSC and CLOCK_MONOTONIC at one instant: the tightest of several tries, so that a
/// preemption between the two reads does not count.
fn sample() -> (u64, u64) {
    let mut best = (u64::MAX, 0, 0);
    for _ in 0..16 {
        let before = host_tsc();
        let ns = host_ns(libc::CLOCK_MONOTONIC);
        let width = host_tsc().saturating_sub(before);
        if width < best.0 {
            best = (width, before + width / 2, ns);
        }
    }
    (best.1, best.2)
}

fn host_tsc_hz() -> u64 {
    static TSC_HZ: OnceLock<u64> = OnceLock::new();
    *TSC_HZ.get_or_init(|| {
        let hz = cpuid_tsc_hz().unwrap_or_else(measured_tsc_hz);
        // A whole number of kHz, since that is how guests are told; never 0.
        (hz.saturating_add(500) / 1000).max(1) * 1000
    })
}

/// CPUID leaf 15h: TSC = crystal * EBX / EAX (Intel SDM vol 2, CPUID). A zero field means that the
/// CPU does not say.
fn cpuid_tsc_hz() -> Option<u64> {
    // SAFETY: CPUID exists on every x86-64 CPU and touches no memory. Newer compilers know that.
    #[allow(unused_unsafe)]
    let (highest, leaf) = unsafe { (__cpuid(0).eax, __cpuid(0x15)) };
    if highest < 0x15 || leaf.eax == 0 || leaf.ebx == 0 || leaf.ecx == 0 {
        return None;
    }
    Some(u64::from(leaf.ecx) * u64::from(leaf.ebx) / u64::from(leaf.eax))
}

fn measured_tsc_hz() -> u64 {
    let (tsc0, ns0) = sample();
    std::thread::sleep(CALIBRATION);
    let (tsc1, ns1) = sample();
    let ticks = u128::from(tsc1.saturating_sub(tsc0));
    let ns = u128::from(ns1.saturating_sub(ns0).max(1));
    u64::try_from(ticks * u128::from(NS_PER_S) / ns).unwrap_or(NS_PER_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual();
        assert_eq!((clock.now_ns(), clock.tsc()), (0, 0));
        clock.advance_ns(1500);
        assert_eq!((clock.now_ns(), clock.tsc()), (1500, 1500));
        assert_eq!(clock.wall_ns(), MANUAL_EPOCH_NS + 1500);
    }

    #[test]
    fn tsc_converts_both_ways_from_now_and_saturates() {
        let clock = Clock::manual();
        clock.advance_ns(1000);
        assert_eq!(clock.tsc_to_ns(400), 400);
        assert_eq!(clock.tsc_to_ns(5000), 5000);
        let fast = Clock::with(
            Source::Manual {
                now_ns: AtomicU64::new(0),
            },
            1000,
            0,
        );
        assert_eq!(fast.tsc_to_ns(u64::MAX), u64::MAX);
        assert_eq!(fast.tsc_to_ns(3), 3_000_000);
    }

    #[test]
    fn the_host_clock_agrees_with_its_own_tsc() {
        let clock = Clock::new();
        assert_eq!(clock.tsc_hz() % 1000, 0);
        assert_eq!(clock.tsc_hz(), Clock::new().tsc_hz());
        let ns = clock.tsc_to_ns(clock.tsc() + clock.tsc_hz());
        let ahead = ns - clock.now_ns();
        assert!(
            ahead <= NS_PER_S && ahead > NS_PER_S / 2,
            "one second ahead is {ahead} ns"
        );
        clock.advance_ns(1 << 60);
        assert!(clock.now_ns() < 1 << 60);
    }

    #[test]
    fn pvclock_scale_is_within_a_part_per_billion() {
        for hz in [
            1_000,
            19_200_000,
            999_999_000,
            1_000_000_000,
            2_000_000_000,
            2_445_406_000,
        ] {
            let (mul, shift) = pvclock_scale(hz);
            assert!(mul >= 1 << 31, "{hz}: multiplier {mul:#x} wastes precision");
            let ticks = u128::from(hz) * 10;
            let shifted = if shift < 0 {
                ticks >> -shift
            } else {
                ticks << shift
            };
            let ns = (shifted * u128::from(mul)) >> 32;
            assert!(
                ns.abs_diff(10 * u128::from(NS_PER_S)) <= 10,
                "{hz}: ten seconds are {ns}"
            );
        }
    }

    #[test]
    fn pvclock_has_one_anchor_for_ever() {
        let clock = Clock::manual();
        let first = clock.pvclock();
        clock.advance_ns(12345);
        assert_eq!(clock.pvclock(), first);
        assert_eq!((first.0, first.1), (0, 0));
    }
}
