//! Where a guest spends its time, seen from outside.
//!
//! A thread of its own raises [`VcpuSignal::SAMPLE`] on every vCPU at a steady rate. A vCPU that
//! finds the bit, between two blocks of guest code, records where it is; nothing else of it stops,
//! and whoever reads the counts does not make it wait either. Without a profile running the cost is
//! nothing: the run loop looks at that word anyway.
//!
//! The place of a sample is a block: translated code names the one it leaves, and the interpreter,
//! which does not remember it, the one it enters.

mod perf_map;
mod sampler;
mod samples;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use perf_map::PerfMap;
pub use samples::{Place, Samples};

use crate::contract::EngineError;
use crate::signal::VcpuSignal;
use sampler::Sampler;

/// Samples a second that [`Profiler::start`] takes at most.
pub const MAX_HZ: u32 = 10_000;

/// The profile of one machine: what its vCPUs recorded, and who makes them.
#[derive(Debug, Default)]
pub struct Profiler {
    vcpus: Arc<[VcpuProfile]>,
    sampler: Mutex<Option<Sampler>>,
    perf_map: OnceLock<PerfMap>,
}

/// One vCPU as the sampler sees it.
#[derive(Debug)]
struct VcpuProfile {
    signal: Arc<VcpuSignal>,
    samples: Samples,
}

impl Profiler {
    /// Over the vCPUs behind `signals`, in their order; nothing is sampled yet.
    #[must_use]
    pub fn new(signals: &[Arc<VcpuSignal>]) -> Self {
        let vcpu = |signal: &Arc<VcpuSignal>| VcpuProfile {
            signal: Arc::clone(signal),
            samples: Samples::default(),
        };
        Self {
            vcpus: signals.iter().map(vcpu).collect(),
            ..Self::default()
        }
    }

    /// Samples every vCPU `hz` times a second (at least 1, at most [`MAX_HZ`]) from now on. A
    /// sampling that runs already ends; what it found stays and is added to.
    ///
    /// # Errors
    /// [`EngineError::Host`] when the host refuses a thread.
    pub fn start(&self, hz: u32) -> Result<(), EngineError> {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        *sampler = None;
        let started = Sampler::start(Arc::clone(&self.vcpus), hz.clamp(1, MAX_HZ));
        *sampler = Some(started.map_err(|e| EngineError::Host(e.to_string()))?);
        Ok(())
    }

    /// Ends the sampling; what it found stays.
    pub fn stop(&self) {
        let mut sampler = self.sampler.lock().unwrap_or_else(PoisonError::into_inner);
        *sampler = None;
    }

    /// For the thread of vCPU `index`, once it has taken [`VcpuSignal::SAMPLE`]: it is at `place`.
    pub fn record(&self, index: usize, place: Place) {
        if let Some(vcpu) = self.vcpus.get(index) {
            vcpu.samples.record(place);
        }
    }

    /// What each vCPU recorded so far, in the order of the vCPUs.
    pub fn samples(&self) -> impl Iterator<Item = &Samples> {
        self.vcpus.iter().map(|vcpu| &vcpu.samples)
    }

    /// Writes every block that is translated from now on into `map`; for once in a machine's life,
    /// a second map is dropped.
    pub fn set_perf_map(&self, map: PerfMap) {
        // Which of two maps is kept makes no difference to the guest, so there is nothing to report.
        let _second = self.perf_map.set(map);
    }

    /// Where translated blocks are listed, if anybody asked for it.
    #[must_use]
    pub fn perf_map(&self) -> Option<&PerfMap> {
        self.perf_map.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(rip: u64) -> Place {
        Place {
            rip,
            user: false,
            translated: true,
            halted: false,
        }
    }

    #[test]
    fn the_sampler_raises_the_bit_until_it_is_stopped() {
        let clock = crate::clock::Clock::new();
        let signal = Arc::new(VcpuSignal::with_halt_poll(0));
        let profiler = Profiler::new(&[Arc::clone(&signal)]);
        profiler.start(MAX_HZ).unwrap();
        for _ in 0..3 {
            signal.wait(None, &clock);
            assert_eq!(signal.take(u32::MAX), VcpuSignal::SAMPLE);
            profiler.record(0, place(0x1000));
        }
        profiler.stop();
        signal.take(u32::MAX);
        assert_eq!(signal.pending(), 0);
        let all: Vec<_> = profiler.samples().flat_map(Samples::counts).collect();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, place(0x1000));
        assert!(all[0].1 >= 3);
    }

    #[test]
    fn a_second_start_adds_to_the_first() {
        let profiler = Profiler::new(&[Arc::new(VcpuSignal::new())]);
        profiler.start(1).unwrap();
        profiler.start(0).unwrap();
        profiler.record(0, place(1));
        profiler.record(1, place(2));
        assert!(profiler.samples().flat_map(Samples::counts).count() <= 1);
    }
}
