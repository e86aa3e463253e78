//! The local APIC's timer (Intel SDM vol 3, 11.5.4).
//!
//! Nothing ticks: a count is computed from the clock when somebody looks, and the owner asks when the
//! next expiry is. The bus clock is 1 GHz, so a count is nanoseconds over the divider.

use crate::clock::Clock;

const MODE_SHIFT: u32 = 17;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerMode {
    OneShot,
    Periodic,
    TscDeadline,
}

impl TimerMode {
    /// From LVT bits 18:17. The reserved 11 counts as one-shot.
    pub(super) fn from_lvt(lvt: u32) -> Self {
        match (lvt >> MODE_SHIFT) & 3 {
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

#[derive(Debug)]
pub(super) struct Timer {
    mode: TimerMode,
    divide: u32,
    initial: u32,
    /// When the count was `count`; a count of 0 stands still.
    start_ns: u64,
    count: u32,
    /// IA32_TSC_DEADLINE in guest TSC; 0 is disarmed.
    tsc_deadline: u64,
    /// Guest TSC minus host TSC, modulo 2^64.
    tsc_offset: u64,
}

impl Timer {
    pub(super) fn new() -> Self {
        Self {
            mode: TimerMode::OneShot,
            divide: 0,
            initial: 0,
            start_ns: 0,
            count: 0,
            tsc_deadline: 0,
            tsc_offset: 0,
        }
    }

    /// The state after INIT. The TSC offset is not the timer's to lose.
    pub(super) fn reset(&mut self) {
        *self = Self {
            tsc_offset: self.tsc_offset,
            ..Self::new()
        };
    }

    pub(super) fn set_tsc_offset(&mut self, offset: u64) {
        self.tsc_offset = offset;
    }

    /// Entering or leaving TSC-deadline mode disarms the timer (11.5.4.1).
    pub(super) fn set_mode(&mut self, mode: TimerMode) {
        let deadline_mode = |mode| mode == TimerMode::TscDeadline;
        if deadline_mode(self.mode) != deadline_mode(mode) {
            self.count = 0;
            self.initial = 0;
            self.tsc_deadline = 0;
        }
        self.mode = mode;
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    /// A running count goes on at the new rate from where it is.
    pub(super) fn set_divide(&mut self, divide: u32, now_ns: u64) {
        self.count = self.current(now_ns);
        self.start_ns = now_ns;
        self.divide = divide & 0xB;
    }

    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    /// Starts the count; 0 stops it. Ignored in TSC-deadline mode.
    pub(super) fn set_initial(&mut self, initial: u32, now_ns: u64) {
        if self.mode != TimerMode::TscDeadline {
            self.initial = initial;
            self.count = initial;
            self.start_ns = now_ns;
        }
    }

    /// Reads as 0 outside TSC-deadline mode.
    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// Ignored outside TSC-deadline mode; true in it.
    pub(super) fn set_tsc_deadline(&mut self, deadline: u64) -> bool {
        let in_mode = self.mode == TimerMode::TscDeadline;
        if in_mode {
            self.tsc_deadline = deadline;
        }
        in_mode
    }

    /// The current count register.
    pub(super) fn current(&self, now_ns: u64) -> u32 {
        let elapsed = now_ns.saturating_sub(self.start_ns) / self.divisor();
        let count = u64::from(self.count);
        let left = if elapsed < count {
            count - elapsed
        } else if count == 0 || self.mode != TimerMode::Periodic || self.initial == 0 {
            0
        } else {
            let initial = u64::from(self.initial);
            initial - (elapsed - count) % initial
        };
        left as u32
    }

    /// Moves past every expiry up to now; true if there was one. Periods that were missed while the
    /// host was away count as one, and the phase is kept.
    pub(super) fn advance(&mut self, now_ns: u64, clock: &Clock) -> bool {
        match self.mode {
            TimerMode::TscDeadline => {
                let guest_tsc = || clock.tsc().wrapping_add(self.tsc_offset);
                let due = self.tsc_deadline != 0 && guest_tsc() >= self.tsc_deadline;
                if due {
                    self.tsc_deadline = 0;
                }
                due
            }
            TimerMode::OneShot => {
                let due = self.count != 0 && self.expiry_ns() <= now_ns;
                if due {
                    self.count = 0;
                }
                due
            }
            TimerMode::Periodic => {
                let expiry_ns = self.expiry_ns();
                let due = self.count != 0 && expiry_ns <= now_ns;
                if due {
                    let period_ns = (u64::from(self.initial) * self.divisor()).max(1);
                    self.start_ns = now_ns - (now_ns - expiry_ns) % period_ns;
                    self.count = self.initial;
                }
                due
            }
        }
    }

    /// When the timer expires next; `u64::MAX` for never.
    pub(super) fn deadline_ns(&self, clock: &Clock) -> u64 {
        match self.mode {
            TimerMode::TscDeadline if self.tsc_deadline == 0 => u64::MAX,
            TimerMode::TscDeadline => {
                // One reading for both: time that passes between two would make the deadline late.
                let tsc = clock.tsc();
                let guest_tsc = tsc.wrapping_add(self.tsc_offset);
                let ahead = self.tsc_deadline.saturating_sub(guest_tsc);
                // Rounded up, so that the TSC has reached the deadline when the clock says so.
                clock.tsc_to_ns(tsc.saturating_add(ahead)).saturating_add(1)
            }
            _ if self.count == 0 => u64::MAX,
            _ => self.expiry_ns(),
        }
    }

    fn expiry_ns(&self) -> u64 {
        self.start_ns
            .saturating_add(u64::from(self.count) * self.divisor())
    }

    /// Divide configuration bits 3, 1 and 0: 000 is 2, ... 110 is 128, 111 is 1 (Figure 11-10).
    fn divisor(&self) -> u64 {
        let code = (self.divide & 3) | ((self.divide >> 1) & 4);
        1 << ((code + 1) & 7)
    }
}
