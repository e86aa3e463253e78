//! The translator: 64-bit guest code becomes host code.
//!
//! Guest and host have the same instruction set, so most instructions are copied, with registers
//! renamed and memory operands led through a software TLB. What is not copied is run by the
//! interpreter, from within translated code; so is cold code. In the order in which a block meets
//! them:
//!
//! * [`heat`]: which code is worth it; [`source`] and [`classify`]: its instructions, and the flags
//!   that are live between them;
//! * [`emit`] and its parts: the host code; [`host`]: registers and assembler;
//! * [`cache`]: where blocks are kept, linked and dropped; [`stale`]: how stores to code reach it;
//! * [`hints`] and [`fast`]: the tables translated code reads by itself; [`native`]: its scratch memory;
//! * [`stubs`] and [`runtime`]: into translated code and out of it; [`timer`]: who interrupts it;
//! * [`check`]: lock-step against the interpreter.

mod cache;
mod check;
mod classify;
mod code_memory;
mod emit;
mod emit_arithmetic;
mod emit_branch;
mod emit_copy;
mod emit_memory;
mod emit_stack;
mod emit_system;
mod emit_x87;
mod fast;
mod general_form;
mod heat;
mod hints;
mod host;
mod mode;
mod native;
mod runtime;
mod single;
mod source;
mod stale;
mod stubs;
mod timer;
mod vcpu_memory;

use std::io;
use std::sync::Arc;

use wardian_engine::contract::VmExit;

use crate::cpu::Cpu;
use cache::CodeCache;
use check::Check;
pub(crate) use check::Turn;
pub use fast::Fast;
pub use heat::Heat;
pub use native::Native;
pub use stale::StaleCode;
use timer::PreemptionTimer;
pub use vcpu_memory::VcpuMemory;

/// What a vCPU has if its code is translated.
pub struct Translator {
    cache: CodeCache,
    heat: Heat,
    stale: Arc<StaleCode>,
    timer: PreemptionTimer,
    /// What the blocks in the branch tables run by themselves; see [`mode`].
    by_themselves: u8,
    /// What an instruction run from translated code needs of the machine.
    exit: Option<VmExit>,
    /// Times translated code was entered.
    entries: u64,
    /// Instructions interpreted from within it.
    interpreted: u64,
    /// What compares its code with the interpreter, if anything does.
    check: Option<Box<Check>>,
}

impl VcpuMemory {
    /// Gives the vCPU a translator, which translates what `heat` says. `sole`: it is the machine's only
    /// vCPU.
    ///
    /// # Errors
    /// The host's refusal of memory or of a timer.
    pub fn translate(&mut self, heat: Heat, sole: bool) -> io::Result<()> {
        let cpu: &mut Cpu = self;
        let stale = Arc::new(StaleCode::new(Arc::clone(&cpu.signal)));
        cpu.board.ram.add_code_listener(Arc::clone(&stale) as _);
        let cache = CodeCache::new(sole)?;
        let miss = cache.address(cache.stubs.miss);
        // SAFETY: `VcpuMemory` has set the pointer; nothing else refers to the tables.
        unsafe { &mut *cpu.fast }.prepare(miss, sole);
        cpu.translator = Some(Box::new(Translator {
            cache,
            heat,
            stale,
            timer: PreemptionTimer::default(),
            by_themselves: 0,
            exit: None,
            entries: 0,
            interpreted: 0,
            check: None,
        }));
        Ok(())
    }

    /// Compares everything that translated code does with the interpreter from now on, when it is this
    /// vCPU's turn.
    pub(crate) fn check_against_interpreter(&mut self, turn: Arc<Turn>) {
        if let Some(translator) = &mut self.translator {
            translator.check = Some(Box::new(Check::new(turn)));
        }
    }
}

impl Translator {
    /// Counters by name.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.cache.counts;
        let mut counters = vec![
            ("translated_blocks", counts.blocks),
            ("translated_bytes", counts.guest_bytes),
            ("translation_ns", counts.nanoseconds),
            ("code_bytes", counts.host_bytes),
            ("blocks_held", self.cache.len() as u64),
            ("blocks_stale", counts.stale),
            ("blocks_evicted", counts.evicted),
            ("links", counts.links),
            ("translated_entries", self.entries),
            ("interpreted_from_translated", self.interpreted),
        ];
        counters.extend(self.check.iter().flat_map(|check| check.counters()));
        counters
    }
}
