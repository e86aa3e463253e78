//! The thread that tells every vCPU when to record where it is.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use super::VcpuProfile;
use crate::signal::VcpuSignal;

/// A running sampling; dropping it ends it, and the thread is gone then.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    wanted: Mutex<bool>,
    changed: Condvar,
}

impl Sampler {
    /// Raises [`VcpuSignal::SAMPLE`] on `vcpus`, `hz` times a second.
    ///
    /// # Errors
    /// The host's refusal of a thread.
    pub(super) fn start(vcpus: Arc<[VcpuProfile]>, hz: u32) -> std::io::Result<Self> {
        for vcpu in vcpus.iter() {
            vcpu.samples.prepare();
        }
        let stop = Arc::new(Stop::default());
        let period = Duration::from_secs(1) / hz;
        let thread = {
            let stop = Arc::clone(&stop);
            Builder::new()
                .name("sampler".into())
                .spawn(move || sample(&vcpus, period, &stop))?
        };
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        let mut wanted = self
            .stop
            .wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *wanted = true;
        drop(wanted);
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did the machine would be none the worse.
            let _panicked = thread.join();
        }
    }
}

fn sample(vcpus: &[VcpuProfile], period: Duration, stop: &Stop) {
    let mut due = Instant::now() + period;
    let mut wanted = stop.wanted.lock().unwrap_or_else(PoisonError::into_inner);
    while !*wanted {
        let now = Instant::now();
        if now < due {
            let waited = stop.changed.wait_timeout(wanted, due - now);
            wanted = waited.unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        // A host that was busy for a while is not made up for: a burst of samples finds nothing new.
        due = now + period;
        for vcpu in vcpus {
            vcpu.samples.tick();
            vcpu.signal.raise(VcpuSignal::SAMPLE);
        }
    }
}
