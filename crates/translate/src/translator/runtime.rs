//! What translated code calls, and how a vCPU gets into it.
//!
//! The functions here run on the vCPU's thread with the guest's registers in [`Cpu::regs`]. Each
//! returns the host address to go on at, or 0 to leave translated code; the run loop then finds the
//! vCPU between two instructions.

use std::sync::atomic::Ordering;

use super::Translator;
use super::cache::{CodeCache, Key, Site};
use super::emit::Rest;
use super::fast::{Entry, Fast};
use super::mode::Mode;
use super::source::{self, Decoding};
use super::stale::Stale;
use crate::cpu::exception::StopReason;
use crate::cpu::flags::Flags;
use crate::cpu::registers::{RIP, RSP};
use crate::cpu::{Cpu, event, flags};
use crate::hostexec::GUEST_MXCSR_MASK;
use crate::interp::lower;
use crate::mmu::canonical;
use crate::mmu::walk::Intent;
use wardian_engine::contract::VmExit;
use wardian_engine::signal::VcpuSignal;
use wardian_memory::CodeListener;

/// Goes on where `Native::resume` says.
type Enter = unsafe extern "sysv64" fn(*mut Cpu);

/// To leave translated code.
pub(super) const LEAVE: u64 = 0;

/// A load or store missed the TLB: `address`, at site `id`.
///
/// # Safety
/// Called by stubs with the vCPU they run for.
pub(super) unsafe extern "sysv64" fn missed(cpu: *mut Cpu, address: u64, id: u64) -> u64 {
    // SAFETY: the stub's promise; nothing else refers to the vCPU while its stub runs.
    let cpu = unsafe { &mut *cpu };
    let site = cpu.cache().site(id);
    let store = site.store;
    cpu.judge_hint(&site);
    let fits = (address & 0xfff) + u64::from(site.size) <= 4096
        && address & (u64::from(site.align) - 1) == 0;
    if fits && cpu.fill_fast(address, store) {
        return cpu.cache().address(site.retry);
    }
    let host = cpu.interpret_site(id);
    cpu.going_to(host)
}

/// An instruction for the interpreter.
///
/// # Safety
/// As for [`missed`].
pub(super) unsafe extern "sysv64" fn interpret(cpu: *mut Cpu, _: u64, id: u64) -> u64 {
    // SAFETY: as in `missed`.
    let cpu = unsafe { &mut *cpu };
    let host = cpu.interpret_site(id);
    cpu.going_to(host)
}

/// A store went to a page of code; `place` is its host address, or 0 if that is not known.
///
/// # Safety
/// As for [`missed`].
pub(super) unsafe extern "sysv64" fn stored_to_code(cpu: *mut Cpu, place: u64, id: u64) -> u64 {
    // SAFETY: as in `missed`.
    let cpu = unsafe { &mut *cpu };
    let site = cpu.cache().site(id);
    let watch = cpu.native.rax as *const std::sync::atomic::AtomicU8;
    let (offset, length) = match place {
        0 => (0, 4096),
        place => (place & 0xfff, u64::from(site.size)),
    };
    cpu.board.ram.stored_to_code(watch, offset, length);
    cpu.take_flags();
    cpu.regs[RIP] = match site.rest {
        Rest::Nothing => site.next,
        Rest::CallTo(target) => target,
        Rest::CallIndirect => cpu.native.scratch[1],
    };
    if !matches!(site.rest, Rest::Nothing) {
        cpu.regs[RSP] = cpu.regs[RSP].wrapping_sub(8);
    }
    cpu.going_to(LEAVE)
}

/// An exit that is not linked, or that somebody's signal keeps from being taken.
///
/// # Safety
/// As for [`missed`].
pub(super) unsafe extern "sysv64" fn exit(cpu: *mut Cpu, _: u64, id: u64) -> u64 {
    // SAFETY: as in `missed`.
    let cpu = unsafe { &mut *cpu };
    cpu.take_flags();
    let target = cpu.cache().exit_target(id);
    cpu.regs[RIP] = target;
    cpu.sample_block(id);
    if cpu.interrupt_waiting && cpu.system_flags & flags::IF != 0 {
        cpu.events |= event::CHECK_INTERRUPTS;
    }
    let one_block = cpu.single_block && !cpu.stretch_goes_on(target);
    if cpu.signal.pending() != 0 || cpu.events != 0 || one_block {
        return cpu.going_to(LEAVE);
    }
    let mode = cpu.cache().exit_mode(id);
    let Some(number) = cpu.find_translation(target, mode) else {
        return cpu.going_to(LEAVE);
    };
    cpu.cache_mut().link(id, number);
    cpu.cache().entry(number)
}

/// A branch to `target` that is in no table.
///
/// # Safety
/// As for [`missed`].
pub(super) unsafe extern "sysv64" fn branch_missed(cpu: *mut Cpu, target: u64, _: u64) -> u64 {
    // SAFETY: as in `missed`.
    let cpu = unsafe { &mut *cpu };
    cpu.take_flags();
    if !canonical(target) {
        // The branch itself faults, with nothing changed.
        let id = u64::from(cpu.native.branch);
        let site = cpu.cache().site(id);
        cpu.regs[RSP] = cpu.regs[RSP].wrapping_add_signed(i64::from(site.undo));
        let host = cpu.interpret_site(id);
        return cpu.going_to(host);
    }
    cpu.regs[RIP] = target;
    cpu.sample_block(u64::from(cpu.native.branch));
    let host = cpu.dispatch();
    cpu.going_to(host)
}

impl Cpu {
    pub(super) fn translator(&mut self) -> &mut Translator {
        self.translator
            .as_mut()
            .expect("translated code is running")
    }

    fn cache(&self) -> &CodeCache {
        &self
            .translator
            .as_ref()
            .expect("translated code is running")
            .cache
    }

    fn cache_mut(&mut self) -> &mut CodeCache {
        &mut self.translator().cache
    }

    fn fast(&mut self) -> &mut Fast {
        self.fast_tables()
            .expect("a vCPU with a translator has tables")
    }

    /// Tells the profile, if it asks, which block ran last: the one that site or exit `id` is of.
    fn sample_block(&self, id: u64) {
        if self.signal.pending() & VcpuSignal::SAMPLE != 0 {
            // A block that was dropped meanwhile is named by where it led to.
            let rip = self.cache().block_rip(id).unwrap_or(self.rip());
            self.sample(rip, true);
        }
    }

    /// The saved flags become the interpreter's.
    fn take_flags(&mut self) {
        let saved = u64::from(self.native.flags);
        let low = saved >> 8 & (flags::ARITHMETIC & 0xff);
        self.flags = Flags::from_bits(low | (saved & 1) << 11);
    }

    /// The interpreter's flags become the saved ones.
    pub(super) fn give_flags(&mut self) {
        let bits = self.flags.bits();
        self.native.flags = ((bits & 0xff | flags::FIXED_1) << 8 | bits >> 11 & 1) as u32;
    }

    /// To be called with what a stub's function returns: outside translated code the vector registers
    /// are in memory.
    fn going_to(&mut self, host: u64) -> u64 {
        if host == LEAVE {
            self.settle_vectors();
            self.settle_x87();
        } else {
            self.reload_x87();
        }
        host
    }

    /// Moves vector registers that were spilled to where the interpreter has them.
    fn settle_vectors(&mut self) {
        if self.native.reload != 2 {
            return;
        }
        for (n, bytes) in self.native.spill.0.iter().enumerate() {
            self.vectors.set_ymm(n, *bytes);
        }
        let mut mxcsr = 0u32;
        // SAFETY: both instructions only move MXCSR; the value loaded is one the host had.
        unsafe {
            core::arch::asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack));
            core::arch::asm!("ldmxcsr [{}]", in(reg) &raw const self.native.host_mxcsr, options(nostack));
        }
        self.vectors.set_mxcsr(mxcsr & GUEST_MXCSR_MASK);
        self.native.vectors_away = 1;
        self.native.reload = 1;
    }

    /// Decides what becomes of a hint whose patience is at its end.
    fn judge_hint(&mut self, site: &Site) {
        if site.hint == 0 {
            return;
        }
        let hint = self.fast().hint_at(site.hint);
        if hint.patience != 0 {
            return;
        }
        let wanders = hint.wanders();
        hint.restart();
        if wanders && self.cache_mut().hints.wanders(site) {
            // Its block is dropped, and translated anew when it has been run often again.
            if let Some((page, _)) = self.code_page(site.rip) {
                let gpa = page | site.rip & 0xfff;
                self.translator().stale.code_stored(gpa, 1);
            }
        }
    }

    /// Fills the fast TLB for an access that lies in one page; false if that cannot be done.
    fn fill_fast(&mut self, gva: u64, store: bool) -> bool {
        let table = self.tlb.table;
        let tag = self.tlb.tag(gva);
        let hit = |cpu: &Self| {
            let entry = cpu.tlb.data(table, gva);
            if store {
                entry.write == tag
            } else {
                entry.read == tag
            }
        };
        if !hit(self) {
            let intent = if store { Intent::Write } else { Intent::Read };
            if !canonical(gva) || self.translate(table, gva, intent).is_err() || !hit(self) {
                self.stop = StopReason::None;
                return false;
            }
        }
        let entry = *self.tlb.data(table, gva);
        // SAFETY: the watch byte lives as long as RAM.
        let code = self.fast().sole && unsafe { &*entry.watch }.load(Ordering::Relaxed) != 0;
        if code && store {
            return false;
        }
        let page = gva & !0xfff;
        // No address of this slot matches the complement of its page's address.
        let empty = !page;
        self.fast().fill(
            table,
            gva,
            Entry {
                read: if entry.read == tag { page } else { empty },
                write: if entry.write == tag && !code {
                    page
                } else {
                    empty
                },
                host: entry.addend.wrapping_add(page),
                watch: entry.watch as u64,
            },
            entry.global,
        );
        true
    }

    /// Runs the instruction of a site in the interpreter and goes on behind it.
    pub(super) fn interpret_site(&mut self, id: u64) -> u64 {
        let site = self.cache().site(id);
        self.settle_vectors();
        self.settle_x87();
        self.take_flags();
        self.regs[RIP] = site.rip;
        if self.stretch_ends_at(id) {
            return LEAVE;
        }
        let mode = self.translation_mode();
        let exceptions = self.exceptions;
        self.translator().interpreted += 1;
        // SAFETY: blocks, and with them their instructions, are only dropped in the run loop.
        let exit = match self.cache().op(id).map(|op| unsafe { &*op }) {
            Some(op) => self.run_op(op),
            None => self.run_block(1),
        };
        if let Some(exit) = exit {
            self.translator().exit = Some(exit);
            return LEAVE;
        }
        let undisturbed = self.exceptions == exceptions
            && self.regs[RIP] == site.next
            && self.events == 0
            && !self.block_ended()
            && self.signal.pending() == 0
            && self.translation_mode() == mode;
        if undisturbed && site.after != 0 {
            self.native.x87_reload = site.x87;
            self.give_flags();
            return self.cache().address(site.after);
        }
        self.dispatch()
    }

    /// The host address to go on at for RIP, with flags saved and RCX set; 0 if there is none or the
    /// run loop is wanted.
    pub(super) fn dispatch(&mut self) -> u64 {
        if self.signal.pending() != 0 || self.events != 0 || self.single_block {
            return LEAVE;
        }
        let Some(mode) = self.translation_mode() else {
            return LEAVE;
        };
        let rip = self.regs[RIP];
        if self.translator().by_themselves != mode.by_themselves() {
            self.translator().by_themselves = mode.by_themselves();
            self.fast().clear_code();
        }
        let found = self.fast().branch(mode.table(), rip);
        let host = match found {
            Some(host) => host,
            None => match self.find_translation(rip, mode) {
                Some(number) => self.cache().checked_entry(number),
                None => return LEAVE,
            },
        };
        self.give_flags();
        self.native.rcx = rip;
        host
    }

    /// As [`Cpu::dispatch`], but only for code that is translated already, and whatever happens.
    pub(super) fn translated_entry(&mut self) -> Option<u64> {
        let mode = self.translation_mode()?;
        let rip = self.regs[RIP];
        let (gpa, _) = self.code_page(rip)?;
        let gpa = gpa | rip & 0xfff;
        let number = self.cache().find(&Key { rip, gpa, mode })?;
        self.give_flags();
        self.native.rcx = rip;
        Some(self.cache().checked_entry(number))
    }

    /// The block at `rip`, and the tables know it from now on.
    fn find_translation(&mut self, rip: u64, mode: Mode) -> Option<u32> {
        let (gpa, global) = self.code_page(rip)?;
        let gpa = gpa | rip & 0xfff;
        let number = self.cache().find(&Key { rip, gpa, mode })?;
        self.note_translation(number, rip, mode, global);
        Some(number)
    }

    fn note_translation(&mut self, number: u32, rip: u64, mode: Mode, global: bool) {
        let host = self.cache().checked_entry(number);
        let view = self.cache().view_of(number);
        let fast = self.fast();
        fast.fill_branch(mode.table(), rip, host, global);
        fast.set_view(mode.user(), rip & !0xfff, view);
    }

    /// The guest-physical page of code at `rip`, and whether it is global.
    pub(super) fn code_page(&mut self, rip: u64) -> Option<(u64, bool)> {
        let mut entry = *self.tlb.code(self.cpl == 3, rip);
        if entry.tag != self.tlb.tag(rip) {
            let Ok(found) = self.translate_code(rip) else {
                // The interpreter will raise it.
                self.stop = StopReason::None;
                return None;
            };
            entry = found;
        }
        Some((entry.gpa, entry.global))
    }

    /// Translates at most `limit` instructions at RIP; `None` if the first cannot be.
    pub(super) fn translate_block(&mut self, limit: usize) -> Option<u32> {
        let mode = self.translation_mode()?;
        let rip = self.regs[RIP];
        let (page, global) = self.code_page(rip)?;
        let began = std::time::Instant::now();
        let mut bytes = [0; 4096];
        self.fetch_code(page, &mut bytes).ok()?;
        let host = self.features.host;
        let how = Decoding {
            options: lower::decoder_options(&host),
            features: &host,
            vectors: mode.vectors(),
            x87: mode.x87(),
        };
        let source = source::read(&bytes, rip, limit, &how)?;
        let gpa = page | rip & 0xfff;
        let key = Key { rip, gpa, mode };
        let (fast, translator) = (self.fast, self.translator());
        // SAFETY: as in `fast`; the translator does not refer to it.
        let number = translator
            .cache
            .translate(unsafe { &mut *fast }, key, &source);
        for (site, rip) in translator.cache.interpreted(number) {
            let at = (rip & 0xfff) as usize;
            if let Some((op, _)) = lower::decode(self, &bytes[at..], rip) {
                self.cache_mut().keep_op(number, site, op);
            }
        }
        let translator = self.translator();
        translator.cache.counts.nanoseconds += began.elapsed().as_nanos() as u64;
        if let Some(map) = self.board.profiler.perf_map() {
            let (start, length) = self.cache().host_code(number);
            map.block(start, length, rip, mode.user());
        }
        self.note_translation(number, rip, mode, global);
        Some(number)
    }

    /// Runs one stretch: translated code if there is some for RIP, or has to be; else one block in
    /// the interpreter.
    pub(crate) fn run_stretch(&mut self) -> Option<VmExit> {
        if self.checker().is_some() {
            return self.run_checked();
        }
        let host = self.hot_code();
        if host == LEAVE {
            return self.run_block(usize::MAX);
        }
        self.enter(host);
        self.translator().exit.take()
    }

    /// The host address of translated code for RIP, which is translated now if it has become hot.
    pub(super) fn hot_code(&mut self) -> u64 {
        let mut host = self.dispatch();
        if host == LEAVE && self.translation_mode().is_some() {
            let rip = self.regs[RIP];
            if self.translator().heat.is_hot(rip) && self.translate_block(usize::MAX).is_some() {
                host = self.dispatch();
            }
        }
        host
    }

    /// Runs translated code from `host` until it leaves.
    pub(super) fn enter(&mut self, host: u64) {
        self.native.reload = 0;
        self.resume(host);
    }

    /// The same, with the vector registers loaded if `Native::reload` says so, and those of x87 if
    /// `Native::x87_reload` does.
    pub(super) fn resume(&mut self, host: u64) {
        if let Err(error) = self.arm_timer() {
            let why = format!("the host has no timer for a vCPU: {error}");
            self.translator().exit = Some(VmExit::Fail(why));
            return;
        }
        self.native.resume = host;
        self.native.attention = self.polled_word();
        let enter = self.cache().address(self.cache().stubs.enter);
        self.translator().entries += 1;
        self.reload_x87();
        // SAFETY: the code cache holds the stub at this address, and `host` came from it; translated
        // code touches this vCPU, its tables and guest RAM only.
        unsafe {
            let enter: Enter = std::mem::transmute::<u64, Enter>(enter);
            enter(self);
        }
    }

    /// Drops every translation.
    pub(crate) fn drop_translations(&mut self) {
        let fast = self.fast;
        if let Some(translator) = self.translator.as_mut() {
            // SAFETY: as in `fast`; the translator does not refer to it.
            translator.cache.clear(unsafe { &mut *fast });
        }
    }

    /// Drops translations of code that was stored to.
    #[cold]
    pub(crate) fn drop_stale_code(&mut self) {
        let fast = self.fast;
        let Some(translator) = self.translator.as_mut() else {
            return;
        };
        // SAFETY: as in `fast`; the translator does not refer to it.
        let fast = unsafe { &mut *fast };
        match translator.stale.take() {
            Stale::Nothing => {}
            Stale::Ranges(ranges) => {
                for (gpa, length) in ranges {
                    translator.cache.drop_stale(fast, gpa, length);
                }
            }
            Stale::Everything => translator.cache.clear(fast),
        }
    }
}
