//! The engine contract, kept by the interpreter and the translator.

use std::sync::{Arc, Mutex};

use wardian_engine::bus::{Bus, Native};
use wardian_engine::clock::Clock;
use wardian_engine::contract::{CpuidEntry, EngineError, MAX_VCPUS, Vcpu, VcpuStats, Vm, VmExit};
use wardian_engine::irqchip::{IOAPIC_BASE, IOAPIC_LENGTH, Irqchip, PIO_CLAIMS};
use wardian_engine::profile::Profiler;
use wardian_engine::signal::VcpuSignal;
use wardian_engine::state::VcpuState;
use wardian_memory::GuestRam;

use crate::board::Board;
use crate::cpu::Cpu;
use crate::cpu::features::Features;
use crate::translator::{Heat, Turn, VcpuMemory};

/// How guest code is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Every instruction by the interpreter.
    Interpret,
    /// Code that is run often is translated.
    Translate,
    /// Code is translated before its first run.
    TranslateAtOnce,
    /// As `Translate`, and what translated code does is compared with the interpreter.
    TranslateChecked,
    /// As `TranslateAtOnce`, and compared.
    TranslateAtOnceChecked,
}

/// A machine of `cpus` vCPUs.
///
/// # Errors
/// [`EngineError::BadVcpuCount`].
pub fn new_vm(cpus: usize, engine: Engine) -> Result<Arc<dyn Vm>, EngineError> {
    if cpus == 0 || cpus > MAX_VCPUS {
        return Err(EngineError::BadVcpuCount(cpus));
    }
    let clock = Arc::new(Clock::new());
    let signals: Vec<_> = (0..cpus).map(|_| Arc::new(VcpuSignal::new())).collect();
    let bus = Bus::default();
    for &(base, length) in PIO_CLAIMS {
        bus.claim_pio_native(base, u32::from(length), Native::LegacyIrqchip)?;
    }
    bus.claim_mmio_native(IOAPIC_BASE, IOAPIC_LENGTH, Native::IoApic)?;
    let board = Arc::new(Board {
        ram: GuestRam::new(),
        bus,
        irqchip: Irqchip::new(signals.clone(), Arc::clone(&clock)),
        profiler: Profiler::new(&signals),
        clock,
    });
    let taken = Mutex::new(Taken {
        vcpus: vec![false; cpus],
        features: Features::default(),
    });
    Ok(Arc::new(SoftwareVm {
        engine,
        board,
        signals,
        taken,
        turn: Arc::default(),
    }))
}

struct SoftwareVm {
    engine: Engine,
    board: Arc<Board>,
    signals: Vec<Arc<VcpuSignal>>,
    taken: Mutex<Taken>,
    turn: Arc<Turn>,
}

struct Taken {
    vcpus: Vec<bool>,
    features: Features,
}

impl Vm for SoftwareVm {
    fn ram(&self) -> &GuestRam {
        &self.board.ram
    }

    fn bus(&self) -> &Bus {
        &self.board.bus
    }

    fn irqchip(&self) -> &Irqchip {
        &self.board.irqchip
    }

    fn profiler(&self) -> &Profiler {
        &self.board.profiler
    }

    fn tsc_hz(&self) -> u64 {
        self.board.clock.tsc_hz()
    }

    fn set_cpuid(&self, entries: &[CpuidEntry]) -> Result<(), EngineError> {
        let mut taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        if taken.vcpus.contains(&true) {
            return Err(EngineError::BadState(
                "the CPU model is fixed once a vCPU is in use".into(),
            ));
        }
        taken.features = Features::from_cpuid(entries);
        Ok(())
    }

    fn vcpu(&self, index: usize) -> Result<Box<dyn Vcpu>, EngineError> {
        let mut taken = self.taken.lock().unwrap_or_else(|e| e.into_inner());
        match taken.vcpus.get_mut(index) {
            Some(taken) if !*taken => *taken = true,
            _ => return Err(EngineError::NoSuchVcpu(index)),
        }
        let signal = Arc::clone(&self.signals[index]);
        let sole = self.signals.len() == 1;
        let mut cpu = Cpu::new(
            index,
            Arc::clone(&self.board),
            signal,
            taken.features.clone(),
        )
        .and_then(VcpuMemory::new)
        .and_then(|mut cpu| match self.engine {
            Engine::Interpret => Ok(cpu),
            Engine::Translate | Engine::TranslateChecked => {
                cpu.translate(Heat::default(), sole).map(|()| cpu)
            }
            Engine::TranslateAtOnce | Engine::TranslateAtOnceChecked => {
                cpu.translate(Heat::always(), sole).map(|()| cpu)
            }
        })
        .map_err(|e| EngineError::Host(e.to_string()))?;
        if let Engine::TranslateChecked | Engine::TranslateAtOnceChecked = self.engine {
            cpu.check_against_interpreter(Arc::clone(&self.turn));
        }
        Ok(Box::new(SoftwareVcpu { cpu }))
    }

    fn signal(&self, index: usize) -> Option<Arc<VcpuSignal>> {
        self.signals.get(index).cloned()
    }
}

struct SoftwareVcpu {
    cpu: VcpuMemory,
}

impl Vcpu for SoftwareVcpu {
    fn run(&mut self) -> VmExit {
        self.cpu.expect_timer(true);
        let exit = self.cpu.run();
        self.cpu.expect_timer(false);
        exit
    }

    fn complete_read(&mut self, value: u64) {
        self.cpu.device.complete_read(value);
    }

    fn state(&self) -> VcpuState {
        self.cpu.save()
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), EngineError> {
        self.cpu.load(state)
    }

    fn stats(&self) -> VcpuStats {
        let cpu = &self.cpu;
        let mut engine = vec![
            ("blocks_decoded", cpu.blocks.decoded),
            ("tlb_fills", cpu.tlb.fills()),
            ("tlb_flushes", cpu.tlb.flushes()),
        ];
        engine.extend(cpu.translator.iter().flat_map(|t| t.counters()));
        VcpuStats {
            instructions: cpu.instructions,
            routes: cpu.routes,
            interrupts: cpu.interrupts,
            exceptions: cpu.exceptions,
            halts: cpu.halts,
            engine,
        }
    }
}
