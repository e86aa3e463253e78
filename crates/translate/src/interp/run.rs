//! The loop around the instructions: blocks, interrupts, exceptions, halts and exits.
//!
//! Between blocks the loop looks at two words: the signal other threads raise, and the events the
//! instructions themselves left behind. Only if one of them is set does it leave the fast path.

use wardian_engine::contract::VmExit;
use wardian_engine::profile::Place;
use wardian_engine::signal::VcpuSignal;
use wardian_engine::state::Activity;

use super::deliver::Source;
use crate::cpu::debug::DR6_SINGLE_STEP;
use crate::cpu::exception::{Exception, StopReason, vector};
use crate::cpu::registers::RIP;
use crate::cpu::segment::index;
use crate::cpu::{Cpu, event, flags};

/// Instructions between looks at the timers.
const TIMER_BUDGET: i64 = 4096;

impl Cpu {
    /// Runs guest code until the machine is needed.
    pub(crate) fn run(&mut self) -> VmExit {
        self.device.resume();
        loop {
            if self.signal.pending() != 0 || self.events != 0 || self.budget < 0 {
                if let Some(exit) = self.attend() {
                    return exit;
                }
                if self.activity != Activity::Running {
                    continue;
                }
                if self.events & event::STEPPING != 0 {
                    if let Some(exit) = self.step() {
                        return exit;
                    }
                    continue;
                }
            }
            // What the loop has to look at next time may need the interpreter.
            let exit = if self.translator.is_some() && self.events == 0 {
                self.run_stretch()
            } else {
                self.run_block(usize::MAX)
            };
            if let Some(exit) = exit {
                return exit;
            }
        }
    }

    /// Runs the block at RIP, or its first `limit` instructions.
    #[inline(always)]
    pub(crate) fn run_block(&mut self, limit: usize) -> Option<VmExit> {
        let Ok((first, end)) = self.find_block() else {
            return self.stopped();
        };
        let mut op = first;
        self.ops_end = if limit == 1 {
            first.wrapping_add(1)
        } else {
            end
        };
        loop {
            // SAFETY: `find_block` gives a non-empty span of a block that is replaced only by the
            // next `find_block`; `op` stays below its end.
            let current = unsafe { &*op };
            self.regs[RIP] = self.regs[RIP].wrapping_add(u64::from(current.len));
            if (current.run)(self, current).is_err() {
                self.regs[RIP] = self.regs[RIP].wrapping_sub(u64::from(current.len));
                self.account(first, op);
                self.name_address_fault(current);
                return self.stopped();
            }
            // SAFETY: at most one past the end of the span.
            op = unsafe { op.add(1) };
            if op >= self.ops_end {
                break;
            }
        }
        self.account(first, op);
        None
    }

    /// Runs one instruction that was decoded before. RIP is at it.
    pub(crate) fn run_op(&mut self, op: &super::op::Op) -> Option<VmExit> {
        self.ops_end = std::ptr::from_ref(op).wrapping_add(1);
        self.regs[RIP] = self.regs[RIP].wrapping_add(u64::from(op.len));
        self.instructions += 1;
        if (op.run)(self, op).is_err() {
            self.regs[RIP] = self.regs[RIP].wrapping_sub(u64::from(op.len));
            self.name_address_fault(op);
            return self.stopped();
        }
        None
    }

    #[inline(always)]
    fn account(&mut self, first: *const super::op::Op, end: *const super::op::Op) {
        // SAFETY: both point into the same block.
        let count = unsafe { end.offset_from(first) };
        self.instructions += count as u64;
        self.budget -= count as i64;
    }

    /// Decides what a non-canonical address of `op`'s memory operand raises: #SS if it was formed with
    /// RSP or RBP and no other segment was named (Intel SDM vol. 3, 6.15).
    #[cold]
    pub(super) fn name_address_fault(&mut self, op: &super::op::Op) {
        use crate::cpu::registers::{RBP, RSP};
        if self.stop == StopReason::NonCanonical {
            let by_stack = [RSP * 8, RBP * 8].contains(&usize::from(op.base));
            let on_stack = by_stack && usize::from(op.seg) == index::FLAT;
            self.stop = address_fault(if on_stack { vector::SS } else { vector::GP });
        }
    }

    /// Acts on why execution stopped.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self) -> Option<VmExit> {
        match std::mem::take(&mut self.stop) {
            StopReason::None => None,
            StopReason::Exception(exception) if self.single_block => {
                self.stop = StopReason::Exception(exception);
                Some(VmExit::Interrupted)
            }
            StopReason::Exception(exception) => {
                self.device.forget();
                // The instruction did not happen, so neither did the data breakpoints it hit.
                self.pending_dr6 = 0;
                self.events &= !event::DEBUG_TRAP;
                self.exception(exception)
            }
            StopReason::NonCanonical => {
                self.stop = address_fault(vector::GP);
                self.stopped()
            }
            StopReason::Device => self.device.take_exit(),
            StopReason::Shutdown => Some(VmExit::Shutdown),
            StopReason::Fail(why) => Some(VmExit::Fail(why)),
        }
    }

    fn exception(&mut self, exception: Exception) -> Option<VmExit> {
        // A handler whose first instruction faults is a loop too, and the timers go on.
        self.budget -= 1;
        self.events &= !event::SHADOWS;
        match self.deliver_exception(exception) {
            Ok(()) => None,
            Err(_) => match std::mem::take(&mut self.stop) {
                StopReason::Fail(why) => Some(VmExit::Fail(why)),
                // Descriptor tables and stacks in device memory cannot be waited for.
                _ => Some(VmExit::Shutdown),
            },
        }
    }

    /// One instruction under single-stepping, a shadow or instruction breakpoints, with the debug
    /// traps that follow it.
    #[cold]
    #[inline(never)]
    fn step(&mut self) -> Option<VmExit> {
        let before = self.events;
        let resume = self.system_flags & flags::RF != 0;
        if before & event::CODE_BREAKPOINTS != 0 && !resume && before & event::MOV_SS_SHADOW == 0 {
            let gva = self.code_address();
            if let Some(dr6) = self.code_breakpoint(gva) {
                let error = None;
                return self.exception(Exception {
                    vector: vector::DB,
                    error,
                    address: 0,
                    dr6,
                });
            }
        }
        self.events &= !event::SHADOWS;
        let (exceptions, at) = (self.exceptions, self.rip());
        self.step_over = false;
        // RF holds for one instruction; IRET may set it anew for the next.
        self.system_flags &= !flags::RF;
        self.events &= !event::RESUME;
        if let Some(exit) = self.run_block(1) {
            // The instruction is not finished: what held for it holds still.
            self.events |= before & (event::SHADOWS | event::RESUME);
            self.system_flags |= if resume { flags::RF } else { 0 };
            return Some(exit);
        }
        if self.exceptions != exceptions {
            return None;
        }
        if self.rip() == at && resume {
            // A repeated string instruction between iterations is still the same instruction.
            self.system_flags |= flags::RF;
            self.events |= event::RESUME;
        }
        if before & event::SINGLE_STEP != 0 && !self.step_over {
            self.pending_dr6 |= DR6_SINGLE_STEP;
            self.events |= event::DEBUG_TRAP;
        }
        None
    }

    /// Everything that is not the next instruction: signals, timers, interrupts, halts. `None` means
    /// that execution goes on (if the vCPU is running).
    #[cold]
    #[inline(never)]
    fn attend(&mut self) -> Option<VmExit> {
        self.sample(self.rip(), false);
        if self.signal.take(VcpuSignal::KICK) != 0 {
            return Some(VmExit::Interrupted);
        }
        self.signal.take(VcpuSignal::IRQ | VcpuSignal::TIMER);
        self.budget = TIMER_BUDGET;
        let now = self.board.clock.now_ns();
        if self.board.irqchip.next_deadline(self.index) <= now {
            self.board.irqchip.run_timers(self.index, now);
            self.signal.take(VcpuSignal::IRQ | VcpuSignal::TIMER);
        }
        if self.signal.pending() & VcpuSignal::CODE != 0 {
            self.drop_stale_code();
        }
        self.drop_code_if_full();
        if self.device.take_rerun() {
            // Half an instruction has reached the devices; it finishes before anything else happens.
            return None;
        }
        self.device.forget();
        self.events &= !event::DEVICE;
        self.take_init_and_sipi();
        if self.activity == Activity::WaitForSipi {
            self.sleep();
            return None;
        }
        if self.events & event::DEBUG_TRAP != 0 && self.events & event::MOV_SS_SHADOW == 0 {
            return self.debug_trap();
        }
        self.take_interrupts()
    }

    /// Tells the profile, if it asks, that this vCPU is in or before the block at `rip`.
    pub(crate) fn sample(&self, rip: u64, translated: bool) {
        if self.signal.pending() & VcpuSignal::SAMPLE != 0 {
            self.signal.take(VcpuSignal::SAMPLE);
            let place = Place {
                rip,
                user: self.cpl == 3,
                translated,
                halted: self.activity != Activity::Running,
            };
            self.board.profiler.record(self.index, place);
        }
    }

    /// Makes room when an instruction found none for its thunk or block.
    pub(crate) fn drop_code_if_full(&mut self) {
        if self.events & event::DROP_CODE != 0 {
            self.events &= !event::DROP_CODE;
            self.blocks.clear();
            // Translations hold decoded instructions, and those thunks.
            self.drop_translations();
            self.host.reset();
        }
    }

    fn take_init_and_sipi(&mut self) {
        if self.board.irqchip.take_init(self.index) {
            self.board.irqchip.reset_lapic(self.index);
            self.init();
            // The boot processor starts at the reset vector, the others wait.
            self.set_activity(if self.index == 0 {
                Activity::Running
            } else {
                Activity::WaitForSipi
            });
        }
        let start = self.board.irqchip.take_sipi(self.index);
        if let Some(start) = start.filter(|_| self.activity == Activity::WaitForSipi) {
            self.start_at(start);
        }
    }

    fn debug_trap(&mut self) -> Option<VmExit> {
        self.events = self.events & !event::DEBUG_TRAP | event::CHECK_INTERRUPTS;
        let dr6 = std::mem::take(&mut self.pending_dr6);
        self.set_activity(Activity::Running);
        self.exception(Exception {
            vector: vector::DB,
            error: None,
            address: 0,
            dr6,
        })
    }

    /// Takes an NMI or interrupt if one can be taken; sleeps if halted and there is none.
    fn take_interrupts(&mut self) -> Option<VmExit> {
        self.events &= !event::CHECK_INTERRUPTS;
        let shadows = self.events & event::SHADOWS;
        let irqchip = &self.board.irqchip;
        if !self.nmi_blocked && shadows == 0 && irqchip.take_nmi(self.index) {
            self.nmi_blocked = true;
            self.events |= event::CHECK_INTERRUPTS;
            return self.interrupt_from_outside(vector::NMI);
        }
        self.interrupt_waiting = irqchip.has_interrupt(self.index);
        if self.interrupt_waiting && shadows == 0 && self.system_flags & flags::IF != 0 {
            if let Some(number) = self.board.irqchip.take_interrupt(self.index) {
                let exit = self.interrupt_from_outside(number);
                self.interrupt_waiting = self.board.irqchip.has_interrupt(self.index);
                if self.interrupt_waiting {
                    self.events |= event::CHECK_INTERRUPTS;
                }
                return exit;
            }
            self.interrupt_waiting = false;
        }
        if shadows != 0 {
            self.events |= event::CHECK_INTERRUPTS;
        }
        if self.activity == Activity::Halted {
            self.sleep();
        }
        None
    }

    fn interrupt_from_outside(&mut self, number: u8) -> Option<VmExit> {
        self.interrupts += 1;
        self.set_activity(Activity::Running);
        match self.interrupt(number, Source::External) {
            Ok(()) => None,
            Err(_) if matches!(self.stop, StopReason::Device) => {
                // As for exceptions: what the delivery needs must not be in device memory.
                self.stop = StopReason::Shutdown;
                self.device.forget();
                self.stopped()
            }
            Err(_) => self.stopped(),
        }
    }

    /// Waits for a signal or the next timer.
    fn sleep(&mut self) {
        let deadline = self.board.irqchip.next_deadline(self.index);
        let deadline = (deadline != u64::MAX).then_some(deadline);
        self.signal.wait(deadline, &self.board.clock);
    }
}

/// The exception an address that is not canonical raises.
pub(super) fn address_fault(vector: u8) -> StopReason {
    StopReason::Exception(Exception {
        vector,
        error: Some(0),
        address: 0,
        dr6: 0,
    })
}
