//! Lock-step: what translated code does is compared with what the interpreter does.
//!
//! A checked vCPU runs *stretches*: translated code from where it is entered to where it leaves. The
//! word it polls where it branches backwards or indirectly always asks it to leave, so a stretch goes
//! forwards only, through as many linked blocks as lie on its way, and ends soon. First the
//! interpreter rehearses the stretch, instruction by instruction, and everything it did is taken
//! back; then the translated code runs for good, and both ends are compared.
//!
//! * [`stretch`]: running and comparing one stretch; [`rehearse`]: what it is compared with;
//! * [`facts`]: what has to be known about an instruction for that;
//! * [`doubt`]: flags that translated code let go, and who reads them after all;
//! * [`locate`]: the first instruction that differs; [`report`]: how it is told;
//! * [`turn`]: only one vCPU executes at a time.
//!
//! What cannot be repeated (devices, the time, everything translated code hands to the interpreter)
//! lies between stretches and runs once. Not compared either: the jump of a taken back edge, and a
//! hit in the branch table.

mod doubt;
mod facts;
mod locate;
mod rehearse;
mod report;
mod stretch;
#[cfg(test)]
mod tests;
mod turn;

use std::sync::Arc;

use wardian_engine::contract::VmExit;

use super::fast::tlb_slot;
use super::mode::Mode;
use super::runtime::LEAVE;
use crate::cpu::Cpu;
use crate::hostexec::XsaveArea;
use crate::mmu::rehearsal::StoreLog;
use crate::mmu::{Place, Table};
use doubt::Doubt;
use facts::Facts;
use stretch::Stretch;
pub(crate) use turn::Turn;

/// What translated code polls while it is checked.
static LEAVE_SOON: u32 = 1;

/// Stretches before another vCPU has its turn.
const STRETCHES_A_TURN: u32 = 64;

/// What checking has done so far.
#[derive(Default)]
struct Counts {
    stretches: u64,
    instructions: u64,
    repeats: u64,
    excused: u64,
    flags_let_go: u64,
}

/// What a vCPU has if its translated code is checked.
pub(super) struct Check {
    turn: Arc<Turn>,
    /// The stores of the present rehearsal.
    log: StoreLog,
    /// The vector registers before the first instruction of the rehearsal that uses them.
    vectors_before: Option<Box<XsaveArea>>,
    rehearsing: bool,
    /// Translated code of a stretch is running.
    running: bool,
    /// Guest addresses of the stretch's instructions, ascending, and of its end.
    path: Vec<u64>,
    /// How far on it translated code has come, as far as that is known.
    reached: usize,
    /// The site at which translated code left, if it left for the interpreter.
    site: Option<u64>,
    /// The stretch's mode.
    mode: Option<Mode>,
    facts: Facts,
    doubt: Doubt,
    counts: Counts,
}

impl Check {
    pub(super) fn new(turn: Arc<Turn>) -> Self {
        Self {
            turn,
            log: StoreLog::default(),
            vectors_before: None,
            rehearsing: false,
            running: false,
            path: Vec::new(),
            reached: 0,
            site: None,
            mode: None,
            facts: Facts::default(),
            doubt: Doubt::default(),
            counts: Counts::default(),
        }
    }

    pub(super) fn counters(&self) -> [(&'static str, u64); 5] {
        let counts = &self.counts;
        [
            ("check_stretches", counts.stretches),
            ("check_instructions", counts.instructions),
            ("check_repeats", counts.repeats),
            ("check_excused", counts.excused),
            ("check_flags_let_go", counts.flags_let_go),
        ]
    }
}

impl Cpu {
    /// What this vCPU checks with, if it checks.
    pub(super) fn checker(&mut self) -> Option<&mut Check> {
        self.translator.as_mut()?.check.as_deref_mut()
    }

    fn checks(&mut self) -> &mut Check {
        self.checker().expect("this vCPU checks")
    }

    /// The stores of the rehearsal that is going on.
    pub(crate) fn store_log(&mut self) -> Option<&mut StoreLog> {
        self.checker()
            .filter(|check| check.rehearsing)
            .map(|check| &mut check.log)
    }

    /// Where translated code would find `gva` without asking anybody.
    pub(crate) fn translated_place(
        &mut self,
        table: Table,
        gva: u64,
        store: bool,
    ) -> Option<Place> {
        let entry = self.fast_tables()?.tlb[table as usize][tlb_slot(gva)];
        let tag = if store { entry.write } else { entry.read };
        (tag == gva & !0xfff).then(|| {
            let at = entry.host.wrapping_add(gva & 0xfff) as *mut u8;
            Place::new(at, entry.watch as *const _)
        })
    }

    /// The word that translated code polls.
    pub(super) fn polled_word(&mut self) -> *const u32 {
        match self.checker() {
            Some(_) => &raw const LEAVE_SOON,
            None => self.signal.attention_word(),
        }
    }

    /// Whether the stretch that is being checked goes on at `target`.
    pub(super) fn stretch_goes_on(&mut self, target: u64) -> bool {
        let Some(check) = self.checker().filter(|check| check.running) else {
            return false;
        };
        let found = match check.path.split_last() {
            Some((&last, inside)) if last != target => inside.binary_search(&target).ok(),
            _ => None,
        };
        // Only ever forwards, whatever translated code does.
        let Some(at) = found.filter(|&at| at > check.reached) else {
            return false;
        };
        check.reached = at;
        true
    }

    /// Whether a stretch is being checked, which then ends at the instruction of site `id`.
    pub(super) fn stretch_ends_at(&mut self, id: u64) -> bool {
        self.checker().is_some_and(|check| {
            if check.running {
                check.site = Some(id);
            }
            check.running
        })
    }

    /// Runs some stretches, or a block in the interpreter where there is no translated code.
    pub(super) fn run_checked(&mut self) -> Option<VmExit> {
        let turn = Arc::clone(&self.checks().turn);
        let _turn = turn.take();
        for _ in 0..STRETCHES_A_TURN {
            let exit = match self.hot_code() {
                LEAVE => self.run_unchecked(),
                host => self.run_stretches(host),
            };
            if exit.is_some() {
                return exit;
            }
            if self.signal.pending() != 0 || self.events != 0 || self.budget < 0 {
                break;
            }
        }
        None
    }

    /// Runs stretches as long as translated code itself would go on, with the instructions between
    /// them that it hands to the interpreter.
    fn run_stretches(&mut self, mut host: u64) -> Option<VmExit> {
        let (mut reload, mut x87_reload) = (0, false);
        loop {
            let stretch = Stretch {
                host,
                reload,
                x87_reload,
            };
            if let Err(report) = self.check_stretch(&stretch) {
                return Some(VmExit::Diverged(report));
            }
            let Some(id) = self.checks().site else {
                return self.translator().exit.take();
            };
            reload = self.native.reload;
            if let Err(report) = self.doubt_next() {
                return Some(VmExit::Diverged(report));
            }
            host = self.interpret_site(id);
            x87_reload = std::mem::take(&mut self.native.x87_reload);
            if host == LEAVE {
                return self.translator().exit.take();
            }
        }
    }

    /// Runs a block in the interpreter.
    fn run_unchecked(&mut self) -> Option<VmExit> {
        if self.checks().doubt.is_none() {
            return self.run_block(usize::MAX);
        }
        match self.doubt_next() {
            Ok(()) => self.run_block(1),
            Err(report) => Some(VmExit::Diverged(report)),
        }
    }
}
