//! What other threads tell a vCPU, and how a halted vCPU sleeps until they do.
//!
//! One word of attention bits per vCPU. The run loop reads it at every block, so the read is one
//! relaxed load; setting a bit costs a system call only when the vCPU is parked.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Clock;

/// How long a halted vCPU spins before it sleeps: about half of what a cross-CPU wake-up costs.
const HALT_POLL_NS: u64 = 50_000;
/// With this many host CPUs or fewer, spinning only takes time from whoever would wake us.
const TOO_FEW_CPUS_TO_POLL: usize = 2;

/// The attention bits of one vCPU. Any thread may raise; the vCPU's own thread takes and waits.
#[derive(Debug)]
pub struct VcpuSignal {
    attention: AtomicU32,
    parked: AtomicU32,
    halt_poll_ns: u64,
}

impl VcpuSignal {
    /// An interrupt, NMI, INIT or start-up message may be waiting at the interrupt controller.
    pub const IRQ: u32 = 1 << 0;
    /// Leave `run` with "interrupted".
    pub const KICK: u32 = 1 << 1;
    /// A timer this vCPU polls was changed by another thread: read the next deadline again.
    pub const TIMER: u32 = 1 << 2;
    /// Code this vCPU may have translated was stored to: it waits to be dropped.
    pub const CODE: u32 = 1 << 3;
    /// Record where the vCPU is ([`crate::profile::Profiler::record`]).
    pub const SAMPLE: u32 = 1 << 4;

    /// No bits set; polls before it sleeps where the host has CPUs to spare.
    #[must_use]
    pub fn new() -> Self {
        Self::with_halt_poll(default_halt_poll_ns())
    }

    /// No bits set; spins for `halt_poll_ns` nanoseconds before it sleeps (0: sleeps at once).
    #[must_use]
    pub fn with_halt_poll(halt_poll_ns: u64) -> Self {
        Self {
            attention: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            halt_poll_ns,
        }
    }

    /// Sets `bits` and wakes the vCPU if it is parked. What the caller wrote before is visible to
    /// the vCPU once it has taken a bit.
    pub fn raise(&self, bits: u32) {
        self.attention.fetch_or(bits, Ordering::SeqCst);
        // SeqCst on both words: either we see `parked`, or the parker sees our bit.
        if self.parked.load(Ordering::SeqCst) != 0 {
            self.futex_wake();
        }
    }

    /// Sets `bits` without waking a parked vCPU: for what need not be done before it runs again.
    /// Otherwise as [`VcpuSignal::raise`].
    pub fn raise_for_later(&self, bits: u32) {
        self.attention.fetch_or(bits, Ordering::SeqCst);
    }

    /// Where the bits are, for translated code that looks at them by itself: non-zero means that the
    /// vCPU has to attend. Valid as long as the signal.
    #[must_use]
    pub fn attention_word(&self) -> *const u32 {
        self.attention.as_ptr()
    }

    /// The bits set now. Cheap enough for every block; orders nothing, [`VcpuSignal::take`] does.
    #[must_use]
    #[inline(always)]
    pub fn pending(&self) -> u32 {
        self.attention.load(Ordering::Relaxed)
    }

    /// Clears `bits` and returns those of them that were set.
    pub fn take(&self, bits: u32) -> u32 {
        self.attention.fetch_and(!bits, Ordering::SeqCst) & bits
    }

    /// Parks until a bit is set, or until `clock` reaches `deadline_ns` ([`Clock::now_ns`] scale;
    /// `None` and `u64::MAX` mean no deadline). Only the vCPU's own thread may call it.
    pub fn wait(&self, deadline_ns: Option<u64>, clock: &Clock) {
        let deadline_ns = deadline_ns.unwrap_or(u64::MAX);
        if self.poll(deadline_ns, clock) {
            return;
        }
        self.parked.store(1, Ordering::SeqCst);
        while self.attention.load(Ordering::SeqCst) == 0 {
            let now_ns = clock.now_ns();
            if now_ns >= deadline_ns {
                break;
            }
            let timeout = (deadline_ns != u64::MAX).then(|| deadline_ns - now_ns);
            if self.futex_wait(timeout) {
                break;
            }
        }
        self.parked.store(0, Ordering::SeqCst);
    }

    /// Spins for a while; true when there is no need to sleep any more.
    fn poll(&self, deadline_ns: u64, clock: &Clock) -> bool {
        if self.attention.load(Ordering::SeqCst) != 0 {
            return true;
        }
        if self.halt_poll_ns == 0 {
            return false;
        }
        let start_ns = clock.now_ns();
        let give_up_ns = start_ns.saturating_add(self.halt_poll_ns);
        let mut now_ns = start_ns;
        while now_ns < give_up_ns {
            if now_ns >= deadline_ns {
                return true;
            }
            for _ in 0..64 {
                if self.attention.load(Ordering::SeqCst) != 0 {
                    return true;
                }
                std::hint::spin_loop();
            }
            let later_ns = clock.now_ns();
            if later_ns == now_ns {
                // A manual clock stands still: sleeping is the only way on.
                return false;
            }
            now_ns = later_ns;
        }
        false
    }

    /// Sleeps while no bit is set; true when the time-out, in nanoseconds, has passed.
    fn futex_wait(&self, timeout_ns: Option<u64>) -> bool {
        let timeout = timeout_ns.map(|ns| {
            let time = Duration::from_nanos(ns);
            libc::timespec {
                tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(time.subsec_nanos()),
            }
        });
        let timeout_ptr = timeout
            .as_ref()
            .map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the word and the timespec (or null) outlive the call. FUTEX_WAIT compares the
        // word with 0 and sleeps; its relative time-out runs on CLOCK_MONOTONIC (futex(2)).
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.attention.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                0u32,
                timeout_ptr,
            )
        };
        result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT)
    }

    fn futex_wake(&self) {
        // SAFETY: the word is alive; FUTEX_WAKE only uses its address.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.attention.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                1,
            );
        }
    }
}

impl Default for VcpuSignal {
    fn default() -> Self {
        Self::new()
    }
}

/// Counted once per process: asking costs several system calls and a cgroup file.
fn default_halt_poll_ns() -> u64 {
    static POLL_NS: OnceLock<u64> = OnceLock::new();
    *POLL_NS.get_or_init(|| {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        if cpus <= TOO_FEW_CPUS_TO_POLL {
            0
        } else {
            HALT_POLL_NS
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn take_clears_only_what_was_asked_for() {
        let signal = VcpuSignal::new();
        signal.raise(VcpuSignal::IRQ | VcpuSignal::KICK);
        assert_eq!(
            signal.take(VcpuSignal::KICK | VcpuSignal::TIMER),
            VcpuSignal::KICK
        );
        assert_eq!(signal.pending(), VcpuSignal::IRQ);
        assert_eq!(signal.take(u32::MAX), VcpuSignal::IRQ);
        assert_eq!(signal.pending(), 0);
    }

    #[test]
    fn waiting_ends_at_once_with_a_bit_set_or_the_deadline_past() {
        let clock = Clock::manual();
        for poll_ns in [0, 1000] {
            let signal = VcpuSignal::with_halt_poll(poll_ns);
            clock.advance_ns(10);
            signal.wait(Some(10), &clock);
            signal.raise(VcpuSignal::KICK);
            signal.wait(None, &clock);
            assert_eq!(signal.pending(), VcpuSignal::KICK);
        }
    }

    #[test]
    fn what_is_raised_for_later_is_pending() {
        let signal = VcpuSignal::new();
        signal.raise_for_later(VcpuSignal::CODE);
        signal.raise_for_later(VcpuSignal::SAMPLE);
        assert_eq!(signal.pending(), VcpuSignal::CODE | VcpuSignal::SAMPLE);
    }

    #[test]
    fn a_deadline_ends_the_sleep() {
        let clock = Clock::new();
        let signal = VcpuSignal::with_halt_poll(0);
        let deadline_ns = clock.now_ns() + 100_000;
        signal.wait(Some(deadline_ns), &clock);
        assert!(clock.now_ns() >= deadline_ns);
    }

    #[test]
    fn raising_wakes_a_parked_vcpu_every_time() {
        let clock = Arc::new(Clock::new());
        for poll_ns in [0, HALT_POLL_NS] {
            let ping = Arc::new(VcpuSignal::with_halt_poll(poll_ns));
            let pong = Arc::new(VcpuSignal::with_halt_poll(poll_ns));
            let thread = {
                let (ping, pong, clock) = (ping.clone(), pong.clone(), clock.clone());
                std::thread::spawn(move || {
                    for _ in 0..200 {
                        ping.wait(None, &clock);
                        assert_eq!(ping.take(u32::MAX), VcpuSignal::IRQ);
                        pong.raise(VcpuSignal::IRQ);
                    }
                })
            };
            for _ in 0..200 {
                ping.raise(VcpuSignal::IRQ);
                pong.wait(None, &clock);
                assert_eq!(pong.take(u32::MAX), VcpuSignal::IRQ);
            }
            thread.join().unwrap();
        }
    }
}
