//! What the guest's CPUID offers, in the form in which instructions and registers check it.

mod everything;

use wardian_engine::contract::CpuidEntry;

use super::cr;
use crate::hostexec::{Feature, FeatureSet, host_features};

/// XCR0: x87 state, always one.
pub const XCR0_X87: u64 = 1;
/// XCR0: XMM registers and MXCSR.
pub const XCR0_SSE: u64 = 1 << 1;
/// XCR0: upper halves of the YMM registers.
pub const XCR0_AVX: u64 = 1 << 2;

const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;
/// First leaf of the extended range.
const EXTENDED: u32 = 0x8000_0000;
const EXTENDED_FEATURES: u32 = 0x8000_0001;
const ADDRESS_SIZES: u32 = 0x8000_0008;
/// First leaf of the range that hypervisors describe themselves in.
const HYPERVISOR: u32 = 0x4000_0000;
/// Physical address bits of a processor that does not say (Intel SDM vol. 3, 4.1.4).
const DEFAULT_PHYSICAL_BITS: u32 = 36;
/// Leaves whose answer depends on ECX (Intel SDM vol. 2, CPUID).
const WITH_SUBLEAVES: [u32; 12] = [
    0x4, 0x7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1D, 0x1F,
];

/// CPUID bits behind the extensions that are executed on the host: leaf, register, bit.
const HOST_BITS: [(Feature, u32, usize, u32); 23] = [
    (Feature::Fpu, 1, EDX, 0),
    (Feature::Mmx, 1, EDX, 23),
    (Feature::Sse, 1, EDX, 25),
    (Feature::Sse2, 1, EDX, 26),
    (Feature::Sse3, 1, ECX, 0),
    (Feature::Pclmulqdq, 1, ECX, 1),
    (Feature::Ssse3, 1, ECX, 9),
    (Feature::Fma, 1, ECX, 12),
    (Feature::Sse41, 1, ECX, 19),
    (Feature::Sse42, 1, ECX, 20),
    (Feature::Movbe, 1, ECX, 22),
    (Feature::Popcnt, 1, ECX, 23),
    (Feature::Aes, 1, ECX, 25),
    (Feature::Avx, 1, ECX, 28),
    (Feature::F16c, 1, ECX, 29),
    (Feature::Rdrand, 1, ECX, 30),
    (Feature::Bmi1, 7, EBX, 3),
    (Feature::Avx2, 7, EBX, 5),
    (Feature::Bmi2, 7, EBX, 8),
    (Feature::Rdseed, 7, EBX, 18),
    (Feature::Adx, 7, EBX, 19),
    (Feature::Sha, 7, EBX, 29),
    (Feature::Lzcnt, EXTENDED_FEATURES, ECX, 5),
];

/// The CPU model of a vCPU.
#[derive(Clone, Debug)]
pub struct Features {
    /// The model's rows. What differs between vCPUs or changes as they run is filled in on the way
    /// to the guest.
    pub cpuid: Vec<CpuidEntry>,
    /// Extensions executed on the host that both the model and the host have.
    pub host: FeatureSet,
    /// Width of physical addresses in bits.
    pub physical_bits: u32,
    /// 1 GiB pages.
    pub pages_1g: bool,
    /// FXSAVE and FXRSTOR.
    pub fxsr: bool,
    /// SYSENTER and SYSEXIT.
    pub sep: bool,
    /// CLFLUSH.
    pub clflush: bool,
    /// CLFLUSHOPT.
    pub clflushopt: bool,
    /// CMPXCHG16B.
    pub cx16: bool,
    /// Process-context identifiers.
    pub pcid: bool,
    /// INVPCID.
    pub invpcid: bool,
    /// x2APIC mode.
    pub x2apic: bool,
    /// The APIC timer's TSC-deadline mode.
    pub tsc_deadline: bool,
    /// XSAVE, XRSTOR, XSETBV, XGETBV.
    pub xsave: bool,
    /// XSAVEOPT.
    pub xsaveopt: bool,
    /// RDFSBASE and its like.
    pub fsgsbase: bool,
    /// Supervisor-mode execution prevention.
    pub smep: bool,
    /// Supervisor-mode access prevention.
    pub smap: bool,
    /// User-mode instruction prevention.
    pub umip: bool,
    /// RDPID.
    pub rdpid: bool,
    /// RDTSCP.
    pub rdtscp: bool,
    /// IA32_SPEC_CTRL and IA32_PRED_CMD.
    pub spec_ctrl: bool,
    /// BHI_DIS_S in IA32_SPEC_CTRL.
    pub bhi_ctrl: bool,
    /// IA32_ARCH_CAPABILITIES.
    pub arch_capabilities: bool,
    /// SYSCALL and SYSRET.
    pub syscall: bool,
    /// No-execute pages.
    pub nx: bool,
    /// 64-bit mode.
    pub long_mode: bool,
    cr4: u64,
    xcr0: u64,
}

impl Features {
    /// Reads a model. A leaf that is missing offers nothing.
    #[must_use]
    pub fn from_cpuid(entries: &[CpuidEntry]) -> Self {
        let bit = |leaf, register: usize, bit: u32| {
            row(entries, leaf, 0).is_some_and(|regs| regs[register] >> bit & 1 != 0)
        };
        let host = HOST_BITS
            .iter()
            .filter(|&&(feature, leaf, register, n)| {
                host_features().has(feature) && bit(leaf, register, n)
            })
            .fold(FeatureSet::default(), |set, &(feature, ..)| {
                set.with(feature)
            });
        let xsave = bit(1, ECX, 26);
        let mut features = Self {
            host,
            physical_bits: row(entries, ADDRESS_SIZES, 0)
                .map_or(DEFAULT_PHYSICAL_BITS, |regs| regs[EAX] & 0xff)
                .clamp(32, 52),
            pages_1g: bit(EXTENDED_FEATURES, EDX, 26),
            fxsr: bit(1, EDX, 24),
            sep: bit(1, EDX, 11),
            clflush: bit(1, EDX, 19),
            clflushopt: bit(7, EBX, 23),
            cx16: bit(1, ECX, 13),
            pcid: bit(1, ECX, 17),
            invpcid: bit(7, EBX, 10),
            x2apic: bit(1, ECX, 21),
            tsc_deadline: bit(1, ECX, 24),
            xsave,
            xsaveopt: row(entries, 0xD, 1).is_some_and(|regs| regs[EAX] & 1 != 0),
            fsgsbase: bit(7, EBX, 0),
            smep: bit(7, EBX, 7),
            smap: bit(7, EBX, 20),
            umip: bit(7, ECX, 2),
            rdpid: bit(7, ECX, 22),
            rdtscp: bit(EXTENDED_FEATURES, EDX, 27),
            spec_ctrl: bit(7, EDX, 26),
            bhi_ctrl: row(entries, 7, 2).is_some_and(|regs| regs[EDX] & 1 << 4 != 0),
            arch_capabilities: bit(7, EDX, 29),
            syscall: bit(EXTENDED_FEATURES, EDX, 11),
            nx: bit(EXTENDED_FEATURES, EDX, 20),
            long_mode: bit(EXTENDED_FEATURES, EDX, 29),
            cr4: 0,
            xcr0: 0,
            cpuid: entries.to_vec(),
        };
        let enabled_by = [
            (bit(1, EDX, 4), cr::CR4_TSD),
            (bit(1, EDX, 2), cr::CR4_DE),
            (bit(1, EDX, 3), cr::CR4_PSE),
            (bit(1, EDX, 6), cr::CR4_PAE),
            (bit(1, EDX, 7), cr::CR4_MCE),
            (bit(1, EDX, 13), cr::CR4_PGE),
            (true, cr::CR4_PCE),
            (features.fxsr, cr::CR4_OSFXSR),
            (bit(1, EDX, 25), cr::CR4_OSXMMEXCPT),
            (features.umip, cr::CR4_UMIP),
            (features.fsgsbase, cr::CR4_FSGSBASE),
            (features.pcid, cr::CR4_PCIDE),
            (xsave, cr::CR4_OSXSAVE),
            (features.smep, cr::CR4_SMEP),
            (features.smap, cr::CR4_SMAP),
        ];
        features.cr4 = enabled_by
            .iter()
            .filter(|(offered, _)| *offered)
            .fold(0, |all, (_, bit)| all | bit);
        if xsave {
            let offered = row(entries, 0xD, 0).map_or(0, |regs| u64::from(regs[EAX]));
            let avx = if host.has(Feature::Avx) { XCR0_AVX } else { 0 };
            features.xcr0 = XCR0_X87 | offered & (XCR0_SSE | avx);
        }
        features
    }

    /// Bits that a physical address can have.
    #[must_use]
    #[inline(always)]
    pub fn physical_mask(&self) -> u64 {
        (1 << self.physical_bits) - 1
    }

    /// Bits of CR4 that can be set.
    #[must_use]
    pub fn cr4_allowed(&self) -> u64 {
        self.cr4
    }

    /// Bits of IA32_EFER that can be set.
    #[must_use]
    pub fn efer_allowed(&self) -> u64 {
        let when = |offered, bits| if offered { bits } else { 0 };
        when(self.syscall, cr::EFER_SCE)
            | when(self.long_mode, cr::EFER_LME | cr::EFER_LMA)
            | when(self.nx, cr::EFER_NXE)
    }

    /// Bits of XCR0 that can be set.
    #[must_use]
    pub fn xcr0_allowed(&self) -> u64 {
        self.xcr0
    }

    /// Whether XSETBV may load `value` (Intel SDM vol. 1, 13.3).
    #[must_use]
    pub fn xcr0_valid(&self, value: u64) -> bool {
        let avx_without_sse = value & (XCR0_SSE | XCR0_AVX) == XCR0_AVX;
        value & XCR0_X87 != 0 && value & !(self.xcr0 | XCR0_X87) == 0 && !avx_without_sse
    }

    /// The row that answers a leaf and subleaf: which leaf it is, and its registers as the model has
    /// them. A leaf beyond its range is answered as the highest basic leaf, as Intel's processors do
    /// (Intel SDM vol. 2, CPUID); one that the model left out is all zeros.
    #[must_use]
    pub fn cpuid_row(&self, leaf: u32, subleaf: u32) -> (u32, [u32; 4]) {
        let range = match leaf {
            0..HYPERVISOR => 0,
            HYPERVISOR..=0x4fff_ffff => leaf & 0xffff_ff00,
            _ => EXTENDED,
        };
        let highest = |range| row(&self.cpuid, range, 0).map(|regs| regs[EAX]);
        let known = leaf >= range && highest(range).is_some_and(|last| leaf <= last);
        let leaf = if known { leaf } else { highest(0).unwrap_or(0) };
        let subleaf = if WITH_SUBLEAVES.contains(&leaf) {
            subleaf
        } else {
            0
        };
        (leaf, row(&self.cpuid, leaf, subleaf).unwrap_or([0; 4]))
    }
}

fn row(entries: &[CpuidEntry], leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    entries
        .iter()
        .find(|e| e.leaf == leaf && e.subleaf == subleaf)
        .map(|e| e.regs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Features {
        let row = |leaf, subleaf, regs| CpuidEntry {
            leaf,
            subleaf,
            regs,
        };
        Features::from_cpuid(&[
            row(0, 0, [0xB, 1, 2, 3]),
            row(4, 0, [10, 0, 0, 0]),
            row(4, 1, [11, 0, 0, 0]),
            row(0xB, 0, [20, 0, 0, 0]),
            row(HYPERVISOR, 0, [HYPERVISOR + 1, 0, 0, 0]),
            row(HYPERVISOR + 1, 0, [40, 0, 0, 0]),
            row(EXTENDED, 0, [EXTENDED + 8, 0, 0, 0]),
            row(EXTENDED + 8, 0, [39, 0, 0, 0]),
        ])
    }

    #[test]
    fn leaves_are_answered_from_their_rows() {
        let model = model();
        for (leaf, subleaf, answered_by, eax) in [
            (0, 7, 0, 0xB),
            (4, 1, 4, 11),
            (4, 2, 4, 0),
            (2, 0, 2, 0),
            (HYPERVISOR + 1, 9, HYPERVISOR + 1, 40),
            (EXTENDED + 8, 0, EXTENDED + 8, 39),
            (EXTENDED + 7, 0, EXTENDED + 7, 0),
        ] {
            let (found, regs) = model.cpuid_row(leaf, subleaf);
            assert_eq!((found, regs[0]), (answered_by, eax), "{leaf:#x}.{subleaf}");
        }
    }

    #[test]
    fn leaves_out_of_range_are_answered_as_the_highest_basic_one() {
        let model = model();
        for leaf in [
            0xC,
            HYPERVISOR - 1,
            HYPERVISOR + 2,
            HYPERVISOR + 0x100,
            EXTENDED + 9,
            u32::MAX,
        ] {
            assert_eq!(model.cpuid_row(leaf, 0), (0xB, [20, 0, 0, 0]), "{leaf:#x}");
        }
        assert_eq!(Features::from_cpuid(&[]).cpuid_row(5, 0), (0, [0; 4]));
    }

    #[test]
    fn a_model_offers_only_what_its_rows_say() {
        let model = model();
        assert_eq!(model.physical_mask(), (1 << 39) - 1);
        assert_eq!(model.cr4_allowed(), cr::CR4_PCE);
        assert_eq!((model.efer_allowed(), model.xcr0_allowed()), (0, 0));
        assert_eq!(model.host, FeatureSet::default());
    }

    #[test]
    fn xcr0_needs_x87_and_avx_needs_sse() {
        let mut model = model();
        assert!(model.xcr0_valid(XCR0_X87) && !model.xcr0_valid(XCR0_X87 | XCR0_SSE));
        model.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
        let valid: Vec<u64> = (0..16).filter(|&value| model.xcr0_valid(value)).collect();
        assert_eq!(valid, [1, 3, 7]);
    }
}
