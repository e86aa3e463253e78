//! The pair of 8259A interrupt controllers with the edge/level control registers of PCI chipsets
//! (8259A datasheet, "Programming the 8259A"; 82371AB datasheet, ELCR).

/// The master's input that the slave's output is wired to.
const CASCADE: u8 = 2;
/// Inputs whose trigger mode can be chosen: not the timer, keyboard and cascade; not the RTC and the
/// coprocessor.
const ELCR_WRITABLE: [u8; 2] = [0xF8, 0xDE];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expecting {
    Icw2,
    Icw3,
    Icw4,
    Operation,
}

#[derive(Debug)]
struct Chip {
    /// Requests; follows the line for level inputs, latched for edge inputs.
    irr: u8,
    isr: u8,
    imr: u8,
    lines: u8,
    /// One bit for each level-triggered input.
    level: u8,
    vector_base: u8,
    /// The input of lowest priority; the next one is the highest.
    lowest: u8,
    expecting: Expecting,
    single: bool,
    needs_icw4: bool,
    auto_eoi: bool,
    rotate_on_auto_eoi: bool,
    special_mask: bool,
    special_nested: bool,
    read_isr: bool,
    poll: bool,
}

impl Chip {
    fn new(vector_base: u8) -> Self {
        Self {
            irr: 0,
            isr: 0,
            // As firmware leaves it: quiet until an operating system takes over.
            imr: 0xFF,
            lines: 0,
            level: 0,
            vector_base,
            lowest: 7,
            expecting: Expecting::Operation,
            single: false,
            needs_icw4: false,
            auto_eoi: false,
            rotate_on_auto_eoi: false,
            special_mask: false,
            special_nested: false,
            read_isr: false,
            poll: false,
        }
    }

    /// An edge stays requested when its line falls before the acknowledge. The 8259A would answer
    /// that with a spurious IR7; devices here may pulse their line, and should be heard.
    fn set_line(&mut self, input: u8, asserted: bool) {
        let bit = 1 << input;
        let rose = asserted && self.lines & bit == 0;
        self.lines = if asserted {
            self.lines | bit
        } else {
            self.lines & !bit
        };
        if self.level & bit != 0 {
            self.irr = (self.irr & !bit) | (self.lines & bit);
        } else if rose {
            self.irr |= bit;
        }
    }

    fn set_level_inputs(&mut self, level: u8) {
        let changed = self.level ^ level;
        self.level = level;
        self.irr = (self.irr & !changed) | (self.lines & level & changed);
    }

    /// The highest-priority input of a set, with its rank (0 is highest).
    fn best(&self, inputs: u8) -> Option<(u32, u8)> {
        let rank = inputs
            .rotate_right(u32::from(self.lowest) + 1)
            .trailing_zeros();
        (inputs != 0).then(|| (rank, ((u32::from(self.lowest) + 1 + rank) & 7) as u8))
    }

    /// The input to be served now: unmasked, and of higher priority than what is in service.
    ///
    /// In special mask mode masked inputs in service hold nothing back. In special fully nested
    /// mode the master lets further requests of its slave through.
    fn request(&self) -> Option<u8> {
        if self.expecting != Expecting::Operation {
            return None;
        }
        let (rank, input) = self.best(self.irr & !self.imr)?;
        let nests_in_itself = self.special_nested && input == CASCADE;
        match self.best(self.holding_back()) {
            Some((in_service, _)) if in_service < rank => None,
            Some((in_service, _)) if in_service == rank && !nests_in_itself => None,
            _ => Some(input),
        }
    }

    fn holding_back(&self) -> u8 {
        if self.special_mask {
            self.isr & !self.imr
        } else {
            self.isr
        }
    }

    /// Interrupt acknowledge, by INTA or poll. `None` is a spurious interrupt: nothing is in service.
    fn acknowledge(&mut self) -> Option<u8> {
        let input = self.request()?;
        let bit = 1 << input;
        if self.level & bit == 0 {
            self.irr &= !bit;
        }
        if !self.auto_eoi {
            self.isr |= bit;
        } else if self.rotate_on_auto_eoi {
            self.lowest = input;
        }
        Some(input)
    }

    fn vector(&self, input: Option<u8>) -> u8 {
        self.vector_base | input.unwrap_or(7)
    }

    fn write_command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            self.icw1(value);
        } else if value & 0x08 != 0 {
            self.ocw3(value);
        } else {
            self.ocw2(value);
        }
    }

    /// The trigger-mode bit is left to the ELCR, as in PCI chipsets. Lines that are asserted need a
    /// new edge.
    fn icw1(&mut self, value: u8) {
        *self = Self {
            irr: self.lines & self.level,
            imr: 0,
            lines: self.lines,
            level: self.level,
            expecting: Expecting::Icw2,
            single: value & 2 != 0,
            needs_icw4: value & 1 != 0,
            ..Self::new(self.vector_base)
        };
    }

    /// End of interrupt and rotation: bits R, SL and EOI choose the command.
    fn ocw2(&mut self, value: u8) {
        let named = value & 7;
        match value >> 5 {
            0b000 => self.rotate_on_auto_eoi = false,
            0b100 => self.rotate_on_auto_eoi = true,
            0b001 | 0b101 => {
                // In special mask mode a non-specific EOI does not clear a masked input.
                if let Some((_, input)) = self.best(self.holding_back()) {
                    self.isr &= !(1 << input);
                    if value >> 5 == 0b101 {
                        self.lowest = input;
                    }
                }
            }
            0b011 => self.isr &= !(1 << named),
            0b111 => {
                self.isr &= !(1 << named);
                self.lowest = named;
            }
            0b110 => self.lowest = named,
            _ => {}
        }
    }

    fn ocw3(&mut self, value: u8) {
        if value & 0x40 != 0 {
            self.special_mask = value & 0x20 != 0;
        }
        if value & 0x04 != 0 {
            self.poll = true;
        }
        if value & 0x02 != 0 {
            self.read_isr = value & 0x01 != 0;
        }
    }

    fn write_data(&mut self, value: u8) {
        let after_icw3 = if self.needs_icw4 {
            Expecting::Icw4
        } else {
            Expecting::Operation
        };
        self.expecting = match self.expecting {
            Expecting::Icw2 => {
                self.vector_base = value & 0xF8;
                if self.single {
                    after_icw3
                } else {
                    Expecting::Icw3
                }
            }
            // How the pair is wired is a fact of the board.
            Expecting::Icw3 => after_icw3,
            Expecting::Icw4 => {
                self.auto_eoi = value & 0x02 != 0;
                self.special_nested = value & 0x10 != 0;
                Expecting::Operation
            }
            Expecting::Operation => {
                self.imr = value;
                Expecting::Operation
            }
        };
    }

    fn read(&mut self, data: bool) -> u8 {
        if std::mem::take(&mut self.poll) {
            return self.acknowledge().map_or(0, |input| 0x80 | input);
        }
        match (data, self.read_isr) {
            (true, _) => self.imr,
            (false, true) => self.isr,
            (false, false) => self.irr,
        }
    }
}

/// Master (IRQ 0 to 7) and slave (IRQ 8 to 15).
#[derive(Debug)]
pub(super) struct PicPair {
    chips: [Chip; 2],
}

impl PicPair {
    pub(super) fn new() -> Self {
        // The vectors PC firmware uses.
        Self {
            chips: [Chip::new(0x08), Chip::new(0x70)],
        }
    }

    /// Whether the pair asks the CPU for an acknowledge cycle.
    pub(super) fn output(&self) -> bool {
        self.chips[0].request().is_some()
    }

    /// Asserts or releases an interrupt line, 0 to 15 without the cascade.
    pub(super) fn set_line(&mut self, irq: u8, asserted: bool) {
        if irq < 16 && irq != CASCADE {
            self.chips[usize::from(irq >> 3)].set_line(irq & 7, asserted);
            self.cascade();
        }
    }

    /// The interrupt acknowledge cycle: the vector, which is that of IRQ 7 or 15 when the request
    /// has gone away.
    pub(super) fn acknowledge(&mut self) -> u8 {
        let input = self.chips[0].acknowledge();
        let vector = if input == Some(CASCADE) {
            let slave_input = self.chips[1].acknowledge();
            self.chips[1].vector(slave_input)
        } else {
            self.chips[0].vector(input)
        };
        self.cascade();
        vector
    }

    /// Port 20h, 21h, A0h or A1h.
    pub(super) fn read(&mut self, port: u16) -> u8 {
        let value = self.chip(port).read(port & 1 != 0);
        self.cascade();
        value
    }

    /// Port 20h, 21h, A0h or A1h.
    pub(super) fn write(&mut self, port: u16, value: u8) {
        if port & 1 == 0 {
            self.chip(port).write_command(value);
        } else {
            self.chip(port).write_data(value);
        }
        self.cascade();
    }

    /// Port 4D0h or 4D1h.
    pub(super) fn read_elcr(&self, port: u16) -> u8 {
        self.chips[usize::from(port & 1)].level
    }

    /// Port 4D0h or 4D1h.
    pub(super) fn write_elcr(&mut self, port: u16, value: u8) {
        let index = usize::from(port & 1);
        self.chips[index].set_level_inputs(value & ELCR_WRITABLE[index]);
        self.cascade();
    }

    fn chip(&mut self, port: u16) -> &mut Chip {
        &mut self.chips[usize::from(port & 0x80 != 0)]
    }

    /// The slave's output is the master's input 2: it stays asserted as long as the slave has
    /// something to serve, so the master follows it like a level.
    fn cascade(&mut self) {
        let asserted = u8::from(self.chips[1].request().is_some());
        let master = &mut self.chips[0];
        master.irr = (master.irr & !(1 << CASCADE)) | asserted << CASCADE;
    }
}
