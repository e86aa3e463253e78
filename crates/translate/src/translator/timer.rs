//! How a timer interrupts translated code.
//!
//! Translated code looks at the vCPU's attention word where it branches backwards or indirectly, so
//! a timer only has to set a bit there. A POSIX timer of the vCPU's thread does, by a signal whose
//! handler is that one store.

use std::cell::Cell;
use std::io;
use std::sync::Once;

use wardian_engine::clock::{Clock, NS_PER_S};
use wardian_engine::signal::VcpuSignal;

use crate::cpu::Cpu;

/// No deadline is this.
const NEVER_ARMED: u64 = u64::MAX - 1;

thread_local! {
    /// The vCPU that this thread runs. The handler reads it; it is null while none runs.
    static RUNNING: Cell<*const VcpuSignal> = const { Cell::new(std::ptr::null()) };
}

/// One timer of the thread that runs the vCPU.
pub(super) struct PreemptionTimer {
    timer: Option<(libc::timer_t, libc::pid_t)>,
    /// The deadline it is set for, on the machine's clock.
    armed_ns: u64,
    /// Tells the thread that ran the vCPU last from others.
    thread: usize,
}

// SAFETY: a timer's identifier is valid in every thread of the process.
unsafe impl Send for PreemptionTimer {}

impl Default for PreemptionTimer {
    fn default() -> Self {
        Self {
            timer: None,
            armed_ns: NEVER_ARMED,
            thread: 0,
        }
    }
}

/// The signal: a real-time one that neither the C library nor Python uses.
fn number() -> libc::c_int {
    libc::SIGRTMIN() + 7
}

extern "C" fn expired(_: libc::c_int) {
    RUNNING.with(|running| {
        let signal = running.get();
        if !signal.is_null() {
            // SAFETY: `PreemptionTimer::enter` set it, and `leave` clears it before the vCPU goes.
            unsafe { &*signal }.raise_for_later(VcpuSignal::TIMER);
        }
    });
}

fn install_handler() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler is async-signal-safe: it touches one atomic word.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = expired as *const () as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
            libc::sigaction(number(), &raw const action, std::ptr::null_mut());
        }
    });
}

impl PreemptionTimer {
    /// Makes sure that the attention word is marked at `deadline_ns` on `clock`.
    fn arm(&mut self, deadline_ns: u64, clock: &Clock) -> io::Result<()> {
        let timer = self.timer()?;
        self.armed_ns = deadline_ns;
        let left = match deadline_ns {
            u64::MAX => 0,
            // 0 would disarm it.
            deadline => deadline.saturating_sub(clock.now_ns()).max(1),
        };
        // SAFETY: the timer is ours and alive.
        unsafe {
            let mut setting: libc::itimerspec = std::mem::zeroed();
            setting.it_value.tv_sec = (left / NS_PER_S) as libc::time_t;
            setting.it_value.tv_nsec = (left % NS_PER_S) as libc::c_long;
            libc::timer_settime(timer, 0, &raw const setting, std::ptr::null_mut());
        }
        Ok(())
    }

    /// The timer of the calling thread.
    fn timer(&mut self) -> io::Result<libc::timer_t> {
        // SAFETY: no arguments.
        let thread = unsafe { libc::gettid() };
        match self.timer {
            Some((timer, owner)) if owner == thread => return Ok(timer),
            Some(_) => self.delete(),
            None => {}
        }
        install_handler();
        // SAFETY: a fully initialised request; the kernel fills in the identifier.
        unsafe {
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = number();
            event.sigev_notify_thread_id = thread;
            let mut timer: libc::timer_t = std::mem::zeroed();
            let made = libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer);
            if made != 0 {
                return Err(io::Error::last_os_error());
            }
            self.timer = Some((timer, thread));
            Ok(timer)
        }
    }

    fn delete(&mut self) {
        if let Some((timer, _)) = self.timer.take() {
            // SAFETY: the timer is ours and not used again.
            unsafe { libc::timer_delete(timer) };
        }
    }
}

impl Drop for PreemptionTimer {
    fn drop(&mut self) {
        self.delete();
    }
}

impl Cpu {
    /// To be called by the thread that is about to run the vCPU, and with `false` when it stops.
    pub(crate) fn expect_timer(&mut self, running: bool) {
        let signal = if running {
            &raw const *self.signal
        } else {
            std::ptr::null()
        };
        let thread = RUNNING.with(|current| {
            current.set(signal);
            std::ptr::from_ref(current).addr()
        });
        let Some(translator) = self.translator.as_mut().filter(|_| running) else {
            return;
        };
        if translator.timer.thread != thread {
            translator.timer.thread = thread;
            translator.timer.armed_ns = NEVER_ARMED;
        }
        // The deadline may have passed while nobody listened to the timer.
        self.budget = -1;
    }

    /// Sets the timer for the next deadline, if that has changed.
    ///
    /// # Errors
    /// The host's refusal of a timer.
    pub(super) fn arm_timer(&mut self) -> io::Result<()> {
        let deadline = self.board.irqchip.next_deadline(self.index);
        let board = std::sync::Arc::clone(&self.board);
        if let Some(translator) = &mut self.translator {
            if translator.timer.armed_ns != deadline {
                return translator.timer.arm(deadline, &board.clock);
            }
        }
        Ok(())
    }
}
