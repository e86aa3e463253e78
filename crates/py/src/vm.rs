//! `Vm`: one virtual machine.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use wardian_engine::contract::{self, CpuidEntry, EngineError};
use wardian_engine::profile::{PerfMap, Place, Samples};
use wardian_translate::{Engine, new_vm};

use crate::error::{raise, refused};
use crate::vcpu::Vcpu;

/// One CPUID row: leaf, subleaf, EAX, EBX, ECX, EDX.
type CpuidRow = (u32, u32, u32, u32, u32, u32);

/// One place of a profile: vCPU, RIP, at ring 3, translated, halted, samples.
type SampleRow = (usize, u64, bool, bool, bool, u64);

/// One virtual machine. Every method may be called from any thread.
#[pyclass(frozen, module = "wardian._core")]
pub(crate) struct Vm {
    vm: Arc<dyn contract::Vm>,
    cpus: usize,
}

#[pymethods]
impl Vm {
    /// A machine of `cpus` vCPUs run by `engine` ("interpret", "translate" or
    /// "translate-at-once"; the last two with "-checked" behind them compare themselves with the
    /// first).
    #[new]
    fn new(engine: &str, cpus: usize) -> PyResult<Self> {
        let vm = match engine {
            "interpret" => new_vm(cpus, Engine::Interpret).map_err(refused)?,
            "translate" => new_vm(cpus, Engine::Translate).map_err(refused)?,
            "translate-at-once" => new_vm(cpus, Engine::TranslateAtOnce).map_err(refused)?,
            "translate-checked" => new_vm(cpus, Engine::TranslateChecked).map_err(refused)?,
            "translate-at-once-checked" => {
                new_vm(cpus, Engine::TranslateAtOnceChecked).map_err(refused)?
            }
            _ => {
                let message = format!(
                    "there is no engine {engine:?}; there are \"interpret\" and \"translate\""
                );
                return Err(raise("ENGINE_UNKNOWN", message));
            }
        };
        Ok(Self { vm, cpus })
    }

    /// Adds zeroed RAM; both numbers are multiples of 4096. Only before the first `run`.
    fn map_ram(&self, gpa: u64, length: u64) -> PyResult<()> {
        self.vm.ram().map(gpa, length).map_err(refused)
    }

    /// Copies guest RAM out.
    fn read_ram<'py>(
        &self,
        py: Python<'py>,
        gpa: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let ram = self.vm.ram();
        // Refused before any memory is made for it.
        let length = length.min(
            usize::try_from(ram.size())
                .unwrap_or(usize::MAX)
                .saturating_add(1),
        );
        PyBytes::new_with(py, length, |bytes| ram.read(gpa, bytes).map_err(refused))
    }

    /// Copies bytes into guest RAM.
    fn write_ram(&self, gpa: u64, data: &[u8]) -> PyResult<()> {
        self.vm.ram().write(gpa, data).map_err(refused)
    }

    /// Routes ports to Python; `token` comes back in the exits.
    fn claim_pio(&self, port: u16, length: u32, token: u64) -> PyResult<()> {
        let bus = self.vm.bus();
        bus.claim_pio(port, length, token).map_err(refused)
    }

    /// Routes a guest-physical range to Python.
    fn claim_mmio(&self, gpa: u64, length: u64, token: u64) -> PyResult<()> {
        let bus = self.vm.bus();
        bus.claim_mmio(gpa, length, token).map_err(refused)
    }

    /// Takes back every memory claim made with `token`.
    fn release_mmio(&self, token: u64) {
        self.vm.bus().release_mmio(token);
    }

    /// Drives global system interrupt `line` (0 to 23; 0 to 15 reach the 8259 pair too).
    fn set_irq(&self, line: u32, level: bool) {
        self.vm.irqchip().set_line(line, level);
    }

    /// Delivers a message-signalled interrupt.
    fn send_msi(&self, address: u64, data: u32) {
        self.vm.irqchip().send_msi(address, data);
    }

    /// Fixes the CPUID model. Only before the first `vcpu`.
    fn set_cpuid(&self, entries: Vec<CpuidRow>) -> PyResult<()> {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(leaf, subleaf, eax, ebx, ecx, edx)| CpuidEntry {
                leaf,
                subleaf,
                regs: [eax, ebx, ecx, edx],
            })
            .collect();
        self.vm.set_cpuid(&entries).map_err(refused)
    }

    /// Hands out vCPU `index`, once.
    fn vcpu(&self, index: usize) -> PyResult<Vcpu> {
        let vcpu = self.vm.vcpu(index).map_err(refused)?;
        let signal = self.vm.signal(index);
        let signal = signal.ok_or_else(|| refused(EngineError::NoSuchVcpu(index)))?;
        Ok(Vcpu::new(vcpu, signal))
    }

    /// The rate of the guest's time-stamp counter in Hz.
    fn tsc_hz(&self) -> u64 {
        self.vm.tsc_hz()
    }

    /// Raises a non-maskable interrupt on vCPU `index`.
    fn nmi(&self, index: usize) -> PyResult<()> {
        if index >= self.cpus {
            return Err(refused(EngineError::NoSuchVcpu(index)));
        }
        self.vm.irqchip().nmi(index);
        Ok(())
    }

    /// Counters of the machine as a whole, by name; each vCPU has its own.
    fn stats(&self) -> HashMap<&'static str, u64> {
        let lost = self.vm.profiler().samples().map(Samples::lost).sum();
        HashMap::from([("ram_bytes", self.vm.ram().size()), ("samples_lost", lost)])
    }

    /// Samples where every vCPU is, `hz` times a second, from now on.
    fn profile_start(&self, hz: u32) -> PyResult<()> {
        self.vm.profiler().start(hz).map_err(refused)
    }

    /// Ends the sampling; what it found stays.
    fn profile_stop(&self, py: Python<'_>) {
        py.detach(|| self.vm.profiler().stop());
    }

    /// What the vCPUs recorded so far: (vCPU, RIP, at ring 3, translated, halted, samples).
    fn profile(&self) -> Vec<SampleRow> {
        let vcpus = self.vm.profiler().samples().enumerate();
        vcpus
            .flat_map(|(vcpu, samples)| {
                samples.counts().map(move |(place, count)| {
                    let Place {
                        rip,
                        user,
                        translated,
                        halted,
                    } = place;
                    (vcpu, rip, user, translated, halted, count)
                })
            })
            .collect()
    }

    /// Lists the host code of every block translated from now on in the file behind `descriptor`,
    /// which stays the caller's; once in a machine's life.
    fn set_perf_map(&self, descriptor: RawFd) -> PyResult<()> {
        if descriptor < 0 {
            let message = format!("{descriptor} is no file descriptor");
            return Err(raise("ENGINE_PERF_MAP", message));
        }
        // SAFETY: not -1, and borrowed for this call only; one that is not open cannot be duplicated.
        let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let file = File::from(borrowed.try_clone_to_owned()?);
        self.vm.profiler().set_perf_map(PerfMap::new(file));
        Ok(())
    }

    /// Brings the list of translated blocks into its file.
    fn flush_perf_map(&self) {
        if let Some(map) = self.vm.profiler().perf_map() {
            map.flush();
        }
    }
}
