//! The CPU model of a machine that was given none: everything that this engine has.

use wardian_engine::contract::CpuidEntry;

use super::{
    ADDRESS_SIZES, EXTENDED, EXTENDED_FEATURES, Features, HOST_BITS, XCR0_AVX, XCR0_SSE, XCR0_X87,
};
use crate::hostexec::{Feature, host_features};

/// Family 6 model 60h, which no product has.
const SIGNATURE: u32 = 0x0006_0601;
const PHYSICAL_BITS: u32 = 40;
const VIRTUAL_BITS: u32 = 48;
/// CX16, PCID, x2APIC, TSC deadline, hypervisor.
const FEATURES_ECX: u32 = 1 << 13 | 1 << 17 | 1 << 21 | 1 << 24 | 1 << 31;
const XSAVE: u32 = 1 << 26;
/// DE PSE TSC MSR PAE MCE CX8 APIC, SEP MTRR PGE MCA CMOV PAT PSE36, CLFLUSH, FXSR.
const FEATURES_EDX: u32 = 0x010B_FBFC;
/// FSGSBASE SMEP ERMS INVPCID SMAP CLFLUSHOPT.
const STRUCTURED_EBX: u32 = 1 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 20 | 1 << 23;
/// UMIP, RDPID.
const STRUCTURED_ECX: u32 = 1 << 2 | 1 << 22;
/// SPEC_CTRL, ARCH_CAPABILITIES.
const STRUCTURED_EDX: u32 = 1 << 26 | 1 << 29;
/// LAHF in 64-bit mode, PREFETCHW.
const EXTENDED_ECX: u32 = 1 | 1 << 8;
/// SYSCALL, NX, 1 GiB pages, RDTSCP, 64-bit mode.
const EXTENDED_EDX: u32 = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29;

impl Default for Features {
    fn default() -> Self {
        Self::from_cpuid(&rows())
    }
}

fn rows() -> Vec<CpuidEntry> {
    let host = host_features();
    let avx = host.has(Feature::Avx);
    let xsave = if avx { XSAVE } else { 0 };
    let mut rows = vec![
        row(0, 0, [0xD, 0, 0, 0]),
        row(
            1,
            0,
            [SIGNATURE, 8 << 8, FEATURES_ECX | xsave, FEATURES_EDX],
        ),
        row(7, 0, [0, STRUCTURED_EBX, STRUCTURED_ECX, STRUCTURED_EDX]),
        row(EXTENDED, 0, [ADDRESS_SIZES, 0, 0, 0]),
        row(EXTENDED_FEATURES, 0, [0, 0, EXTENDED_ECX, EXTENDED_EDX]),
        row(
            ADDRESS_SIZES,
            0,
            [PHYSICAL_BITS | VIRTUAL_BITS << 8, 0, 0, 0],
        ),
    ];
    if avx {
        let components = (XCR0_X87 | XCR0_SSE | XCR0_AVX) as u32;
        rows.push(row(0xD, 0, [components, 832, 832, 0]));
        rows.push(row(0xD, 1, [1, 0, 0, 0]));
        rows.push(row(0xD, 2, [256, 576, 0, 0]));
    }
    for (feature, leaf, register, bit) in HOST_BITS {
        for row in rows.iter_mut().filter(|row| row.leaf == leaf) {
            row.regs[register] |= u32::from(host.has(feature)) << bit;
        }
    }
    rows
}

fn row(leaf: u32, subleaf: u32, regs: [u32; 4]) -> CpuidEntry {
    CpuidEntry {
        leaf,
        subleaf,
        regs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::cr;

    #[test]
    fn everything_is_offered() {
        let features = Features::default();
        let wanted = cr::CR4_PAE | cr::CR4_SMAP | cr::CR4_PCIDE | cr::CR4_UMIP;
        assert_eq!(features.cr4_allowed() & wanted, wanted);
        assert_eq!(features.efer_allowed(), 0xd01);
        assert_eq!(features.physical_mask(), 0xff_ffff_ffff);
        assert!(features.host.contains(host_features()));
        assert!(features.pages_1g && features.invpcid && features.rdtscp);
    }
}
