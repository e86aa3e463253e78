//! The engine contract: the machine above does not care which engine runs below.
//!
//! Shaped like KVM's interface: a [`Vm`] owns RAM, bus and interrupt controllers; each [`Vcpu`] is
//! run by a thread of its own and comes back with a [`VmExit`] when the machine has to do something.

use std::sync::Arc;

use wardian_memory::{GuestRam, RamError};

use crate::bus::{Bus, RouteCounts};
use crate::irqchip::Irqchip;
use crate::profile::Profiler;
use crate::signal::VcpuSignal;
use crate::state::VcpuState;

/// Why an engine refused what it was asked. Each has a stable code for users and logs.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The number of vCPUs is zero or more than an engine supports.
    #[error("{0} vCPUs are not possible; an engine takes 1 to {MAX_VCPUS}")]
    BadVcpuCount(usize),
    /// There is no vCPU of this index, or it was taken already.
    #[error("vCPU {0} does not exist or is in use")]
    NoSuchVcpu(usize),
    /// A range was claimed twice or is impossible.
    #[error("{0}")]
    BadClaim(String),
    /// The state names something this engine does not have: refused, never dropped.
    #[error("the vCPU state cannot be loaded: {0}")]
    BadState(String),
    /// Guest RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The host lacks what the engine needs.
    #[error("the host cannot run this engine: {0}")]
    Host(String),
}

impl EngineError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadVcpuCount(_) => "ENGINE_VCPUS",
            Self::NoSuchVcpu(_) => "ENGINE_NO_VCPU",
            Self::BadClaim(_) => "ENGINE_CLAIM",
            Self::BadState(_) => "ENGINE_STATE",
            Self::Ram(RamError::Host { .. }) => "MEM_HOST",
            Self::Ram(_) => "MEM_RANGE",
            Self::Host(_) => "ENGINE_HOST",
        }
    }
}

/// vCPUs one machine may have.
pub const MAX_VCPUS: usize = 64;

/// One row of the CPUID model a machine was created with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuidEntry {
    /// EAX on input.
    pub leaf: u32,
    /// ECX on input, for leaves that have subleaves.
    pub subleaf: u32,
    /// EAX EBX ECX EDX on output.
    pub regs: [u32; 4],
}

/// Why a vCPU stopped running. A device access names the claim that covers it, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VmExit {
    /// The guest reads a port; answer with [`Vcpu::complete_read`].
    PioRead {
        /// What the claim was made with.
        token: u64,
        /// Bytes into the claim.
        offset: u64,
        /// Bytes accessed.
        size: u8,
    },
    /// The guest wrote a port.
    PioWrite {
        /// What the claim was made with.
        token: u64,
        /// Bytes into the claim.
        offset: u64,
        /// Bytes accessed.
        size: u8,
        /// Little-endian, zero-extended.
        value: u64,
    },
    /// The guest reads device memory; answer with [`Vcpu::complete_read`].
    MmioRead {
        /// What the claim was made with.
        token: u64,
        /// Bytes into the claim.
        offset: u64,
        /// Bytes accessed.
        size: u8,
    },
    /// The guest wrote device memory.
    MmioWrite {
        /// What the claim was made with.
        token: u64,
        /// Bytes into the claim.
        offset: u64,
        /// Bytes accessed.
        size: u8,
        /// Little-endian, zero-extended.
        value: u64,
    },
    /// Triple fault: the machine resets or ends.
    Shutdown,
    /// Somebody kicked this vCPU.
    Interrupted,
    /// The engine cannot go on; the text says why.
    Fail(String),
    /// The engine, asked to check itself, did something it should not have; the text says what.
    Diverged(String),
}

/// What one vCPU has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuStats {
    /// Guest instructions retired.
    pub instructions: u64,
    /// Accesses outside RAM, by route.
    pub routes: RouteCounts,
    /// Interrupts delivered.
    pub interrupts: u64,
    /// Exceptions delivered.
    pub exceptions: u64,
    /// Times the vCPU slept in HLT.
    pub halts: u64,
    /// Engine-private counters by name.
    pub engine: Vec<(&'static str, u64)>,
}

/// One virtual machine of one engine.
pub trait Vm: Send + Sync {
    /// Guest RAM; slots are added with [`GuestRam::map`].
    fn ram(&self) -> &GuestRam;
    /// The routes of ports and guest-physical ranges that are not RAM.
    fn bus(&self) -> &Bus;
    /// Interrupt controllers and timers.
    fn irqchip(&self) -> &Irqchip;
    /// Where the guest spends its time.
    fn profiler(&self) -> &Profiler;
    /// Rate of the guest's time-stamp counter in Hz.
    fn tsc_hz(&self) -> u64;
    /// Fixes the CPUID model. APIC ids are filled in per vCPU.
    ///
    /// # Errors
    /// [`EngineError::BadState`] once a vCPU has been taken.
    fn set_cpuid(&self, entries: &[CpuidEntry]) -> Result<(), EngineError>;
    /// Hands out vCPU `index`, once.
    ///
    /// # Errors
    /// [`EngineError::NoSuchVcpu`].
    fn vcpu(&self, index: usize) -> Result<Box<dyn Vcpu>, EngineError>;
    /// How other threads reach vCPU `index`: a kick is `raise(VcpuSignal::KICK)`.
    fn signal(&self, index: usize) -> Option<Arc<VcpuSignal>>;
}

/// One virtual CPU, run by one thread at a time.
pub trait Vcpu: Send {
    /// Runs guest code until something needs the machine. A device access is finished by the next
    /// `run`: only then does the instruction that made it retire.
    fn run(&mut self) -> VmExit;
    /// The value for the read of the last exit, little-endian in the low bytes.
    fn complete_read(&mut self, value: u64);
    /// The state at an instruction boundary.
    fn state(&self) -> VcpuState;
    /// Loads a whole state.
    ///
    /// # Errors
    /// [`EngineError::BadState`]; the vCPU then keeps its old state.
    fn set_state(&mut self, state: &VcpuState) -> Result<(), EngineError>;
    /// Counters.
    fn stats(&self) -> VcpuStats;
}
