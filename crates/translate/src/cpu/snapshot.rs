//! A vCPU's whole state: saved, loaded, and as reset and INIT leave it.

mod reset;
#[cfg(test)]
mod tests;

use wardian_engine::contract::EngineError;
use wardian_engine::state::VcpuState;

use super::debug::{dr6_value, dr7_value};
use super::exception::StopReason;
use super::msr::Msrs;
use super::registers::RIP;
use super::segment::{SegmentExt, index};
use super::{Cpu, cr, event, flags};
use crate::hostexec::XsaveArea;
use crate::mmu::{Invalidate, canonical};

/// The MSR that the local APIC keeps and that is part of the state nevertheless.
const APIC_BASE: u32 = 0x1B;
const CR0_DEFINED: u64 = cr::CR0_PE
    | cr::CR0_MP
    | cr::CR0_EM
    | cr::CR0_TS
    | cr::CR0_ET
    | cr::CR0_NE
    | cr::CR0_WP
    | cr::CR0_AM
    | cr::CR0_NW
    | cr::CR0_CD
    | cr::CR0_PG;
/// The bits of CR0 that INIT does not change.
const CR0_CACHES: u64 = cr::CR0_CD | cr::CR0_NW;
const RFLAGS_DEFINED: u64 = flags::ARITHMETIC | flags::FIXED_1 | flags::SYSTEM;
/// What has been worked out of a state that can be loaded, and is not just copied.
struct Loadable {
    vectors: XsaveArea,
    msrs: Msrs,
    apic_base: Option<u64>,
    pdptrs: [u64; 4],
    cpl: u8,
}

fn bad<T>(what: impl Into<String>) -> Result<T, EngineError> {
    Err(EngineError::BadState(what.into()))
}

/// Refuses the state with a reason unless `condition` holds.
fn require(condition: bool, reason: &str) -> Result<(), EngineError> {
    if condition { Ok(()) } else { bad(reason) }
}

impl Cpu {
    /// The state at an instruction boundary.
    #[must_use]
    pub fn save(&self) -> VcpuState {
        let mut gpr = [0; 16];
        gpr.copy_from_slice(&self.regs[..16]);
        let mut segments = self.seg;
        for (segment, base) in segments.iter_mut().zip(self.seg_base) {
            segment.base = base;
        }
        let [dr0, dr1, dr2, dr3] = self.dr;
        let irqchip = &self.board.irqchip;
        let apic_base = (APIC_BASE, irqchip.apic_base(self.index));
        VcpuState {
            gpr,
            rip: self.rip(),
            rflags: self.rflags(),
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            cr8: u64::from(irqchip.cr8(self.index)),
            efer: self.efer,
            xcr0: self.xcr0,
            segments,
            gdtr: self.gdtr,
            idtr: self.idtr,
            dr: [dr0, dr1, dr2, dr3, self.dr6, self.dr7],
            msrs: [apic_base].into_iter().chain(self.msrs.saved()).collect(),
            xsave: self.vectors.bytes.to_vec(),
            activity: self.activity,
        }
    }

    /// Loads a whole state.
    ///
    /// # Errors
    /// [`EngineError::BadState`] for what no vCPU of this machine can be in; the vCPU then keeps its
    /// old state.
    pub fn load(&mut self, state: &VcpuState) -> Result<(), EngineError> {
        let loadable = self.check(state)?;
        let irqchip = &self.board.irqchip;
        if let Some(base) = loadable.apic_base
            && base != irqchip.apic_base(self.index)
            && irqchip
                .lapic_msr_write(self.index, APIC_BASE, base)
                .is_err()
        {
            return bad(format!("its local APIC cannot change to base {base:#x}"));
        }
        irqchip.set_cr8(self.index, state.cr8 as u8);
        if state.rip != self.rip() {
            // Another instruction than the one that may be waiting for a device.
            self.forget_instruction();
        }
        self.regs[..16].copy_from_slice(&state.gpr);
        self.regs[RIP] = state.rip;
        self.cr0 = state.cr0 | cr::CR0_ET;
        self.cr2 = state.cr2;
        self.cr3 = state.cr3;
        self.cr4 = state.cr4;
        self.efer = state.efer;
        self.xcr0 = state.xcr0;
        self.pdptrs = loadable.pdptrs;
        self.gdtr = state.gdtr;
        self.idtr = state.idtr;
        *self.vectors = loadable.vectors;
        self.load_msrs(loadable.msrs);
        for (which, segment) in state.segments.iter().enumerate() {
            self.set_segment(which, *segment);
        }
        self.update_mode();
        self.cpl = loadable.cpl;
        self.set_rflags(state.rflags);
        let [dr @ .., dr6, dr7] = state.dr;
        self.set_debug_registers(dr, dr6_value(dr6), dr7_value(dr7));
        self.set_activity(state.activity);
        self.events |= event::CHECK_INTERRUPTS;
        self.invalidate(Invalidate::All);
        Ok(())
    }

    fn check(&self, state: &VcpuState) -> Result<Loadable, EngineError> {
        self.check_control_registers(state)?;
        check_segments(state)?;
        require(
            state.rflags & !RFLAGS_DEFINED == 0,
            "RFLAGS has reserved bits",
        )?;
        let [.., dr6, dr7] = state.dr;
        require(
            dr6 >> 32 == 0 && dr7 >> 32 == 0,
            "DR6 or DR7 has reserved bits",
        )?;
        let (msrs, apic_base) = self.check_msrs(state)?;
        let Some(vectors) = Self::vectors_of(&state.xsave) else {
            return bad("its XSAVE image is not a valid one in the standard format");
        };
        Ok(Loadable {
            vectors,
            msrs,
            apic_base,
            pdptrs: self.check_pdptrs(state)?,
            cpl: privilege_level(state),
        })
    }

    fn check_control_registers(&self, state: &VcpuState) -> Result<(), EngineError> {
        let features = &self.features;
        let paging = state.cr0 & cr::CR0_PG != 0;
        let lma = state.efer & cr::EFER_LMA != 0;
        let pcid = state.cr4 & cr::CR4_PCIDE != 0;
        require(state.cr0 & !CR0_DEFINED == 0, "CR0 has reserved bits")?;
        require(
            !paging || state.cr0 & cr::CR0_PE != 0,
            "paging is on without protected mode",
        )?;
        require(
            state.cr0 & CR0_CACHES != cr::CR0_NW,
            "CR0.NW is set without CR0.CD",
        )?;
        require(
            state.cr4 & !features.cr4_allowed() == 0,
            "CR4 has bits that the CPU model lacks",
        )?;
        require(
            state.efer & !features.efer_allowed() == 0,
            "EFER has bits that the CPU model lacks",
        )?;
        require(
            lma == (paging && state.efer & cr::EFER_LME != 0),
            "EFER.LMA is not what EFER.LME and paging make of it",
        )?;
        require(
            !lma || state.cr4 & cr::CR4_PAE != 0,
            "long mode is active without CR4.PAE",
        )?;
        require(!pcid || lma, "CR4.PCIDE is set outside long mode")?;
        require(
            !lma || state.cr3 & !features.physical_mask() == 0,
            "CR3 is beyond the physical address width",
        )?;
        require(state.cr8 < 16, "CR8 has reserved bits")?;
        require(features.xcr0_valid(state.xcr0), "XCR0 has impossible bits")
    }

    fn check_msrs(&self, state: &VcpuState) -> Result<(Msrs, Option<u64>), EngineError> {
        let mut msrs = self.msrs.clone();
        let mut apic_base = None;
        for &(index, value) in &state.msrs {
            if index == APIC_BASE {
                apic_base = Some(value);
            } else if msrs.load(index, value, &self.features).is_none() {
                return bad(format!(
                    "MSR {index:#x} does not exist or cannot hold {value:#x}"
                ));
            }
        }
        Ok((msrs, apic_base))
    }

    /// The page-directory pointers, which PAE paging holds in registers and memory has.
    fn check_pdptrs(&self, state: &VcpuState) -> Result<[u64; 4], EngineError> {
        const PRESENT: u64 = 1;
        const RESERVED: u64 = 0x1e6;
        let pae = state.cr0 & cr::CR0_PG != 0 && state.cr4 & cr::CR4_PAE != 0;
        if !pae || state.efer & cr::EFER_LMA != 0 {
            return Ok([0; 4]);
        }
        // Memory may have changed since the registers were loaded.
        let same = self.cr0 == state.cr0 && self.cr3 == state.cr3 && self.cr4 == state.cr4;
        if same && self.efer == state.efer {
            return Ok(self.pdptrs);
        }
        let mut bytes = [0; 32];
        self.board.ram.read(state.cr3 & 0xffff_ffe0, &mut bytes)?;
        let mut pointers = [0; 4];
        for (pointer, raw) in pointers.iter_mut().zip(bytes.chunks_exact(8)) {
            *pointer = u64::from_le_bytes(raw.try_into().unwrap_or_default());
            let reserved = *pointer & (RESERVED | !self.features.physical_mask());
            require(
                *pointer & PRESENT == 0 || reserved == 0,
                "a page-directory pointer has reserved bits",
            )?;
        }
        Ok(pointers)
    }

    /// Whatever the current instruction has begun is dropped.
    fn forget_instruction(&mut self) {
        self.device.forget();
        self.stop = StopReason::None;
        self.pending_dr6 = 0;
        self.events &= !(event::SHADOWS | event::DEBUG_TRAP);
    }

    fn set_debug_registers(&mut self, dr: [u64; 4], dr6: u64, dr7: u64) {
        self.dr = dr;
        self.dr6 = dr6;
        self.dr7 = dr7;
        self.breakpoints_changed();
    }
}

/// The privilege level is that of the stack segment, which unlike CS is never conforming and never
/// left over from real mode; a null one, in 64-bit mode, has no descriptor.
fn privilege_level(state: &VcpuState) -> u8 {
    if state.cr0 & cr::CR0_PE == 0 {
        return 0;
    }
    if state.rflags & flags::VM != 0 {
        return 3;
    }
    let stack = &state.segments[index::SS];
    if stack.unusable() {
        (state.segments[index::CS].selector & 3) as u8
    } else {
        stack.dpl()
    }
}

fn check_segments(state: &VcpuState) -> Result<(), EngineError> {
    let long = state.efer & cr::EFER_LMA != 0;
    let code = &state.segments[index::CS];
    let bits64 = long && code.long();
    require(
        !(bits64 && code.big()),
        "CS is both a 64-bit and a 32-bit segment",
    )?;
    require(
        !(long && state.rflags & flags::VM != 0),
        "virtual-8086 mode is on in long mode",
    )?;
    let fits = if bits64 {
        canonical(state.rip)
    } else {
        state.rip >> 32 == 0
    };
    require(fits, "RIP is not an address of its mode")?;
    let bases = [state.gdtr.base, state.idtr.base];
    let wide = [index::FS, index::GS, index::LDTR, index::TR].map(|i| state.segments[i].base);
    require(
        bases.iter().chain(&wide).all(|&base| canonical(base)),
        "a segment or table base is not canonical",
    )?;
    let narrow = [index::ES, index::CS, index::SS, index::DS].map(|i| state.segments[i].base);
    require(
        narrow.iter().all(|base| base >> 32 == 0),
        "the base of ES, CS, SS or DS is beyond 4 GiB",
    )
}
