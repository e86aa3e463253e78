//! One virtual CPU as the interpreter holds it.

pub mod cr;
pub mod debug;
pub mod event;
pub mod exception;
pub mod features;
pub mod flags;
pub mod int;
pub mod msr;
pub mod registers;
pub mod segment;
pub mod snapshot;

use std::sync::Arc;

use wardian_engine::bus::RouteCounts;
use wardian_engine::signal::VcpuSignal;
use wardian_engine::state::{Activity, Segment, TableRegister};

use crate::board::Board;
use crate::device_access::DeviceAccess;
use crate::hostexec::{HostExec, XsaveArea};
use crate::interp::block::BlockCache;
use crate::interp::op::Op;
use crate::mmu::Tlb;
use crate::translator::{Fast, Native, Translator};
use exception::{Exception, Exec, Stop, StopReason, vector};
use features::Features;
use flags::Flags;
use msr::Msrs;
use registers::{REGISTER_SLOTS, RIP};
use segment::SegmentExt;

/// How the current code segment decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CodeMode {
    /// 16-bit operands and addresses.
    Bits16,
    /// 32-bit operands and addresses.
    Bits32,
    /// 64-bit mode.
    Bits64,
}

impl CodeMode {
    /// The decoder's bitness.
    #[must_use]
    pub fn bitness(self) -> u32 {
        match self {
            Self::Bits16 => 16,
            Self::Bits32 => 32,
            Self::Bits64 => 64,
        }
    }
}

/// A virtual CPU. Hot fields first, in this order: translated code reaches the first ones with short
/// displacements.
#[repr(C)]
pub struct Cpu {
    /// General registers, then [`registers::ZERO`] and [`RIP`].
    pub regs: [u64; REGISTER_SLOTS],
    /// What only translated code and its stubs use.
    pub native: Native,
    /// Lazy arithmetic flags.
    pub flags: Flags,
    /// End of the block being run; pulled in to stop after the current instruction.
    pub ops_end: *const Op,
    /// Software TLB.
    pub tlb: Tlb,
    /// Bases as address computation adds them: ES CS SS DS FS GS LDTR TR, then zero.
    pub seg_base: [u64; 9],
    /// RFLAGS without the arithmetic flags.
    pub system_flags: u64,
    /// Things the run loop must look at; see [`event`].
    pub events: u32,
    /// Instructions until the timers are looked at again.
    pub budget: i64,
    /// Instructions retired.
    pub instructions: u64,
    /// Current privilege level.
    pub cpl: u8,
    /// How code decodes.
    pub mode: CodeMode,
    /// Hidden parts of the segment registers; bases are authoritative in `seg_base`.
    pub seg: [Segment; 8],
    /// Why execution stopped, after an `Err(Stop)`.
    pub stop: StopReason,

    /// Control registers.
    pub cr0: u64,
    /// Page-fault address.
    pub cr2: u64,
    /// Page-table root.
    pub cr3: u64,
    /// Feature enables.
    pub cr4: u64,
    /// Extended feature enables.
    pub efer: u64,
    /// Enabled XSAVE components.
    pub xcr0: u64,
    /// PAE page-directory pointers, loaded with CR3 (Intel SDM vol. 3, 4.4.1).
    pub pdptrs: [u64; 4],
    /// Descriptor tables.
    pub gdtr: TableRegister,
    /// Interrupt table.
    pub idtr: TableRegister,
    /// DR0 to DR3.
    pub dr: [u64; 4],
    /// Debug status.
    pub dr6: u64,
    /// Debug control.
    pub dr7: u64,
    /// Debug traps waiting for the instruction boundary.
    pub pending_dr6: u64,
    /// Model-specific registers without a field of their own.
    pub msrs: Msrs,
    /// Running, halted, waiting for SIPI.
    pub activity: Activity,
    /// An NMI is being handled; the next waits for IRET.
    pub nmi_blocked: bool,
    /// An interrupt was seen while it could not be taken.
    pub interrupt_waiting: bool,
    /// x87, SSE and AVX registers.
    pub vectors: Box<XsaveArea>,
    /// Thunks that execute vector instructions on the host.
    pub host: HostExec,
    /// Decoded instructions.
    pub blocks: BlockCache,
    /// Accesses outside RAM made by the current instruction.
    pub device: DeviceAccess,
    /// What CPUID offers, as the instructions check it.
    pub features: Features,
    /// The machine around this vCPU.
    pub board: Arc<Board>,
    /// How other threads reach this vCPU.
    pub signal: Arc<VcpuSignal>,
    /// Index of this vCPU, also its initial APIC id.
    pub index: usize,
    /// Accesses outside RAM by route.
    pub routes: RouteCounts,
    /// Interrupts delivered.
    pub interrupts: u64,
    /// Exceptions delivered.
    pub exceptions: u64,
    /// Sleeps in HLT.
    pub halts: u64,
    /// The instruction entered a handler with TF cleared: no single-step trap follows it.
    pub step_over: bool,
    /// PAUSEs since the host CPU was last given away.
    pub pauses: u32,
    /// The tables translated code looks things up in; null unless this vCPU is in a
    /// [`VcpuMemory`](crate::translator::VcpuMemory).
    pub fast: *mut Fast,
    /// What translates this vCPU's code, if anything does.
    pub translator: Option<Box<Translator>>,
    /// One block is run by itself for an oracle: exceptions are left in `stop`, not delivered.
    pub single_block: bool,
}

/// Bytes for thunks. A booted Debian needs a tenth of it.
const THUNK_BYTES: usize = 1 << 20;

impl Cpu {
    /// A vCPU in its power-on state; only the first one runs at once.
    ///
    /// # Errors
    /// The host's refusal of memory for thunks.
    pub fn new(
        index: usize,
        board: Arc<Board>,
        signal: Arc<VcpuSignal>,
        features: Features,
    ) -> std::io::Result<Self> {
        let mut cpu = Self {
            regs: [0; REGISTER_SLOTS],
            native: Native::default(),
            flags: Flags::from_bits(0),
            ops_end: std::ptr::null(),
            tlb: Tlb::default(),
            seg_base: [0; 9],
            system_flags: 0,
            events: 0,
            budget: 0,
            instructions: 0,
            cpl: 0,
            mode: CodeMode::Bits16,
            seg: [Segment::default(); 8],
            stop: StopReason::None,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            pdptrs: [0; 4],
            gdtr: TableRegister::default(),
            idtr: TableRegister::default(),
            dr: [0; 4],
            dr6: 0,
            dr7: 0,
            pending_dr6: 0,
            msrs: Msrs::default(),
            activity: Activity::Running,
            nmi_blocked: false,
            interrupt_waiting: false,
            vectors: Box::default(),
            host: HostExec::new(THUNK_BYTES)?,
            blocks: BlockCache::default(),
            device: DeviceAccess::default(),
            features,
            board,
            signal,
            index,
            routes: RouteCounts::default(),
            interrupts: 0,
            exceptions: 0,
            halts: 0,
            step_over: false,
            pauses: 0,
            fast: std::ptr::null_mut(),
            translator: None,
            single_block: false,
        };
        cpu.reset();
        if index > 0 {
            cpu.set_activity(Activity::WaitForSipi);
        }
        Ok(cpu)
    }

    /// Full RFLAGS.
    #[must_use]
    pub fn rflags(&self) -> u64 {
        self.system_flags | self.flags.bits() | flags::FIXED_1
    }

    /// Loads RFLAGS whole; the caller has masked what may not change.
    pub fn set_rflags(&mut self, rflags: u64) {
        self.flags = Flags::from_bits(rflags);
        self.system_flags = rflags & flags::SYSTEM;
        self.system_flags_changed();
    }

    /// To be called after `system_flags` changed: what depends on TF, RF, IF and AC is brought up to date.
    /// The instruction that called must end its block.
    pub fn system_flags_changed(&mut self) {
        if self.system_flags & flags::TF != 0 {
            self.events |= event::SINGLE_STEP;
        } else {
            self.events &= !event::SINGLE_STEP;
        }
        if self.system_flags & flags::RF != 0 {
            self.events |= event::RESUME;
        } else {
            self.events &= !event::RESUME;
        }
        if self.system_flags & flags::IF != 0 && self.interrupt_waiting {
            self.events |= event::CHECK_INTERRUPTS;
        }
        self.select_tlb();
    }

    /// Instruction pointer (of the next instruction while one executes).
    #[inline(always)]
    #[must_use]
    pub fn rip(&self) -> u64 {
        self.regs[RIP]
    }

    /// IA-32e mode is active (64-bit or compatibility).
    #[must_use]
    pub fn long_mode(&self) -> bool {
        self.efer & cr::EFER_LMA != 0
    }

    /// Protected mode, and not virtual-8086.
    #[must_use]
    pub fn protected(&self) -> bool {
        self.cr0 & cr::CR0_PE != 0 && self.system_flags & flags::VM == 0
    }

    /// Loads a segment register's hidden part, and everything derived from it.
    pub fn set_segment(&mut self, which: usize, segment: Segment) {
        self.seg[which] = segment;
        self.seg_base[which] = segment.base;
        if which == segment::index::CS {
            self.update_mode();
        }
    }

    /// Sets an FS or GS base without touching the selector.
    pub fn set_segment_base(&mut self, which: usize, base: u64) {
        self.seg[which].base = base;
        self.seg_base[which] = base;
    }

    /// To be called after CS, EFER.LMA or CR0.PE changed.
    pub fn update_mode(&mut self) {
        let cs = &self.seg[segment::index::CS];
        self.mode = if self.long_mode() && cs.long() {
            CodeMode::Bits64
        } else if cs.big() {
            CodeMode::Bits32
        } else {
            CodeMode::Bits16
        };
    }

    /// Changes the privilege level.
    pub fn set_cpl(&mut self, cpl: u8) {
        self.cpl = cpl;
        self.select_tlb();
    }

    /// Runs, halts or waits, and tells the run loop.
    pub fn set_activity(&mut self, activity: Activity) {
        self.activity = activity;
        if activity == Activity::Running {
            self.events &= !event::NOT_RUNNING;
        } else {
            self.events |= event::NOT_RUNNING;
        }
    }

    /// Whether the instruction that ran last asked for the end of its block.
    #[inline]
    pub(crate) fn block_ended(&self) -> bool {
        self.ops_end.is_null()
    }

    /// Stops after the instruction that is executing now.
    #[inline]
    pub fn end_block(&mut self) {
        self.ops_end = std::ptr::null();
    }

    /// Stops the current instruction with an exception.
    ///
    /// # Errors
    /// Always: so that it can be returned.
    #[cold]
    pub fn fault<T>(&mut self, vector: u8, error: Option<u32>) -> Exec<T> {
        self.stop = StopReason::Exception(Exception {
            vector,
            error,
            address: self.cr2,
            dr6: 0,
        });
        Err(Stop)
    }

    /// #UD.
    ///
    /// # Errors
    /// Always.
    pub fn undefined<T>(&mut self) -> Exec<T> {
        self.fault(vector::UD, None)
    }

    /// #GP with an error code.
    ///
    /// # Errors
    /// Always.
    pub fn gp<T>(&mut self, error: u32) -> Exec<T> {
        self.fault(vector::GP, Some(error))
    }

    /// The machine cannot be executed any further; the text goes to the user.
    ///
    /// # Errors
    /// Always.
    #[cold]
    pub fn fail<T>(&mut self, why: String) -> Exec<T> {
        self.stop = StopReason::Fail(why);
        Err(Stop)
    }
}
