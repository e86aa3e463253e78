//! Accesses outside RAM, and how an instruction waits for a device in Python.
//!
//! An instruction that touches a device in Python cannot finish now: the engine has to return to the
//! machine first. Rather than suspending half-executed instructions, the engine abandons the
//! instruction with nothing changed and reports the access; with the answer known it runs the same
//! instruction again, and the accesses that were already made are answered from a log instead of
//! being made twice. So every instruction, however many devices it touches, is written as if devices
//! answered at once.

use wardian_engine::bus::{Native, Route};
use wardian_engine::contract::VmExit;

use crate::cpu::exception::{Exec, Stop, StopReason};
use crate::cpu::{Cpu, event};

/// Size of a local APIC's register window.
const LAPIC_WINDOW: u64 = 0x1000;
/// APIC_BASE: the APIC is on, and not in x2APIC mode.
const APIC_ENABLED: u64 = 1 << 11;
const APIC_X2: u64 = 1 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Port,
    Memory,
}

/// One access that was made for the current instruction.
#[derive(Clone, Copy, Debug)]
struct Done {
    space: Space,
    address: u64,
    size: u8,
    write: bool,
    value: u64,
}

/// The accesses of the current instruction.
#[derive(Default)]
pub struct DeviceAccess {
    done: Vec<Done>,
    /// How many of `done` the present run of the instruction has used.
    replayed: usize,
    /// The access that the machine has been asked to make.
    asked: Option<Done>,
    /// The machine has answered, and the instruction that asked has not been run again yet.
    rerun: bool,
    exit: Option<VmExit>,
}

impl DeviceAccess {
    /// Whether the instruction at RIP has reached devices and is to be run again before anything
    /// else happens; true once for each answer.
    pub fn take_rerun(&mut self) -> bool {
        std::mem::take(&mut self.rerun)
    }

    /// The exit that reports the access; `Some` once after a `StopReason::Device`.
    pub fn take_exit(&mut self) -> Option<VmExit> {
        self.exit.take()
    }

    /// The machine's answer to a read. Ignored unless one was asked for.
    pub fn complete_read(&mut self, value: u64) {
        if let Some(asked) = &mut self.asked {
            asked.value = value;
        }
    }

    /// The machine is running the vCPU again: what it was asked to do is done.
    pub fn resume(&mut self) {
        self.replayed = 0;
        self.done.extend(self.asked.take());
        self.rerun = !self.done.is_empty();
    }

    /// The instruction is finished (or given up): its accesses are history.
    pub fn forget(&mut self) {
        self.done.clear();
        self.replayed = 0;
        self.asked = None;
        self.rerun = false;
    }

    /// The answer to `wanted` from the log. Where another vCPU has changed what the instruction
    /// does, the rest of the log is of no use.
    fn replay(&mut self, wanted: &Done) -> Option<u64> {
        let done = self.done.get(self.replayed)?;
        let same = done.space == wanted.space
            && done.address == wanted.address
            && done.size == wanted.size
            && done.write == wanted.write;
        if !same {
            self.done.truncate(self.replayed);
            return None;
        }
        self.replayed += 1;
        Some(done.value)
    }
}

impl Cpu {
    /// Reads a port of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// When the answer has to come from Python.
    pub fn port_read(&mut self, port: u16, size: u8) -> Exec<u64> {
        let wanted = Done {
            space: Space::Port,
            address: u64::from(port),
            size,
            write: false,
            value: 0,
        };
        let value = self.access(wanted)?;
        self.io_breakpoint(port, u64::from(size));
        Ok(value)
    }

    /// Writes a port of 1, 2 or 4 bytes.
    ///
    /// # Errors
    /// When the write has to be made in Python.
    pub fn port_write(&mut self, port: u16, size: u8, value: u64) -> Exec {
        let wanted = Done {
            space: Space::Port,
            address: u64::from(port),
            size,
            write: true,
            value,
        };
        self.access(wanted)?;
        self.io_breakpoint(port, u64::from(size));
        Ok(())
    }

    /// Reads device memory; anything but 1, 2, 4 or 8 bytes goes byte by byte.
    pub(crate) fn device_read(&mut self, gpa: u64, out: &mut [u8]) -> Exec {
        let piece = piece_size(out.len());
        for (i, chunk) in out.chunks_mut(piece).enumerate() {
            let wanted = Done {
                space: Space::Memory,
                address: gpa + (i * piece) as u64,
                size: chunk.len() as u8,
                write: false,
                value: 0,
            };
            let value = self.access(wanted)?;
            chunk.copy_from_slice(&value.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }

    /// Writes device memory.
    pub(crate) fn device_write(&mut self, gpa: u64, data: &[u8]) -> Exec {
        let piece = piece_size(data.len());
        for (i, chunk) in data.chunks(piece).enumerate() {
            let mut value = [0; 8];
            value[..chunk.len()].copy_from_slice(chunk);
            self.access(Done {
                space: Space::Memory,
                address: gpa + (i * piece) as u64,
                size: chunk.len() as u8,
                write: true,
                value: u64::from_le_bytes(value),
            })?;
        }
        Ok(())
    }

    fn access(&mut self, mut wanted: Done) -> Exec<u64> {
        self.events |= event::DEVICE;
        self.end_block();
        if let Some(value) = self.device.replay(&wanted) {
            return Ok(value);
        }
        let answered = match wanted.space {
            Space::Port => self.answer_port(&wanted),
            Space::Memory => self.answer_memory(&wanted),
        };
        let Some(value) = answered else {
            self.device.asked = Some(wanted);
            self.stop = StopReason::Device;
            return Err(Stop);
        };
        let mask = u64::MAX >> (64 - u32::from(wanted.size) * 8);
        wanted.value = value & mask;
        self.device.done.push(wanted);
        self.device.replayed = self.device.done.len();
        Ok(wanted.value)
    }

    fn answer_port(&mut self, wanted: &Done) -> Option<u64> {
        let port = wanted.address as u16;
        match self.board.bus.pio(port) {
            Route::Native { .. } => {
                self.routes.pio_native += 1;
                let irqchip = &self.board.irqchip;
                if wanted.write {
                    irqchip.pio_write(port, wanted.size, wanted.value as u32);
                    Some(0)
                } else {
                    Some(u64::from(irqchip.pio_read(port, wanted.size)))
                }
            }
            Route::Python { token, offset } => {
                self.routes.pio_python += 1;
                let (size, value) = (wanted.size, wanted.value);
                self.device.exit = Some(if wanted.write {
                    VmExit::PioWrite {
                        token,
                        offset,
                        size,
                        value,
                    }
                } else {
                    VmExit::PioRead {
                        token,
                        offset,
                        size,
                    }
                });
                None
            }
            Route::Unclaimed => {
                self.routes.pio_unclaimed += 1;
                Some(u64::MAX)
            }
        }
    }

    fn answer_memory(&mut self, wanted: &Done) -> Option<u64> {
        let (gpa, size) = (wanted.address, wanted.size);
        let irqchip = &self.board.irqchip;
        let apic_base = irqchip.apic_base(self.index);
        let lapic = gpa.wrapping_sub(apic_base & !0xfff);
        if lapic < LAPIC_WINDOW && apic_base & (APIC_ENABLED | APIC_X2) == APIC_ENABLED {
            self.routes.mmio_native += 1;
            if wanted.write {
                irqchip.lapic_mmio_write(self.index, lapic, size, wanted.value);
                return Some(0);
            }
            return Some(irqchip.lapic_mmio_read(self.index, lapic, size));
        }
        match self.board.bus.mmio(gpa) {
            Route::Native {
                device: Native::IoApic,
                offset,
            } => {
                self.routes.mmio_native += 1;
                if wanted.write {
                    irqchip.ioapic_write(offset, size, wanted.value);
                    Some(0)
                } else {
                    Some(irqchip.ioapic_read(offset, size))
                }
            }
            Route::Python { token, offset } => {
                self.routes.mmio_python += 1;
                let value = wanted.value;
                self.device.exit = Some(if wanted.write {
                    VmExit::MmioWrite {
                        token,
                        offset,
                        size,
                        value,
                    }
                } else {
                    VmExit::MmioRead {
                        token,
                        offset,
                        size,
                    }
                });
                None
            }
            Route::Native { .. } | Route::Unclaimed => {
                self.routes.mmio_unclaimed += 1;
                Some(u64::MAX)
            }
        }
    }
}

fn piece_size(length: usize) -> usize {
    if matches!(length, 1 | 2 | 4 | 8) {
        length
    } else {
        1
    }
}
