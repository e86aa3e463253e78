//! `EngineError(code, message)`: what an engine refused, and the code that says why.

use pyo3::PyErr;
use pyo3::exceptions::PyException;
use wardian_engine::contract;

pyo3::create_exception!(
    wardian._core,
    EngineError,
    PyException,
    "What an engine refused. `args` are a stable code and a sentence."
);

/// An engine's refusal as Python sees it.
pub(crate) fn refused(error: impl Into<contract::EngineError>) -> PyErr {
    let error = error.into();
    raise(error.code(), error.to_string())
}

/// A refusal of this module's own.
pub(crate) fn raise(code: &'static str, message: String) -> PyErr {
    EngineError::new_err((code, message))
}
