//! From a block's source to host code.
//!
//! This file has the block's frame and the bookkeeping of flags; [`super::emit_copy`],
//! [`super::emit_memory`], [`super::emit_stack`] and [`super::emit_branch`] have the instructions.
//!
//! Flags: the guest's arithmetic flags are in the host's EFLAGS wherever that is possible. The check
//! of a memory access destroys EFLAGS, so before it live flags are saved in `Native::flags`, and an
//! instruction that needs them afterwards loads them back. Flags that are dead, because every path
//! overwrites them before reading them, are not saved: if the access then faults, the flags image of
//! the exception has stale arithmetic flags, which nothing reads.

use iced_x86::{Encoder, Instruction};

use super::classify::Class;
use super::hints::HintPool;
use super::host::{Asm, Mem, Target, cc, reg};
use super::native::{self, TlbFields};
use super::source::{Guest, Source};
use super::stubs::Stubs;
use crate::mmu::tlb::Table;

/// Where translated code may call the dispatcher about one instruction.
pub(super) struct Site {
    /// Guest address of the instruction.
    pub(super) rip: u64,
    /// Guest address of the next one.
    pub(super) next: u64,
    /// Host code of the check that missed: it is run again when the TLB has been filled.
    pub(super) retry: Target,
    /// Host code behind the instruction, if the block goes on there.
    pub(super) after: Option<Target>,
    /// Bytes accessed, at most a page; 0 if it is not about an access.
    pub(super) size: u8,
    /// What its address must be a multiple of.
    pub(super) align: u8,
    /// What RSP must be changed by to undo an indirect branch.
    pub(super) undo: i32,
    /// Offset from the vCPU of its hint; 0 if it has none.
    pub(super) hint: i32,
    /// The access is a store.
    pub(super) store: bool,
    /// What is left of the instruction behind its store.
    pub(super) rest: Rest,
    /// It is there to have the instruction interpreted.
    pub(super) interprets: bool,
}

/// What is left of an instruction behind its store.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rest {
    Nothing,
    /// RSP goes down by 8, and execution goes on there.
    CallTo(u64),
    /// As above, the target being in the second scratch slot.
    CallIndirect,
}

/// A way out of a block to a known guest address.
pub(super) struct Exit {
    pub(super) target: u64,
    /// The 32-bit displacement that linking patches.
    pub(super) jump: Target,
    /// Where the displacement leads while the exit is not linked.
    pub(super) unlinked: Target,
    /// The 32-bit page-view number that linking patches, if the target is in another page, and
    /// whether the code compares with its negative.
    pub(super) view: Option<(Target, bool)>,
    /// The flags are in EFLAGS, not saved.
    pub(super) live: bool,
    /// It may be linked to a block.
    pub(super) links: bool,
}

/// What a block was translated to, besides its bytes.
#[derive(Default)]
pub(super) struct Product {
    pub(super) sites: Vec<Site>,
    pub(super) exits: Vec<Exit>,
    /// Entry with the flags in EFLAGS.
    pub(super) live_entry: Option<Target>,
    /// Entry with the flags saved.
    pub(super) saved_entry: Option<Target>,
    /// Hints that are its own.
    pub(super) hints: Vec<u32>,
}

/// Translates one block.
pub(super) struct Emitter<'a> {
    pub(super) asm: &'a mut Asm,
    pub(super) encoder: &'a mut Encoder,
    pub(super) stubs: &'a Stubs,
    pub(super) table: Table,
    pub(super) tlb: TlbFields,
    /// Number of the block, in the upper bits of every site and exit number.
    pub(super) block: u32,
    /// Stores look at the watch byte of their page. They need not if no other vCPU can set it while
    /// this one holds the page for stores.
    pub(super) watches: bool,
    pub(super) product: Product,
    pub(super) hints: &'a mut HintPool,
    /// EFLAGS has the guest's arithmetic flags, as far as they are live.
    in_eflags: bool,
    /// `Native::flags` has them.
    saved: bool,
}

/// The instruction cannot be translated by the way that was tried; the interpreter takes it.
pub(super) struct NotNative;
pub(super) type Emit = Result<(), NotNative>;

/// Bits of a number that name the site or exit within the block.
pub(super) const NUMBER_BITS: u32 = 9;

impl<'a> Emitter<'a> {
    pub(super) fn new(
        asm: &'a mut Asm,
        encoder: &'a mut Encoder,
        stubs: &'a Stubs,
        hints: &'a mut HintPool,
        table: Table,
        block: u32,
        watches: bool,
    ) -> Self {
        asm.clear();
        Self {
            asm,
            encoder,
            stubs,
            table,
            tlb: TlbFields::of(table),
            block,
            watches,
            product: Product::default(),
            hints,
            in_eflags: false,
            saved: false,
        }
    }

    /// Translates the block. `vectors`: some instruction of it uses vector registers.
    pub(super) fn block(mut self, source: &Source) -> Product {
        // The checked entry: an indirect branch has put its target in RCX.
        match i32::try_from(source.rip as i64) {
            Ok(short) => self.asm.cmp_imm(reg::RCX, short),
            Err(_) => {
                self.asm.constant(reg::RAX, source.rip);
                self.asm.rr(true, &[0x3b], reg::RCX, reg::RAX);
            }
        }
        self.asm.jcc(cc::NE, Target::Code(self.stubs.miss));
        self.entries(source);
        if source.instructions.iter().any(|g| g.class == Class::Vector) {
            self.vectors_loaded(source.live_in != 0);
        }
        if source.uses_x87() {
            self.x87_loaded(source.live_in != 0);
        }
        let mut shadow = false;
        for guest in &source.instructions {
            self.instruction(guest);
            if std::mem::replace(&mut shadow, guest.class == Class::SetInterrupts) {
                self.look_for_interrupts(guest);
            }
        }
        let last = source.instructions.last().expect("a block is not empty");
        if !last.class.ends() {
            self.exit(source, source.end(), last.live_after != 0);
        }
        self.product
    }

    /// Lays out the two entries; the block's code follows the one that costs nothing.
    fn entries(&mut self, source: &Source) {
        if source.live_in == 0 {
            let here = self.asm.here();
            self.product.live_entry = Some(here);
            self.product.saved_entry = Some(here);
            self.in_eflags = true;
            self.saved = true;
        } else if wants_flags_first(source) {
            self.product.saved_entry = Some(self.asm.here());
            self.asm.load32(reg::RAX, native::flags());
            self.asm.flags_from_rax();
            self.product.live_entry = Some(self.asm.here());
            self.in_eflags = true;
            self.saved = false;
        } else {
            let body = self.asm.here();
            self.product.saved_entry = Some(body);
            self.asm.set_cold(true);
            self.product.live_entry = Some(self.asm.here());
            self.asm.flags_to_rax();
            self.asm.rm(false, &[0x89], reg::RAX, native::flags());
            self.asm.jmp(body);
            self.asm.set_cold(false);
            self.in_eflags = false;
            self.saved = true;
        }
    }

    fn vectors_loaded(&mut self, live: bool) {
        self.loaded(native::vectors_away(), self.stubs.load_vectors, live);
    }

    /// Calls `load` if the byte `is_away` is set. `live`: flags matter.
    pub(super) fn loaded(&mut self, is_away: Mem, load: u32, live: bool) {
        if live && self.in_eflags {
            self.asm.load8(reg::RCX, is_away);
            self.asm.skip_if_rcx_zero(|asm| asm.call(load));
        } else {
            self.asm.cmp8_zero(is_away);
            let away = self.asm.jcc_later(cc::NE);
            let back = self.asm.here();
            self.asm.set_cold(true);
            let here = self.asm.here();
            self.asm.bind(away, here);
            self.asm.call(load);
            self.asm.jmp(back);
            self.asm.set_cold(false);
            self.in_eflags &= !live;
        }
    }

    fn instruction(&mut self, guest: &Guest) {
        let done = match guest.class {
            Class::Nop => Ok(()),
            Class::Copy | Class::Vector => self.copy(guest),
            Class::X87 => self.x87(guest),
            Class::Lea => self.lea(&guest.ins),
            Class::ShiftByCl => self.shift_by_cl(guest),
            Class::Multiply => self.multiply(guest),
            Class::Divide => self.divide(guest),
            Class::SignExtend => self.sign_extend(&guest.ins),
            Class::CompareExchange => self.compare_exchange(guest),
            Class::HighByte => self.high_byte(&guest.ins),
            Class::BitOfString => self.bit_of_string(guest),
            Class::PushFlags => self.push_flags(guest),
            Class::ClearInterrupts => self.clear_interrupts(guest),
            Class::SetInterrupts => self.set_interrupts(guest),
            Class::SwapGs => self.swap_gs(),
            Class::Push => self.push(guest),
            Class::Pop => self.pop(guest),
            Class::Leave => self.leave(guest),
            Class::Jump => self.jump(guest),
            Class::JumpIf => self.jump_if(guest),
            Class::JumpIndirect => self.jump_indirect(guest),
            Class::Call => self.call(guest),
            Class::CallIndirect => self.call_indirect(guest),
            Class::Return => self.ret(guest),
            Class::Interpret { .. } => Err(NotNative),
        };
        if done.is_err() {
            self.interpret(guest);
        }
    }

    /// Hands one instruction to the interpreter.
    fn interpret(&mut self, guest: &Guest) {
        self.save_flags(guest.live_after | guest.flags.reads);
        let site = self.site(guest, 0);
        self.product.sites[site].interprets = true;
        self.enter_stub(site, self.stubs.interpret);
        self.in_eflags = true;
        self.saved = true;
        if !guest.class.ends() {
            self.product.sites[site].after = Some(self.asm.here());
        }
    }

    /// A new site for an instruction.
    pub(super) fn site(&mut self, guest: &Guest, size: usize) -> usize {
        self.product.sites.push(Site {
            rip: guest.ins.ip(),
            next: guest.ins.next_ip(),
            retry: self.asm.here(),
            after: None,
            size: size as u8,
            align: 1,
            undo: 0,
            hint: 0,
            store: false,
            rest: Rest::Nothing,
            interprets: false,
        });
        self.product.sites.len() - 1
    }

    /// The number of a site for everyone outside the block.
    pub(super) fn number(&self, index: usize) -> i32 {
        debug_assert!(index < 1 << NUMBER_BITS);
        (self.block << NUMBER_BITS | index as u32) as i32
    }

    /// Pushes a site's or exit's number and jumps to a stub.
    pub(super) fn enter_stub(&mut self, index: usize, stub: u32) {
        let number = self.number(index);
        self.asm.bytes(&[0x68]);
        self.asm.imm32(number);
        self.asm.jmp(Target::Code(stub));
    }

    /// Saves the flags of `live` if they are only in EFLAGS.
    pub(super) fn save_flags(&mut self, live: u32) {
        if live != 0 && !self.saved {
            self.asm.flags_to_rax();
            self.asm.rm(false, &[0x89], reg::RAX, native::flags());
            self.saved = true;
        }
    }

    /// To be called where EFLAGS is destroyed.
    pub(super) fn clobbered(&mut self) {
        self.in_eflags = false;
    }

    /// Brings the flags into EFLAGS; changes RAX.
    pub(super) fn need_flags(&mut self) {
        if !self.in_eflags {
            self.asm.load32(reg::RAX, native::flags());
            self.asm.flags_from_rax();
            self.in_eflags = true;
        }
    }

    /// To be called behind an instruction that changed flags.
    pub(super) fn flags_written(&mut self) {
        self.in_eflags = true;
        self.saved = false;
    }

    /// Whether live flags must be in EFLAGS before the guest's instruction runs: it reads them, or it
    /// may leave some of them as they are.
    pub(super) fn wants_flags(guest: &Guest) -> bool {
        let flags = &guest.flags;
        flags.reads != 0 || flags.writes != 0 && guest.live_after & !flags.kills != 0
    }

    pub(super) fn flags_in_eflags(&self) -> bool {
        self.in_eflags
    }

    pub(super) fn flags_saved(&self) -> bool {
        self.saved
    }

    /// The state of the flags, to go back to where two paths split.
    pub(super) fn flag_state(&self) -> (bool, bool) {
        (self.in_eflags, self.saved)
    }

    pub(super) fn set_flag_state(&mut self, (in_eflags, saved): (bool, bool)) {
        self.in_eflags = in_eflags;
        self.saved = saved;
    }

    /// Copies an instruction whose operands have been replaced. Prefixes that mean nothing are left
    /// out: on a host with more features than the guest's CPU they would (F3 BSR is LZCNT).
    pub(super) fn encode(&mut self, ins: &Instruction) -> Emit {
        let mut ins = *ins;
        ins.set_has_rep_prefix(false);
        ins.set_has_repne_prefix(false);
        ins.set_has_xacquire_prefix(false);
        ins.set_has_xrelease_prefix(false);
        let start = self.encoder.encode(&ins, 0);
        let bytes = self.encoder.take_buffer();
        if start.is_ok() {
            self.asm.bytes(&bytes);
        }
        self.encoder.set_buffer({
            let mut bytes = bytes;
            bytes.clear();
            bytes
        });
        start.map(drop).map_err(|_| NotNative)
    }
}

/// Whether the first thing a block does with the flags it is entered with is to read them from
/// EFLAGS, rather than to destroy EFLAGS.
fn wants_flags_first(source: &Source) -> bool {
    for guest in &source.instructions {
        let touches_memory = (0..guest.ins.op_count())
            .any(|n| guest.ins.op_kind(n) == iced_x86::OpKind::Memory)
            && guest.class != Class::Lea
            && guest.class != Class::Nop;
        if touches_memory
            || matches!(
                guest.class,
                Class::Push
                    | Class::Pop
                    | Class::Leave
                    | Class::Call
                    | Class::CallIndirect
                    | Class::JumpIndirect
                    | Class::Return
                    | Class::Interpret { .. }
                    | Class::Divide
                    | Class::PushFlags
                    | Class::ClearInterrupts
                    | Class::SetInterrupts
            )
        {
            return false;
        }
        if Emitter::wants_flags(guest) {
            return true;
        }
        if guest.flags.kills & super::classify::ARITHMETIC == super::classify::ARITHMETIC {
            return true;
        }
    }
    true
}
