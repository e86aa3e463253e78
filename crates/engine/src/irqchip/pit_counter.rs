//! One counter of the 8254 (8254 datasheet, "Mode Definitions").
//!
//! Nothing ticks: a counter remembers when it was started, in ticks of its input clock since machine
//! start, and everything else is arithmetic on the tick it is now. The one tick that the 8254 needs to
//! load a count is left out.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Waiting for a count, or in modes 1 and 5 for the gate.
    Idle,
    Running {
        start: u64,
    },
    /// The gate is low.
    Paused {
        elapsed: u64,
    },
}

#[derive(Debug)]
pub(super) struct Counter {
    pub(super) mode: u8,
    bcd: bool,
    /// Read/write field: 1 low byte, 2 high byte, 3 low then high.
    access: u8,
    gate: bool,
    run: Run,
    /// Ticks of the current count or period; 0 before the first count.
    count: u32,
    /// A count that waits for the end of the period (modes 2, 3) or for the gate (modes 1, 5).
    next: Option<u32>,
    written_low: Option<u8>,
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    pub(super) fn new(gate: bool) -> Self {
        Self {
            // Mode 3 with its output high: programming the counter makes no edge by itself.
            mode: 3,
            bcd: false,
            access: 3,
            gate,
            run: Run::Idle,
            count: 0,
            next: None,
            written_low: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    pub(super) fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Modes 1 and 5 start when the gate rises.
    fn triggered(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    pub(super) fn write_control(&mut self, value: u8) {
        *self = Self {
            // Modes 2 and 3 ignore the highest mode bit.
            mode: match (value >> 1) & 7 {
                mode @ 6..=7 => mode - 4,
                mode => mode,
            },
            bcd: value & 1 != 0,
            access: (value >> 4) & 3,
            ..Self::new(self.gate)
        };
    }

    pub(super) fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.written_low.take()) {
            (1, _) => u16::from(value),
            (2, _) => u16::from(value) << 8,
            (_, Some(low)) => u16::from_le_bytes([low, value]),
            (_, None) => {
                self.written_low = Some(value);
                // In mode 0 the first byte stops the count.
                if self.mode == 0 {
                    self.run = Run::Idle;
                }
                return;
            }
        };
        self.load(self.decode(count), now);
    }

    fn load(&mut self, count: u32, now: u64) {
        self.settle(now);
        if self.triggered() {
            self.next = Some(count);
            return;
        }
        if let (Run::Running { .. }, true) = (self.run, self.periodic()) {
            self.next = Some(count);
            return;
        }
        self.count = count;
        self.next = None;
        self.run = if self.gate {
            Run::Running { start: now }
        } else {
            Run::Paused { elapsed: 0 }
        };
    }

    pub(super) fn set_gate(&mut self, gate: bool, now: u64) {
        self.settle(now);
        let rose = gate && !self.gate;
        let fell = !gate && self.gate;
        self.gate = gate;
        match self.run {
            _ if rose && self.triggered() => {
                if let Some(count) = self.next.take() {
                    self.count = count;
                }
                if self.count != 0 {
                    self.run = Run::Running { start: now };
                }
            }
            Run::Paused { elapsed } if rose => {
                self.count = self.next.take().unwrap_or(self.count);
                self.run = Run::Running {
                    start: now.saturating_sub(elapsed),
                };
            }
            Run::Running { start } if fell && !self.triggered() => {
                // Modes 2 and 3 start a new period when the gate rises again, the others go on.
                let elapsed = if self.periodic() {
                    0
                } else {
                    now.saturating_sub(start)
                };
                self.run = Run::Paused { elapsed };
            }
            _ => {}
        }
    }

    /// Moves past the ends of periods up to now; true if there was one.
    pub(super) fn settle(&mut self, now: u64) -> bool {
        let Run::Running { start } = self.run else {
            return false;
        };
        if !self.periodic() || now.saturating_sub(start) < u64::from(self.count) {
            return false;
        }
        let mut start = start;
        if let Some(next) = self.next.take() {
            start += u64::from(self.count);
            self.count = next;
        }
        let period = u64::from(self.count).max(1);
        self.run = Run::Running {
            start: now - (now - start) % period,
        };
        true
    }

    fn elapsed(&self, now: u64) -> u64 {
        match self.run {
            Run::Idle => 0,
            Run::Running { start } => now.saturating_sub(start),
            Run::Paused { elapsed } => elapsed,
        }
    }

    /// The OUT pin, after `settle`.
    pub(super) fn out(&self, now: u64) -> bool {
        let count = u64::from(self.count);
        let elapsed = self.elapsed(now);
        let running = self.run != Run::Idle;
        match self.mode {
            0 => running && elapsed >= count,
            1 => !running || elapsed >= count,
            2 => !running || elapsed + 1 != count,
            3 => !running || elapsed < count.div_ceil(2),
            _ => !running || elapsed != count,
        }
    }

    /// The counting element, after `settle`, in the counter's number base.
    fn value(&self, now: u64) -> u16 {
        let modulus: u64 = if self.bcd { 10_000 } else { 0x1_0000 };
        let count = u64::from(self.count);
        let elapsed = self.elapsed(now);
        let left = if self.mode == 3 {
            // Counts down by two in each half of the period.
            let half = count.div_ceil(2);
            let in_half = if elapsed < half {
                elapsed
            } else {
                elapsed - half
            };
            (count & !1).saturating_sub(2 * in_half)
        } else {
            count + modulus - elapsed % modulus
        };
        self.encode((left % modulus) as u16)
    }

    pub(super) fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        self.settle(now);
        let [low, high] = self
            .latched_count
            .unwrap_or_else(|| self.value(now))
            .to_le_bytes();
        let read_high = self.access == 2 || (self.access == 3 && self.read_high);
        if self.access == 3 {
            self.read_high = !self.read_high;
        }
        if self.access != 3 || read_high {
            self.latched_count = None;
        }
        if read_high { high } else { low }
    }

    /// A count that is latched stays until it is read.
    pub(super) fn latch_count(&mut self, now: u64) {
        self.settle(now);
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(now));
        }
    }

    /// Status byte of the read-back command: OUT, null count, and the control word.
    pub(super) fn latch_status(&mut self, now: u64) {
        self.settle(now);
        let null = self.count == 0 || self.next.is_some();
        let status = u8::from(self.out(now)) << 7
            | u8::from(null) << 6
            | self.access << 4
            | self.mode << 1
            | u8::from(self.bcd);
        self.latched_status.get_or_insert(status);
    }

    /// A written count in ticks; 0 is the largest. Nibbles that are no digits count as they come.
    fn decode(&self, count: u16) -> u32 {
        let (value, largest) = if self.bcd {
            let digit = |place: u32| u32::from(count >> (4 * place) & 0xF);
            let value = digit(3) * 1000 + digit(2) * 100 + digit(1) * 10 + digit(0);
            (value % 10_000, 10_000)
        } else {
            (u32::from(count), 0x1_0000)
        };
        if value == 0 { largest } else { value }
    }

    fn encode(&self, value: u16) -> u16 {
        if !self.bcd {
            return value;
        }
        let digit = |unit: u16| value / unit % 10;
        digit(1000) << 12 | digit(100) << 8 | digit(10) << 4 | digit(1)
    }

    /// The tick of the next rising edge of OUT.
    pub(super) fn next_edge(&self) -> Option<u64> {
        let Run::Running { start } = self.run else {
            return None;
        };
        Some(start.saturating_add(u64::from(self.count)))
    }
}
