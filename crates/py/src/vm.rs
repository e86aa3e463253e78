//! `Vm`: one virtual machine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use wardian_engine::contract::{self, CpuidEntry, EngineError, VcpuStats};

use crate::error::{raise, refused};
use crate::vcpu::{Vcpu, counters};

/// One CPUID row: leaf, subleaf, EAX, EBX, ECX, EDX.
type CpuidRow = (u32, u32, u32, u32, u32, u32);

/// One virtual machine. Every method may be called from any thread.
#[pyclass(frozen, module = "wardian._core")]
pub(crate) struct Vm {
    vm: Arc<dyn contract::Vm>,
    cpus: usize,
    /// Where the vCPUs handed out leave their counters.
    stats: Mutex<Vec<Arc<Mutex<VcpuStats>>>>,
}

#[pymethods]
impl Vm {
    /// A machine of `cpus` vCPUs run by `engine` ("interpret").
    #[new]
    fn new(engine: &str, cpus: usize) -> PyResult<Self> {
        let vm = match engine {
            "interpret" => wardian_translate::new_vm(cpus).map_err(refused)?,
            _ => {
                let message = format!("there is no engine {engine:?}; there is \"interpret\"");
                return Err(raise("ENGINE_UNKNOWN", message));
            }
        };
        Ok(Self {
            vm,
            cpus,
            stats: Mutex::default(),
        })
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
        let stats = Arc::new(Mutex::new(vcpu.stats()));
        let mut all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::clone(&stats));
        Ok(Vcpu::new(vcpu, signal, stats))
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

    /// The vCPUs' counters by name, summed, each as of the vCPU's last exit.
    fn stats(&self) -> HashMap<&'static str, u64> {
        let all = self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sums = HashMap::from([("ram_bytes", self.vm.ram().size())]);
        for stats in all.iter() {
            let stats = *stats.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, value) in counters(&stats) {
                *sums.entry(name).or_default() += value;
            }
        }
        sums
    }
}
