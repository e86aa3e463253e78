//! The machine's interrupt controllers and timers: local APICs, I/O APIC, 8259 pair, 8254, MSI.
//!
//! They live below Python because a guest touches them thousands of times a second. Everything here
//! is total: any value in any register at any time has a defined effect and never panics.
//!
//! Locks: the board (8259 pair, I/O APIC, 8254) has one and each local APIC has one. The board's may
//! be held while one APIC's is taken, never the other way round, and nobody holds two APICs'. What
//! an APIC wants of the board or of other APICs is therefore returned as an `Effect` and done once
//! its lock is free. Signals are raised under locks and call nothing back.

mod board;
mod ioapic;
mod lapic;
mod lapic_registers;
mod lapic_timer;
mod lapics;
mod message;
mod msi;
mod pic;
mod pit;
mod pit_counter;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::board::Board;
use self::lapic::Lapic;
use self::lapic_registers::Effect;
use self::lapics::{BOOTSTRAP, Lapics};
use self::message::Message;
use crate::clock::Clock;
use crate::signal::VcpuSignal;

/// The access is a general-protection fault, #GP(0), of the instruction that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gp;

/// Ports of the interrupt controllers and timers, as (first port, number of ports).
pub const PIO_CLAIMS: &[(u16, u16)] = &[(0x20, 2), (0xA0, 2), (0x4D0, 2), (0x40, 4), (0x61, 1)];
/// Where the I/O APIC answers in guest-physical memory.
pub const IOAPIC_BASE: u64 = 0xFEC0_0000;
/// Bytes of guest-physical memory that the I/O APIC answers.
pub const IOAPIC_LENGTH: u64 = 0x1000;

const IA32_APIC_BASE: u32 = 0x1B;
const IA32_TSC_DEADLINE: u32 = 0x6E0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8FF;

/// The interrupt controllers of one machine, shared by its vCPUs and devices.
///
/// `vcpu` arguments are indexes below the number of signals given to [`Irqchip::new`], and equal
/// the APIC ids. Calls that name a vCPU and change its own registers come from its thread; all
/// others may come from any thread.
pub struct Irqchip {
    lapics: Lapics,
    board: Mutex<Board>,
    /// When vCPU 0 must run the 8254.
    pit_deadline_ns: AtomicU64,
    clock: Arc<Clock>,
}

impl Irqchip {
    /// Controllers for as many vCPUs as there are signals, in the state firmware leaves.
    ///
    /// # Panics
    /// Without any signal.
    #[must_use]
    pub fn new(signals: Vec<Arc<VcpuSignal>>, clock: Arc<Clock>) -> Self {
        assert!(!signals.is_empty(), "a machine has at least one vCPU");
        Self {
            lapics: Lapics::new(signals, Arc::clone(&clock)),
            board: Mutex::new(Board::new()),
            pit_deadline_ns: AtomicU64::new(u64::MAX),
            clock,
        }
    }

    /// Asserts or releases a global system interrupt: 0 to 23 are the I/O APIC's pins, 0 to 15 also
    /// the 8259 pair's. 0 and 2 belong to the 8254 and are ignored, as is anything above 23.
    pub fn set_line(&self, gsi: u32, level: bool) {
        self.with_board(|board| {
            board.set_line(gsi, level, &|message| self.lapics.deliver(message))
        });
    }

    /// A write of `data` to `address` in 0xFEE0_0000..0xFEF0_0000 by a device.
    pub fn send_msi(&self, address: u64, data: u32) {
        if let Some(message) = msi::decode(address, data) {
            self.lapics.deliver(&message);
        }
    }

    /// Makes an NMI pending on a vCPU, whatever its APIC's state.
    pub fn nmi(&self, vcpu: usize) {
        self.lapics.with(vcpu, |lapic| lapic.nmi = true);
        self.lapics.signal(vcpu).raise(VcpuSignal::IRQ);
    }

    /// Reads `size` (1, 2 or 4) consecutive ports from `port` on; unclaimed ones read as all ones.
    #[must_use]
    pub fn pio_read(&self, port: u16, size: u8) -> u32 {
        self.with_ports(|board, now_ns| {
            (0..u16::from(size.min(4))).rev().fold(0, |value, index| {
                value << 8 | u32::from(board.read_port(port.wrapping_add(index), now_ns))
            })
        })
    }

    /// Writes `size` (1, 2 or 4) consecutive ports from `port` on.
    pub fn pio_write(&self, port: u16, size: u8, value: u32) {
        self.with_ports(|board, now_ns| {
            for (index, byte) in (0..size.min(4)).zip(value.to_le_bytes()) {
                let port = port.wrapping_add(u16::from(index));
                board.write_port(port, byte, now_ns, &|message| self.lapics.deliver(message));
            }
        });
    }

    /// Reads I/O APIC memory at `offset` from [`IOAPIC_BASE`]. Registers are 32 bits wide.
    #[must_use]
    pub fn ioapic_read(&self, offset: u64, size: u8) -> u64 {
        let value = u64::from(self.with_board(|board| board.ioapic.read(offset)));
        let value = value >> (8 * (offset & 3));
        value & (u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8))))
    }

    /// Writes I/O APIC memory. A narrow write is extended with zeroes, a wide one cut to 32 bits.
    pub fn ioapic_write(&self, offset: u64, size: u8, value: u64) {
        let value = value & (u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 4))));
        self.with_board(|board| {
            let sink = |message: &Message| self.lapics.deliver(message);
            board.ioapic.write(offset, value as u32, &sink);
        });
    }

    /// Reads the vCPU's APIC page, `offset` bytes from its [`Irqchip::apic_base`] address. All ones
    /// unless the APIC is in xAPIC mode.
    #[must_use]
    pub fn lapic_mmio_read(&self, vcpu: usize, offset: u64, size: u8) -> u64 {
        // An illegal register may raise the error interrupt.
        self.lapics
            .change(vcpu, |lapic| lapic.mmio_read(offset, size, &self.clock))
    }

    /// Writes the vCPU's APIC page. Dropped unless the APIC is in xAPIC mode.
    pub fn lapic_mmio_write(&self, vcpu: usize, offset: u64, size: u8, value: u64) {
        let act = |lapic: &mut Lapic| lapic.mmio_write(offset, size, value as u32, &self.clock);
        let effect = if lapic_registers::moves_timer(lapic_registers::number(offset)) {
            self.lapics.reprogram(vcpu, act)
        } else {
            self.lapics.change(vcpu, act)
        };
        self.perform(effect);
    }

    /// RDMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE or 800h to 8FFh.
    ///
    /// # Errors
    /// [`Gp`] for registers that do not exist, are write-only, or need x2APIC mode.
    pub fn lapic_msr_read(&self, vcpu: usize, msr: u32) -> Result<u64, Gp> {
        match msr {
            IA32_APIC_BASE => Ok(self.apic_base(vcpu)),
            IA32_TSC_DEADLINE => Ok(self.lapics.with(vcpu, |lapic| lapic.timer.tsc_deadline())),
            X2APIC_FIRST..=X2APIC_LAST => self.lapics.with(vcpu, |lapic| {
                lapic.msr_read(msr - X2APIC_FIRST, &self.clock)
            }),
            _ => Err(Gp),
        }
    }

    /// WRMSR of IA32_APIC_BASE, IA32_TSC_DEADLINE or 800h to 8FFh.
    ///
    /// # Errors
    /// [`Gp`] for reserved bits, illegal mode changes, and registers that do not exist, are
    /// read-only, or need x2APIC mode.
    pub fn lapic_msr_write(&self, vcpu: usize, msr: u32, value: u64) -> Result<(), Gp> {
        let effect = match msr {
            IA32_APIC_BASE => {
                self.lapics.reprogram(vcpu, |lapic| lapic.set_base(value))?;
                Effect::None
            }
            IA32_TSC_DEADLINE => {
                self.lapics
                    .reprogram(vcpu, |lapic| lapic.write_tsc_deadline(value, &self.clock));
                Effect::None
            }
            X2APIC_FIRST..=X2APIC_LAST => {
                let register = msr - X2APIC_FIRST;
                let act = |lapic: &mut Lapic| lapic.msr_write(register, value, &self.clock);
                if lapic_registers::moves_timer(register) {
                    self.lapics.reprogram(vcpu, act)?
                } else {
                    self.lapics.change(vcpu, act)?
                }
            }
            _ => return Err(Gp),
        };
        self.perform(effect);
        Ok(())
    }

    /// IA32_APIC_BASE. Takes no lock.
    #[must_use]
    pub fn apic_base(&self, vcpu: usize) -> u64 {
        self.lapics.base(vcpu)
    }

    /// The task priority register.
    #[must_use]
    pub fn tpr(&self, vcpu: usize) -> u8 {
        self.lapics.with(vcpu, |lapic| lapic.tpr)
    }

    /// CR8: bits 7:4 of the task priority (Intel SDM vol 3, 11.8.6).
    #[must_use]
    pub fn cr8(&self, vcpu: usize) -> u8 {
        self.tpr(vcpu) >> 4
    }

    /// MOV to CR8. Bits 7:4 of `value` are reserved, and the CPU has checked them.
    pub fn set_cr8(&self, vcpu: usize, value: u8) {
        self.lapics.change(vcpu, |lapic| lapic.tpr = value << 4);
    }

    /// Whether the vCPU would take an interrupt if it could: a local APIC vector above the processor
    /// priority, or one of the 8259 pair.
    #[must_use]
    pub fn has_interrupt(&self, vcpu: usize) -> bool {
        self.lapics.ready(vcpu)
    }

    /// Acknowledges the interrupt to be taken now and returns its vector; the 8259 pair goes first.
    #[must_use]
    pub fn take_interrupt(&self, vcpu: usize) -> Option<u8> {
        if self.lapics.extint(vcpu) {
            return Some(self.with_board(|board| board.pic.acknowledge()));
        }
        self.lapics.with(vcpu, |lapic| lapic.acknowledge())
    }

    /// Whether an NMI is pending.
    #[must_use]
    pub fn has_nmi(&self, vcpu: usize) -> bool {
        self.lapics.with(vcpu, |lapic| lapic.nmi)
    }

    /// Takes the pending NMI, if there is one.
    #[must_use]
    pub fn take_nmi(&self, vcpu: usize) -> bool {
        self.lapics
            .with(vcpu, |lapic| std::mem::take(&mut lapic.nmi))
    }

    /// Takes a pending INIT, if there is one. Look for it before a start-up message: an INIT
    /// cancels start-up messages that came before it.
    #[must_use]
    pub fn take_init(&self, vcpu: usize) -> bool {
        self.lapics
            .with(vcpu, |lapic| std::mem::take(&mut lapic.init))
    }

    /// Takes the vector of a pending start-up message. The caller drops it unless the vCPU waits for
    /// one. A message behind an INIT that is still to be taken is for the vCPU after that INIT, and
    /// stays.
    #[must_use]
    pub fn take_sipi(&self, vcpu: usize) -> Option<u8> {
        self.lapics.with(vcpu, |lapic| {
            if lapic.init {
                return None;
            }
            lapic.startup.take()
        })
    }

    /// What INIT does to the vCPU's APIC. IA32_APIC_BASE keeps its value.
    pub fn reset_lapic(&self, vcpu: usize) {
        self.lapics.reprogram(vcpu, Lapic::reset);
    }

    /// Tells what the guest's TSC is ahead of the host's, modulo 2^64: TSC deadlines are in guest
    /// time. 0 until told otherwise.
    pub fn set_tsc_offset(&self, vcpu: usize, offset: u64) {
        self.lapics
            .reprogram(vcpu, |lapic| lapic.timer.set_tsc_offset(offset));
    }

    /// The earliest time ([`Clock::now_ns`] scale) at which this vCPU must call
    /// [`Irqchip::run_timers`]; `u64::MAX` for never. Takes no lock.
    #[must_use]
    #[inline]
    pub fn next_deadline(&self, vcpu: usize) -> u64 {
        let deadline_ns = self.lapics.deadline_ns(vcpu);
        if vcpu == BOOTSTRAP {
            deadline_ns.min(self.pit_deadline_ns.load(Ordering::Relaxed))
        } else {
            deadline_ns
        }
    }

    /// Lets everything expire that this vCPU looks after and that is due at `now_ns`.
    pub fn run_timers(&self, vcpu: usize, now_ns: u64) {
        if self.lapics.deadline_ns(vcpu) <= now_ns {
            self.lapics
                .reprogram(vcpu, |lapic| lapic.run_timer(now_ns, &self.clock));
        }
        if vcpu == BOOTSTRAP && self.pit_deadline_ns.load(Ordering::Relaxed) <= now_ns {
            self.with_board(|board| {
                board.run_pit(now_ns, &|message| self.lapics.deliver(message));
                self.update_pit_deadline(board);
            });
        }
    }

    /// Accesses ports of the board at a time read under its lock, so that accesses see time in one
    /// order. What the 8254 has been due to say until then comes first: the guest finds it at the
    /// 8259 pair, and the access cannot make it unsaid.
    fn with_ports<R>(&self, act: impl FnOnce(&mut Board, u64) -> R) -> R {
        self.with_board(|board| {
            let now_ns = self.clock.now_ns();
            board.run_pit(now_ns, &|message| self.lapics.deliver(message));
            let result = act(board, now_ns);
            self.update_pit_deadline(board);
            result
        })
    }

    /// Does something on the board and shows vCPU 0 what the 8259 pair says then.
    fn with_board<R>(&self, act: impl FnOnce(&mut Board) -> R) -> R {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut board);
        self.lapics.set_pic_output(board.pic.output());
        result
    }

    /// Another vCPU may have changed the timer that vCPU 0 waits for.
    fn update_pit_deadline(&self, board: &Board) {
        let deadline_ns = board.pit.deadline_ns();
        if self.pit_deadline_ns.swap(deadline_ns, Ordering::SeqCst) != deadline_ns {
            self.lapics.signal(BOOTSTRAP).raise(VcpuSignal::TIMER);
        }
    }

    /// Does what a local APIC asked for, its lock being free again.
    fn perform(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Send(message) => {
                self.lapics.deliver(&message);
            }
            Effect::EndLevel(vector) => self.with_board(|board| {
                board
                    .ioapic
                    .end_of_interrupt(vector, &|message| self.lapics.deliver(message));
            }),
            Effect::Enabled => self.with_board(|board| {
                board.ioapic.retry(&|message| self.lapics.deliver(message));
            }),
        }
    }
}
