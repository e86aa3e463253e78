//! `wardian._core`: the engine contract as a Python extension module.
//!
//! Nothing is decided here: calls are passed on to whichever engine a [`Vm`](vm::Vm) was made with,
//! and exits come back as plain tuples. The documentation of each method is that of the protocol in
//! `python/wardian/cpu/contract.py`.

mod error;
mod state;
mod vcpu;
mod vm;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("EngineError", module.py().get_type::<error::EngineError>())?;
    module.add_class::<vm::Vm>()?;
    module.add_class::<vcpu::Vcpu>()
}
