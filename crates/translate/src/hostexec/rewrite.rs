//! From the guest's instruction to the form that runs inside a thunk.
//!
//! The thunk owns five registers (see `thunk.rs`), so explicit general-register operands move to
//! registers it leaves free. RAX, RCX and RDX keep their numbers because instructions also use
//! them implicitly (PCMPESTRI, MULX, FNSTSW AX); everything else, RSP included, is remapped. The
//! memory operand becomes `[rsi]`.

use iced_x86::{
    CodeSize, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register, RflagsBits,
};

/// Holds the address of the staging buffer while the instruction runs.
pub(super) const MEMORY: Register = Register::RSI;

/// A general register of the rewritten instruction.
#[derive(Clone, Copy)]
pub(super) struct GprUse {
    /// The 64-bit host register it runs in.
    pub(super) host: Register,
    /// Hardware number (0–15) of the guest register it stands for.
    pub(super) guest: usize,
    /// The operand is bits 15:8 of the guest register (AH, CH, DH, BH), and is only read.
    pub(super) high_byte: bool,
    /// The instruction may write it.
    pub(super) written: bool,
}

/// A vector register of the rewritten instruction; the number is the guest's.
#[derive(Clone, Copy)]
pub(super) struct VectorUse {
    pub(super) index: usize,
    /// An operand is the whole YMM register.
    pub(super) wide: bool,
    /// The instruction may write it.
    pub(super) written: bool,
}

/// Everything a thunk has to load, run and store.
pub(super) struct Rewritten {
    pub(super) ins: Instruction,
    pub(super) gprs: Vec<GprUse>,
    pub(super) vectors: Vec<VectorUse>,
    /// The memory operand's access, if there is one.
    pub(super) memory: Option<OpAccess>,
    /// Status flags (RFLAGS bit positions) the instruction reads, or leaves undefined: a processor
    /// may leave those unchanged.
    pub(super) flags_read: u32,
    /// Status flags the instruction writes or leaves undefined.
    pub(super) flags_written: u32,
}

/// `ins` without what does not change its effect on registers: address, prefixes, addressing mode.
/// Two instructions with equal normal forms share one thunk.
pub(super) fn normal_form(ins: &Instruction) -> Instruction {
    let mut out = *ins;
    out.set_ip(0);
    out.set_len(0);
    out.set_code_size(CodeSize::Code64);
    out.set_has_rep_prefix(false);
    out.set_has_repne_prefix(false);
    out.set_segment_prefix(Register::None);
    if (0..out.op_count()).any(|i| out.op_kind(i) == OpKind::Memory) {
        out.set_memory_base(MEMORY);
        out.set_memory_index(Register::None);
        out.set_memory_index_scale(1);
        out.set_memory_displacement64(0);
        out.set_memory_displ_size(0);
    }
    out
}

/// Rewrites an instruction in [`normal_form`]. `None` when it needs more registers than are free.
pub(super) fn rewrite(
    normal: &Instruction,
    facts: &mut InstructionInfoFactory,
) -> Option<Rewritten> {
    let mut ins = *normal;
    let mut reserved = [Register::None; 3];
    for used in facts.info(normal).used_registers() {
        let full = used.register().full_register();
        if used.register().is_gpr() && is_fixed(full) {
            reserved[full.number()] = full;
        }
    }
    let mut free = [Register::R8, Register::RAX, Register::RCX, Register::RDX]
        .into_iter()
        .filter(|candidate| !reserved.contains(candidate));
    let mut gprs: Vec<GprUse> = Vec::with_capacity(4);
    for operand in 0..ins.op_count() {
        let register = ins.op_register(operand);
        if ins.op_kind(operand) != OpKind::Register || !register.is_gpr() {
            continue;
        }
        let high_byte = is_high_byte(register);
        let guest = if high_byte {
            register as usize - Register::AH as usize
        } else {
            register.full_register().number()
        };
        let known = gprs
            .iter()
            .find(|g| g.guest == guest && g.high_byte == high_byte);
        let host = match known {
            Some(known) => known.host,
            None if !high_byte && is_fixed(register.full_register()) => register.full_register(),
            None => free.next()?,
        };
        if known.is_none() {
            gprs.push(GprUse {
                host,
                guest,
                high_byte,
                written: false,
            });
        }
        ins.set_op_register(operand, part(host, register.size())?);
    }
    let info = facts.info(&ins);
    let mut vectors: Vec<VectorUse> = Vec::with_capacity(4);
    for used in info.used_registers() {
        let register = used.register();
        let full = register.full_register();
        let written = is_write(used.access());
        if register.is_gpr() && full != MEMORY {
            match gprs.iter_mut().find(|g| g.host == full) {
                Some(known) => known.written |= written,
                None if is_fixed(full) => {
                    let guest = full.number();
                    gprs.push(GprUse {
                        host: full,
                        guest,
                        high_byte: false,
                        written,
                    });
                }
                None => return None,
            }
        } else if register.is_vector_register() {
            let index = register.number();
            match vectors.iter_mut().find(|v| v.index == index) {
                Some(known) => known.written |= written,
                None => vectors.push(VectorUse {
                    index,
                    wide: false,
                    written,
                }),
            }
        }
    }
    for vector in &mut vectors {
        vector.wide = (0..ins.op_count())
            .map(|i| ins.op_register(i))
            .any(|r| r.is_ymm() && r.number() == vector.index);
    }
    let memory = (0..ins.op_count())
        .find(|&i| ins.op_kind(i) == OpKind::Memory)
        .map(|i| info.op_access(i));
    let flags_read = status_flags(ins.rflags_read() | ins.rflags_undefined());
    let flags_written = status_flags(ins.rflags_modified());
    Some(Rewritten {
        ins,
        gprs,
        vectors,
        memory,
        flags_read,
        flags_written,
    })
}

/// Whether `access` includes a write, be it conditional.
pub(super) fn is_write(access: OpAccess) -> bool {
    use OpAccess::{CondWrite, ReadCondWrite, ReadWrite, Write};
    matches!(access, Write | CondWrite | ReadWrite | ReadCondWrite)
}

/// Whether `access` includes a read, be it conditional.
pub(super) fn is_read(access: OpAccess) -> bool {
    use OpAccess::{CondRead, Read, ReadCondWrite, ReadWrite};
    matches!(access, Read | CondRead | ReadWrite | ReadCondWrite)
}

fn is_fixed(full: Register) -> bool {
    matches!(full, Register::RAX | Register::RCX | Register::RDX)
}

fn is_high_byte(register: Register) -> bool {
    matches!(
        register,
        Register::AH | Register::CH | Register::DH | Register::BH
    )
}

/// The low `size` bytes of a register that [`rewrite`] hands out.
fn part(full: Register, size: usize) -> Option<Register> {
    let (byte, word, double) = match full {
        Register::RAX => (Register::AL, Register::AX, Register::EAX),
        Register::RCX => (Register::CL, Register::CX, Register::ECX),
        Register::RDX => (Register::DL, Register::DX, Register::EDX),
        Register::R8 => (Register::R8L, Register::R8W, Register::R8D),
        _ => return None,
    };
    match size {
        1 => Some(byte),
        2 => Some(word),
        4 => Some(double),
        8 => Some(full),
        _ => None,
    }
}

/// iced-x86's flag set as RFLAGS bits, status flags only.
fn status_flags(bits: u32) -> u32 {
    let table = [
        (RflagsBits::CF, 0x001),
        (RflagsBits::PF, 0x004),
        (RflagsBits::AF, 0x010),
        (RflagsBits::ZF, 0x040),
        (RflagsBits::SF, 0x080),
        (RflagsBits::OF, 0x800),
    ];
    table
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .map(|(_, flag)| flag)
        .sum()
}
