//! The 8254 interval timer and port 61h (8254 datasheet, "Programming the 8254" and "Mode
//! Definitions"; port 61h as NMI status and control register in the 82371AB datasheet).

use super::pit_counter::Counter;

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
    ///
    /// A time that another vCPU has overtaken counts as the later one: the line does not go back.
    pub(super) fn timer_line(&mut self, now_ns: u64) -> (bool, bool) {
        let now = ticks(now_ns).max(self.seen);
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

    /// When `timer_line` will have something new to say, perhaps already; `u64::MAX` for never.
    pub(super) fn deadline_ns(&self) -> u64 {
        let counter = &self.counters[0];
        match counter.next_edge() {
            Some(edge) if counter.periodic() || edge > self.seen => tick_to_ns(edge),
            _ => u64::MAX,
        }
    }
}
