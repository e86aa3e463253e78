//! Instructions that reach memory element by element, under a mask, or that only clear registers.
//!
//! They have no thunk: which bytes they may touch depends on register contents, and a fault in the
//! middle leaves defined partial state. The element accesses go through [`GuestBytes`].

use iced_x86::{CodeSize, Instruction, Mnemonic, OpKind, Register};

use super::area::{XMM, XsaveArea, YMM_HIGH};

/// Why an instruction has no thunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Special {
    /// It has one.
    None,
    /// VGATHERxxx and VPGATHERxx: one load per element.
    Gather,
    /// VMASKMOVxx and VPMASKMOVx from memory.
    MaskedLoad,
    /// VMASKMOVxx and VPMASKMOVx to memory.
    MaskedStore,
    /// MASKMOVQ and (V)MASKMOVDQU: byte-masked store to the address in rDI, DS by default.
    ByteMaskedStore,
    /// VZEROUPPER.
    ZeroUpper,
    /// VZEROALL.
    ZeroAll,
}

/// Guest memory by effective address: the segment base is added, and paging done, by whoever
/// implements this, for the segment `Instruction::memory_segment` names.
pub trait GuestBytes {
    /// The guest fault to raise.
    type Error;

    /// Fills `into` from effective address `ea`, all of it or none.
    fn read(&mut self, ea: u64, into: &mut [u8]) -> Result<(), Self::Error>;

    /// Faults as a write of `length` bytes at effective address `ea` would.
    fn probe_write(&mut self, ea: u64, length: usize) -> Result<(), Self::Error>;

    /// Writes all of `from` at effective address `ea`, or none.
    fn write(&mut self, ea: u64, from: &[u8]) -> Result<(), Self::Error>;
}

impl Special {
    /// Which of these `ins` is.
    pub(crate) fn of(ins: &Instruction) -> Self {
        use Mnemonic::*;
        match ins.mnemonic() {
            Vgatherdps | Vgatherdpd | Vgatherqps | Vgatherqpd | Vpgatherdd | Vpgatherdq
            | Vpgatherqd | Vpgatherqq => Special::Gather,
            Vmaskmovps | Vmaskmovpd | Vpmaskmovd | Vpmaskmovq => {
                if ins.op0_kind() == OpKind::Memory {
                    Special::MaskedStore
                } else {
                    Special::MaskedLoad
                }
            }
            Maskmovq | Maskmovdqu | Vmaskmovdqu => Special::ByteMaskedStore,
            Vzeroupper => Special::ZeroUpper,
            Vzeroall => Special::ZeroAll,
            _ => Special::None,
        }
    }
}

/// Executes an instruction whose [`HostOp::special`](super::HostOp) is not `None`.
///
/// `gpr` holds the 16 general registers in hardware order. The caller has done the checks of
/// [`HostKind`](super::HostKind), for MASKMOVQ also that no x87 exception is pending. On error the
/// guest sees what the processor would have left: a gather keeps the elements it finished and
/// their mask elements are clear; stores done before the fault stay, and are repeated unchanged
/// when the instruction restarts.
pub fn run_special<M: GuestBytes>(
    ins: &Instruction,
    gpr: &[u64; 16],
    vec: &mut XsaveArea,
    memory: &mut M,
) -> Result<(), M::Error> {
    match Special::of(ins) {
        Special::None => Ok(()),
        Special::Gather => gather(ins, gpr, vec, memory),
        Special::MaskedLoad => masked_load(ins, gpr, vec, memory),
        Special::MaskedStore => masked_store(ins, gpr, vec, memory),
        Special::ByteMaskedStore => byte_masked_store(ins, gpr, vec, memory),
        Special::ZeroUpper | Special::ZeroAll => {
            clear_registers(ins, vec);
            Ok(())
        }
    }
}

/// [`run_special`] for VZEROUPPER and VZEROALL, which touch no memory. Outside 64-bit mode only the
/// first eight registers are cleared.
pub fn clear_registers(ins: &Instruction, vec: &mut XsaveArea) {
    let count = if ins.code_size() == CodeSize::Code64 {
        16
    } else {
        8
    };
    let halves = 16 * count;
    vec.bytes[YMM_HIGH..YMM_HIGH + halves].fill(0);
    if ins.mnemonic() == Mnemonic::Vzeroall {
        vec.bytes[XMM..XMM + halves].fill(0);
    }
}

/// Intel SDM vol. 2, VGATHERDPS and its relatives. Elements load from the lowest up, so a fault
/// reports the lowest element that faults, and everything below it is complete.
fn gather<M: GuestBytes>(
    ins: &Instruction,
    gpr: &[u64; 16],
    vec: &mut XsaveArea,
    memory: &mut M,
) -> Result<(), M::Error> {
    use Mnemonic::{Vgatherdpd, Vgatherdps, Vgatherqpd, Vpgatherdd, Vpgatherdq, Vpgatherqq};
    let mnemonic = ins.mnemonic();
    let wide_data = matches!(mnemonic, Vgatherdpd | Vgatherqpd | Vpgatherdq | Vpgatherqq);
    let narrow_index = matches!(mnemonic, Vgatherdps | Vgatherdpd | Vpgatherdd | Vpgatherdq);
    let size = if wide_data { 8 } else { 4 };
    let index_size = if narrow_index { 4 } else { 8 };
    let count = (ins.op0_register().size() / size).min(ins.memory_index().size() / index_size);
    let (to, mask_register) = (ins.op0_register().number(), ins.op2_register().number());
    let indices = vec.ymm(ins.memory_index().number());

    let mut mask = vec.ymm(mask_register);
    let mut result = vec.ymm(to);
    for element in 0..count {
        let bytes = size * element..size * (element + 1);
        if mask[bytes.end - 1] & 0x80 != 0 {
            let ea = effective_address(ins, 1, gpr, element, &indices, index_size);
            memory.read(ea, &mut result[bytes.clone()])?;
            vec.set_ymm(to, result);
        }
        mask[bytes].fill(0);
        vec.set_ymm(mask_register, mask);
    }
    vec.set_ymm(mask_register, [0; 32]);
    result[size * count..].fill(0);
    vec.set_ymm(to, result);
    Ok(())
}

/// Intel SDM vol. 2, VMASKMOV and VPMASKMOV: masked-off elements read as zero and cannot fault.
fn masked_load<M: GuestBytes>(
    ins: &Instruction,
    gpr: &[u64; 16],
    vec: &mut XsaveArea,
    memory: &mut M,
) -> Result<(), M::Error> {
    let mask = vec.ymm(ins.op1_register().number());
    let ea = effective_address(ins, 2, gpr, 0, &[0; 32], 4);
    let mut result = [0; 32];
    for bytes in active_elements(ins, &mask, ins.op0_register().size()) {
        memory.read(element_address(ins, ea, bytes.start), &mut result[bytes])?;
    }
    vec.set_ymm(ins.op0_register().number(), result);
    Ok(())
}

fn masked_store<M: GuestBytes>(
    ins: &Instruction,
    gpr: &[u64; 16],
    vec: &XsaveArea,
    memory: &mut M,
) -> Result<(), M::Error> {
    let mask = vec.ymm(ins.op1_register().number());
    let data = vec.ymm(ins.op2_register().number());
    let ea = effective_address(ins, 0, gpr, 0, &[0; 32], 4);
    let elements = || active_elements(ins, &mask, ins.op2_register().size());
    for bytes in elements() {
        memory.probe_write(element_address(ins, ea, bytes.start), bytes.len())?;
    }
    for bytes in elements() {
        memory.write(element_address(ins, ea, bytes.start), &data[bytes])?;
    }
    Ok(())
}

/// Intel SDM vol. 2, MASKMOVQ and MASKMOVDQU. MASKMOVQ also enters MMX state.
fn byte_masked_store<M: GuestBytes>(
    ins: &Instruction,
    gpr: &[u64; 16],
    vec: &mut XsaveArea,
    memory: &mut M,
) -> Result<(), M::Error> {
    let mmx = ins.mnemonic() == Mnemonic::Maskmovq;
    let value = |register: Register| -> [u8; 16] {
        match mmx {
            true => u128::from(vec.mm(register.number())).to_le_bytes(),
            false => vec.xmm(register.number()).to_le_bytes(),
        }
    };
    let (data, mask) = (value(ins.op1_register()), value(ins.op2_register()));
    let ea = effective_address(ins, 0, gpr, 0, &[0; 32], 4);
    let width = if mmx { 8 } else { 16 };
    let selected = || (0..width).filter(|&byte| mask[byte] & 0x80 != 0);
    for byte in selected() {
        memory.probe_write(element_address(ins, ea, byte), 1)?;
    }
    for byte in selected() {
        memory.write(element_address(ins, ea, byte), &data[byte..=byte])?;
    }
    if mmx {
        vec.enter_mmx();
    }
    Ok(())
}

/// Byte ranges of the elements of a `width`-byte VMASKMOV whose mask sign bit is set.
fn active_elements(
    ins: &Instruction,
    mask: &[u8; 32],
    width: usize,
) -> impl Iterator<Item = std::ops::Range<usize>> {
    let wide = matches!(ins.mnemonic(), Mnemonic::Vmaskmovpd | Mnemonic::Vpmaskmovq);
    let size = if wide { 8 } else { 4 };
    let mask = *mask;
    (0..width / size)
        .map(move |element| size * element..size * (element + 1))
        .filter(move |bytes| mask[bytes.end - 1] & 0x80 != 0)
}

/// The effective address of a memory operand, for gathers that of one element.
fn effective_address(
    ins: &Instruction,
    operand: u32,
    gpr: &[u64; 16],
    element: usize,
    indices: &[u8; 32],
    index_size: usize,
) -> u64 {
    let register_value = |register: Register, _: usize, _: usize| {
        Some(if register.is_gpr() {
            gpr[register.full_register().number()]
        } else if register.is_vector_register() {
            let at = index_size * element;
            let sign = if indices[at + index_size - 1] & 0x80 != 0 {
                0xFF
            } else {
                0
            };
            let mut index = [sign; 8];
            index[..index_size].copy_from_slice(&indices[at..at + index_size]);
            u64::from_le_bytes(index)
        } else {
            // A segment register: its base is the implementation of GuestBytes's to add.
            0
        })
    };
    // `None` only comes from the closure, which always answers.
    ins.virtual_address(operand, element, register_value)
        .unwrap_or(0)
}

/// `ea + offset`, wrapped to the address size of the operand.
fn element_address(ins: &Instruction, ea: u64, offset: usize) -> u64 {
    let sum = ea.wrapping_add(offset as u64);
    let kinds = [ins.op0_kind(), ins.op1_kind(), ins.op2_kind()];
    let base = ins.memory_base();
    if kinds.contains(&OpKind::MemorySegDI) || base.size() == 2 {
        sum & 0xFFFF
    } else if kinds.contains(&OpKind::MemorySegEDI)
        || base.size() == 4
        || ins.memory_index().size() == 4
        || (kinds.contains(&OpKind::Memory) && ins.code_size() != CodeSize::Code64)
    {
        sum & 0xFFFF_FFFF
    } else {
        sum
    }
}
