//! All local APICs of the machine, and the delivery of messages to them.
//!
//! Each APIC has its own lock, and no thread ever holds two: a message to many is given to one after
//! the other. What the run loop polls (the next deadline) or the bus needs (the base) is kept in
//! atomics beside the lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lapic::Lapic;
use super::message::{Delivery, Destination, Message};
use crate::clock::Clock;
use crate::signal::VcpuSignal;

struct Slot {
    lapic: Mutex<Lapic>,
    base: AtomicU64,
    deadline_ns: AtomicU64,
    signal: Arc<VcpuSignal>,
}

pub(super) struct Lapics {
    slots: Vec<Slot>,
    /// The output of the 8259 pair, wired to LINT0 of vCPU 0.
    pic_output: AtomicBool,
    clock: Arc<Clock>,
}

/// The vCPU that the 8259 pair and the 8254 are wired to.
pub(super) const BOOTSTRAP: usize = 0;

impl Lapics {
    pub(super) fn new(signals: Vec<Arc<VcpuSignal>>, clock: Arc<Clock>) -> Self {
        let slots = (0..)
            .zip(signals)
            .map(|(id, signal)| {
                let lapic = Lapic::new(id);
                Slot {
                    base: AtomicU64::new(lapic.base),
                    lapic: Mutex::new(lapic),
                    deadline_ns: AtomicU64::new(u64::MAX),
                    signal,
                }
            })
            .collect();
        Self {
            slots,
            pic_output: AtomicBool::new(false),
            clock,
        }
    }

    pub(super) fn base(&self, vcpu: usize) -> u64 {
        self.slots[vcpu].base.load(Ordering::Relaxed)
    }

    pub(super) fn deadline_ns(&self, vcpu: usize) -> u64 {
        self.slots[vcpu].deadline_ns.load(Ordering::Relaxed)
    }

    pub(super) fn signal(&self, vcpu: usize) -> &VcpuSignal {
        &self.slots[vcpu].signal
    }

    /// Looks at one APIC, or takes something from it that needs no signal.
    pub(super) fn with<R>(&self, vcpu: usize, act: impl FnOnce(&mut Lapic) -> R) -> R {
        act(&mut self.lock(vcpu))
    }

    /// Changes one APIC and signals its vCPU if an interrupt can be delivered afterwards.
    pub(super) fn change<R>(&self, vcpu: usize, act: impl FnOnce(&mut Lapic) -> R) -> R {
        let mut lapic = self.lock(vcpu);
        let result = act(&mut lapic);
        self.signal_if_ready(vcpu, &lapic);
        result
    }

    /// As [`Lapics::change`], for what may move the timer or IA32_APIC_BASE.
    pub(super) fn reprogram<R>(&self, vcpu: usize, act: impl FnOnce(&mut Lapic) -> R) -> R {
        let mut lapic = self.lock(vcpu);
        let result = act(&mut lapic);
        let slot = &self.slots[vcpu];
        slot.base.store(lapic.base, Ordering::Relaxed);
        slot.deadline_ns
            .store(lapic.timer_deadline_ns(&self.clock), Ordering::Relaxed);
        self.signal_if_ready(vcpu, &lapic);
        result
    }

    /// Whether the vCPU would take an interrupt now if it could.
    pub(super) fn ready(&self, vcpu: usize) -> bool {
        let lapic = self.lock(vcpu);
        lapic.deliverable().is_some() || self.extint_ready(vcpu, &lapic)
    }

    /// Whether the 8259 pair wants an interrupt acknowledge cycle from this vCPU.
    pub(super) fn extint(&self, vcpu: usize) -> bool {
        vcpu == BOOTSTRAP
            && self.pic_output.load(Ordering::SeqCst)
            && self.lock(vcpu).passes_extint()
    }

    /// The output of the 8259 pair as it is now.
    pub(super) fn set_pic_output(&self, level: bool) {
        let before = self.pic_output.swap(level, Ordering::SeqCst);
        if !level {
            return;
        }
        let mut lapic = self.lock(BOOTSTRAP);
        if !before {
            lapic.lint0_edge();
        }
        if lapic.nmi {
            self.signal(BOOTSTRAP).raise(VcpuSignal::IRQ);
        }
        self.signal_if_ready(BOOTSTRAP, &lapic);
    }

    /// Gives a message to whom it is for; true if an APIC accepted it.
    pub(super) fn deliver(&self, message: &Message) -> bool {
        let all = 0..self.slots.len();
        if message.delivery == Delivery::LowestPriority {
            return self.deliver_to_lowest(message);
        }
        match message.destination {
            Destination::Physical(id) => {
                all.contains(&(id as usize)) && self.deliver_to(id as usize, message)
            }
            destination => {
                let addressed = all.filter(|&vcpu| self.matches(vcpu, destination));
                addressed
                    .filter(|&vcpu| self.deliver_to(vcpu, message))
                    .count()
                    != 0
            }
        }
    }

    /// Lowest priority (11.6.2.4): the software-enabled APIC of least processor priority, the first
    /// of several.
    fn deliver_to_lowest(&self, message: &Message) -> bool {
        (0..self.slots.len())
            .filter(|&vcpu| self.matches(vcpu, message.destination))
            .filter_map(|vcpu| {
                let lapic = self.lock(vcpu);
                lapic.software_enabled().then(|| (lapic.ppr(), vcpu))
            })
            .min()
            .is_some_and(|(_, vcpu)| self.deliver_to(vcpu, message))
    }

    fn matches(&self, vcpu: usize, destination: Destination) -> bool {
        match destination {
            Destination::Physical(id) => vcpu == id as usize,
            Destination::Logical(mda) => self.lock(vcpu).matches_logical(mda),
            Destination::All => true,
            Destination::AllBut(id) => vcpu != id as usize,
        }
    }

    fn deliver_to(&self, vcpu: usize, message: &Message) -> bool {
        let mut lapic = self.lock(vcpu);
        let accepted = lapic.accept(message);
        if accepted && !message.delivery.has_vector() {
            self.signal(vcpu).raise(VcpuSignal::IRQ);
        }
        self.signal_if_ready(vcpu, &lapic);
        accepted
    }

    fn extint_ready(&self, vcpu: usize, lapic: &Lapic) -> bool {
        vcpu == BOOTSTRAP && self.pic_output.load(Ordering::SeqCst) && lapic.passes_extint()
    }

    fn signal_if_ready(&self, vcpu: usize, lapic: &Lapic) {
        if lapic.deliverable().is_some() || self.extint_ready(vcpu, lapic) {
            self.signal(vcpu).raise(VcpuSignal::IRQ);
        }
    }

    fn lock(&self, vcpu: usize) -> MutexGuard<'_, Lapic> {
        // A panic cannot leave an APIC half changed in a way that matters more than going on.
        self.slots[vcpu]
            .lapic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
