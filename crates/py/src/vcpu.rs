//! `Vcpu`: one virtual CPU, run by a Python thread that gives up the GIL meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use wardian_engine::contract::{self, VmExit};
use wardian_engine::signal::VcpuSignal;

use crate::error::{raise, refused};
use crate::state::{state_from_dict, state_to_dict};

/// (kind, token, offset in the claim, access size in bytes, value).
type ExitTuple<'py> = (Bound<'py, PyString>, u64, u64, u8, u64);

/// The values of a "fail" exit; the text is in `last_error`.
const FAILED: u64 = 1;
const DIVERGED: u64 = 2;

/// One virtual CPU. One thread runs it; only `kick` may come from any other.
#[pyclass(frozen, module = "wardian._core")]
pub(crate) struct Vcpu {
    /// Locked while it runs: whoever else wants it then is refused, not kept waiting.
    vcpu: Mutex<Box<dyn contract::Vcpu>>,
    signal: Arc<VcpuSignal>,
    last_error: Mutex<String>,
}

impl Vcpu {
    pub(crate) fn new(vcpu: Box<dyn contract::Vcpu>, signal: Arc<VcpuSignal>) -> Self {
        Self {
            vcpu: Mutex::new(vcpu),
            signal,
            last_error: Mutex::default(),
        }
    }

    fn own(&self) -> PyResult<MutexGuard<'_, Box<dyn contract::Vcpu>>> {
        match self.vcpu.try_lock() {
            Ok(vcpu) => Ok(vcpu),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(raise("ENGINE_BUSY", "the vCPU is running".into()))
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Vcpu {
    /// Runs guest code until something needs the machine, without holding the GIL.
    fn run<'py>(&self, py: Python<'py>) -> PyResult<ExitTuple<'py>> {
        let exit = py.detach(|| {
            let mut vcpu = self.own()?;
            PyResult::Ok(vcpu.run())
        })?;
        let (kind, token, offset, size, value) = match exit {
            VmExit::PioRead {
                token,
                offset,
                size,
            } => (intern!(py, "pio_read"), token, offset, size, 0),
            VmExit::PioWrite {
                token,
                offset,
                size,
                value,
            } => (intern!(py, "pio_write"), token, offset, size, value),
            VmExit::MmioRead {
                token,
                offset,
                size,
            } => (intern!(py, "mmio_read"), token, offset, size, 0),
            VmExit::MmioWrite {
                token,
                offset,
                size,
                value,
            } => (intern!(py, "mmio_write"), token, offset, size, value),
            VmExit::Shutdown => (intern!(py, "shutdown"), 0, 0, 0, 0),
            VmExit::Interrupted => (intern!(py, "interrupted"), 0, 0, 0, 0),
            VmExit::Fail(why) => {
                *locked(&self.last_error) = why;
                (intern!(py, "fail"), 0, 0, 0, FAILED)
            }
            VmExit::Diverged(what) => {
                *locked(&self.last_error) = what;
                (intern!(py, "fail"), 0, 0, 0, DIVERGED)
            }
        };
        Ok((kind.clone(), token, offset, size, value))
    }

    /// Answers the read of the last exit; due before the next `run`.
    fn complete_read(&self, value: u64) -> PyResult<()> {
        self.own()?.complete_read(value);
        Ok(())
    }

    /// Makes the current `run`, or else the next one, return "interrupted".
    fn kick(&self) {
        self.signal.raise(VcpuSignal::KICK);
    }

    /// The architectural state at an instruction boundary.
    fn get_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.own()?.state();
        state_to_dict(py, &state)
    }

    /// Loads the named parts of the state; what `state` does not name stays as it was.
    fn set_state(&self, state: &Bound<'_, PyDict>) -> PyResult<()> {
        let mut vcpu = self.own()?;
        let whole = state_from_dict(state, vcpu.state())?;
        vcpu.set_state(&whole).map_err(refused)
    }

    /// Why the last exit was "fail".
    fn last_error(&self) -> String {
        locked(&self.last_error).clone()
    }

    /// Counters by name; an engine adds its own to those that every engine has.
    fn stats(&self) -> PyResult<HashMap<&'static str, u64>> {
        let stats = self.own()?.stats();
        let routes = stats.routes;
        let common = [
            ("instructions", stats.instructions),
            ("interrupts", stats.interrupts),
            ("exceptions", stats.exceptions),
            ("halts", stats.halts),
            ("pio_native", routes.pio_native),
            ("pio_python", routes.pio_python),
            ("pio_unclaimed", routes.pio_unclaimed),
            ("mmio_native", routes.mmio_native),
            ("mmio_python", routes.mmio_python),
            ("mmio_unclaimed", routes.mmio_unclaimed),
        ];
        Ok(common.into_iter().chain(stats.engine).collect())
    }
}
