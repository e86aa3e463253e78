//! The 8254 interval timer and port 61h (8254 datasheet, "Programming the 8254" and "Mode
//! Definitions"; port 61h as NMI status and control register in the 82371AB datasheet).
//!
//! Nothing ticks: a counter remembers when it was started, in ticks of the 1.193182 MHz input clock
//! since machine start, and everything else is arithmetic on the tick it is now. The one tick that
//! the 8254 needs to load a count is left out.

/// The input clock in Hz.
const FREQUENCY: u64 = 1_193_182;
const NS_PER_S: u64 = 1_000_000_000;
/// How often the refresh bit of port 61h toggles.
const REFRESH_NS: u64 = 15_085;

fn ticks(now_ns: u64) -> u64 {
    (u128::from(now_ns) * u128::from(FREQUENCY) / u128::from(NS_PER_S)) as u64
}

/// The first nanosecond at which it is this tick.
fn tick_to_ns(tick: u64) -> u64 {
    let ns = (u128::from(tick) * u128::from(NS_PER_S)).div_ceil(u128::from(FREQUENCY));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

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
struct Counter {
    mode: u8,
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
    fn new(gate: bool) -> Self {
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

    fn periodic(&self) -> bool {
        matches!(self.mode, 2 | 3)
    }

    /// Modes 1 and 5 start when the gate rises.
    fn triggered(&self) -> bool {
        matches!(self.mode, 1 | 5)
    }

    fn write_control(&mut self, value: u8) {
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

    fn write(&mut self, value: u8, now: u64) {
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

    fn set_gate(&mut self, gate: bool, now: u64) {
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
    fn settle(&mut self, now: u64) -> bool {
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
    fn out(&self, now: u64) -> bool {
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

    fn read(&mut self, now: u64) -> u8 {
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
    fn latch_count(&mut self, now: u64) {
        self.settle(now);
        if self.latched_count.is_none() {
            self.latched_count = Some(self.value(now));
        }
    }

    /// Status byte of the read-back command: OUT, null count, and the control word.
    fn latch_status(&mut self, now: u64) {
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
    fn next_edge(&self) -> Option<u64> {
        let Run::Running { start } = self.run else {
            return None;
        };
        Some(start.saturating_add(u64::from(self.count)))
    }
}

/// Counter 0 interrupts, counter 1 does nothing, counter 2 is the speaker's.
#[derive(Debug)]
pub(super) struct Pit {
    counters: [Counter; 3],
    /// The tick up to which counter 0 has been told.
    seen: u64,
    /// Port 61h bits 3:0: gate of counter 2, speaker, and two NMI switches without a source.
    control: u8,
}

impl Pit {
    pub(super) fn new() -> Self {
        Self {
            counters: [Counter::new(true), Counter::new(true), Counter::new(false)],
            seen: 0,
            control: 0,
        }
    }

    /// Port 40h to 43h.
    pub(super) fn read(&mut self, port: u16, now_ns: u64) -> u8 {
        match self.counters.get_mut(usize::from(port & 3)) {
            Some(counter) => counter.read(ticks(now_ns)),
            // The control word cannot be read: the data bus floats.
            None => 0xFF,
        }
    }

    /// Port 40h to 43h.
    pub(super) fn write(&mut self, port: u16, value: u8, now_ns: u64) {
        let now = ticks(now_ns);
        match self.counters.get_mut(usize::from(port & 3)) {
            Some(counter) => counter.write(value, now),
            None => self.write_control(value, now),
        }
    }

    fn write_control(&mut self, value: u8, now: u64) {
        let Some(counter) = self.counters.get_mut(usize::from(value >> 6)) else {
            self.read_back(value, now);
            return;
        };
        if value & 0x30 == 0 {
            counter.latch_count(now);
        } else {
            counter.write_control(value);
        }
    }

    /// Read-back: bits 5 and 4 are active low, bits 3:1 choose counters.
    fn read_back(&mut self, value: u8, now: u64) {
        for (index, counter) in self.counters.iter_mut().enumerate() {
            if value & (2 << index) == 0 {
                continue;
            }
            if value & 0x20 == 0 {
                counter.latch_count(now);
            }
            if value & 0x10 == 0 {
                counter.latch_status(now);
            }
        }
    }

    /// Port 61h: bit 4 toggles with the memory refresh, bit 5 is the output of counter 2.
    pub(super) fn read_control(&mut self, now_ns: u64) -> u8 {
        let now = ticks(now_ns);
        let speaker = &mut self.counters[2];
        speaker.settle(now);
        let refresh = ((now_ns / REFRESH_NS) & 1) as u8;
        self.control | refresh << 4 | u8::from(speaker.out(now)) << 5
    }

    /// Port 61h: bit 0 is the gate of counter 2.
    pub(super) fn write_control_port(&mut self, value: u8, now_ns: u64) {
        self.control = value & 0x0F;
        self.counters[2].set_gate(value & 1 != 0, ticks(now_ns));
    }

    /// Counter 0 up to now: whether its output rose again since the last call, and what the
    /// interrupt line is.
    ///
    /// In modes 2 to 5 the line is held high between rising edges: the low phase has no meaning to
    /// an edge-triggered input, and a long one would only make interrupts spurious.
    pub(super) fn timer_line(&mut self, now_ns: u64) -> (bool, bool) {
        let now = ticks(now_ns);
        let counter = &mut self.counters[0];
        let mut rose = counter.settle(now);
        // The strobe of mode 4 comes once, and the count goes on.
        if counter.mode == 4 {
            rose = counter
                .next_edge()
                .is_some_and(|edge| edge > self.seen && edge <= now);
        }
        self.seen = now;
        (rose, counter.mode != 0 || counter.out(now))
    }

    /// When `timer_line` will have something new to say; `u64::MAX` for never.
    pub(super) fn deadline_ns(&self, now_ns: u64) -> u64 {
        let counter = &self.counters[0];
        match counter.next_edge() {
            Some(edge) if counter.periodic() || edge > ticks(now_ns) => tick_to_ns(edge),
            _ => u64::MAX,
        }
    }
}
