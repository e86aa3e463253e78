//! A vCPU's state as a Python dictionary.
//!
//! Keys: "gpr" (16 numbers in encoding order), "rip", "rflags", "cr0", "cr2", "cr3", "cr4", "cr8",
//! "efer", "xcr0", "segments" ({"cs": (selector, base, limit, attributes), …}), "gdtr" and "idtr"
//! ((base, limit)), "dr" (DR0 to DR3, DR6, DR7), "msrs" ({index: value}), "xsave" (bytes in the
//! standard XSAVE format), "activity" ("running", "halted" or "wait-for-sipi").

use std::collections::HashMap;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use wardian_engine::contract::EngineError;
use wardian_engine::state::{Activity, Segment, TableRegister, VcpuState};

use crate::error::refused;

const SEGMENTS: [&str; 8] = ["es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"];
const ACTIVITIES: [(Activity, &str); 3] = [
    (Activity::Running, "running"),
    (Activity::Halted, "halted"),
    (Activity::WaitForSipi, "wait-for-sipi"),
];

/// Selector, base, limit in bytes, attributes.
type SegmentTuple = (u16, u64, u32, u32);

/// The whole state.
pub(crate) fn state_to_dict<'py>(
    py: Python<'py>,
    state: &VcpuState,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("gpr", state.gpr.to_vec())?;
    dict.set_item("rip", state.rip)?;
    dict.set_item("rflags", state.rflags)?;
    dict.set_item("cr0", state.cr0)?;
    dict.set_item("cr2", state.cr2)?;
    dict.set_item("cr3", state.cr3)?;
    dict.set_item("cr4", state.cr4)?;
    dict.set_item("cr8", state.cr8)?;
    dict.set_item("efer", state.efer)?;
    dict.set_item("xcr0", state.xcr0)?;
    let segments = PyDict::new(py);
    for (name, s) in SEGMENTS.iter().zip(&state.segments) {
        segments.set_item(name, (s.selector, s.base, s.limit, s.attributes))?;
    }
    dict.set_item("segments", segments)?;
    dict.set_item("gdtr", (state.gdtr.base, state.gdtr.limit))?;
    dict.set_item("idtr", (state.idtr.base, state.idtr.limit))?;
    dict.set_item("dr", state.dr.to_vec())?;
    let msrs = PyDict::new(py);
    for (index, value) in &state.msrs {
        msrs.set_item(index, value)?;
    }
    dict.set_item("msrs", msrs)?;
    dict.set_item("xsave", PyBytes::new(py, &state.xsave))?;
    let named = ACTIVITIES
        .iter()
        .find(|(activity, _)| *activity == state.activity);
    dict.set_item("activity", named.map(|(_, name)| name))?;
    Ok(dict)
}

/// `state` with the parts that `dict` names replaced. A name that is not in the module's list is
/// refused, never dropped.
pub(crate) fn state_from_dict(
    dict: &Bound<'_, PyDict>,
    mut state: VcpuState,
) -> PyResult<VcpuState> {
    for (key, value) in dict {
        let key: String = key.extract()?;
        match key.as_str() {
            "gpr" => state.gpr = value.extract()?,
            "rip" => state.rip = value.extract()?,
            "rflags" => state.rflags = value.extract()?,
            "cr0" => state.cr0 = value.extract()?,
            "cr2" => state.cr2 = value.extract()?,
            "cr3" => state.cr3 = value.extract()?,
            "cr4" => state.cr4 = value.extract()?,
            "cr8" => state.cr8 = value.extract()?,
            "efer" => state.efer = value.extract()?,
            "xcr0" => state.xcr0 = value.extract()?,
            "segments" => load_segments(&mut state, value.extract()?)?,
            "gdtr" => state.gdtr = table(&value)?,
            "idtr" => state.idtr = table(&value)?,
            "dr" => state.dr = value.extract()?,
            "msrs" => load_msrs(&mut state, value.extract()?),
            "xsave" => state.xsave = value.extract()?,
            "activity" => state.activity = activity(&value.extract::<String>()?)?,
            _ => return bad(format!("a vCPU has no {key:?}")),
        }
    }
    Ok(state)
}

fn bad<T>(why: String) -> PyResult<T> {
    Err(refused(EngineError::BadState(why)))
}

fn load_segments(state: &mut VcpuState, named: HashMap<String, SegmentTuple>) -> PyResult<()> {
    for (name, (selector, base, limit, attributes)) in named {
        let Some(which) = SEGMENTS.iter().position(|&s| s == name) else {
            return bad(format!("a vCPU has no segment register {name:?}"));
        };
        state.segments[which] = Segment {
            selector,
            base,
            limit,
            attributes,
        };
    }
    Ok(())
}

fn table(value: &Bound<'_, PyAny>) -> PyResult<TableRegister> {
    let (base, limit) = value.extract()?;
    Ok(TableRegister { base, limit })
}

fn load_msrs(state: &mut VcpuState, named: HashMap<u32, u64>) {
    for (index, value) in named {
        match state.msrs.iter_mut().find(|(known, _)| *known == index) {
            Some((_, old)) => *old = value,
            // Whether there is such a register is for the engine to say.
            None => state.msrs.push((index, value)),
        }
    }
}

fn activity(name: &str) -> PyResult<Activity> {
    match ACTIVITIES.iter().find(|(_, known)| *known == name) {
        Some((activity, _)) => Ok(*activity),
        None => bad(format!("a vCPU's activity is not {name:?}")),
    }
}
