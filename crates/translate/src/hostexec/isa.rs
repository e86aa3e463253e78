//! Which instruction-set extension an instruction belongs to, and whether the host has it.
//!
//! This is an allow-list: an instruction whose iced-x86 feature list names anything else (EVEX,
//! 3DNow!, SSE4A, VAES, Cyrix x87, …) is refused.

use std::sync::OnceLock;

use iced_x86::{CpuidFeature, EncodingKind, Instruction, Mnemonic, Register};

/// One extension, as CPUID reports it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Feature {
    Fpu,
    Mmx,
    Sse,
    Sse2,
    Sse3,
    Ssse3,
    Sse41,
    Sse42,
    Aes,
    Pclmulqdq,
    Sha,
    Avx,
    Avx2,
    Fma,
    F16c,
    Bmi1,
    Bmi2,
    Lzcnt,
    Popcnt,
    Adx,
    Movbe,
    Rdrand,
    Rdseed,
}

/// A set of [`Feature`]s.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FeatureSet(u32);

impl FeatureSet {
    /// The set with `feature` added.
    pub const fn with(self, feature: Feature) -> Self {
        FeatureSet(self.0 | 1 << feature as u32)
    }

    /// Whether every member of `other` is in `self`.
    pub const fn contains(self, other: FeatureSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether `feature` is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.contains(FeatureSet(0).with(feature))
    }
}

/// The state an instruction works on, which decides the checks before it may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostKind {
    /// General registers and flags only; no CR0, CR4 or XCR0 check.
    Gpr,
    /// Legacy SSE: CR0.EM = 0 and CR4.OSFXSR = 1, else #UD; CR0.TS = 0, else #NM.
    Sse,
    /// VEX on vector registers: CR4.OSXSAVE = 1 and bits 2:1 of XCR0 set, else #UD; CR0.TS = 0, else #NM.
    Avx,
    /// x87: CR0.EM = 0 and CR0.TS = 0, else #NM (WAIT: CR0.MP and CR0.TS both set).
    X87,
    /// MMX registers: CR0.EM = 0, else #UD; CR0.TS = 0, else #NM; pending x87 error, #MF.
    Mmx,
}

/// What must be true of the machine before an instruction may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa {
    /// CPUID bits that the guest's CPU model must have, else #UD.
    pub features: FeatureSet,
    /// The state it works on.
    pub kind: HostKind,
    /// VEX encoding: #UD in real and virtual-8086 mode, whatever the kind.
    pub vex: bool,
    /// Touches an XMM register or MXCSR in legacy encoding, so CR4.OSFXSR = 1 is needed. True for
    /// every [`HostKind::Sse`] and for the [`HostKind::Mmx`] forms that convert to or from XMM.
    pub needs_osfxsr: bool,
}

/// What `ins` needs, or `None` when it is outside every extension this module executes.
pub fn required_isa(ins: &Instruction) -> Option<Isa> {
    let mut features = FeatureSet::default();
    let mut x87 = false;
    // FCMOVcc and FCOMI also name CMOV, which every x86-64 processor has; alone it is CMOVcc.
    for &named in ins
        .cpuid_features()
        .iter()
        .filter(|&&named| named != CpuidFeature::CMOV)
    {
        let feature = feature_of(named)?;
        x87 |= feature == Feature::Fpu;
        features = features.with(feature);
    }
    let vex = match ins.encoding() {
        EncodingKind::Legacy => false,
        EncodingKind::VEX => true,
        _ => return None,
    };
    if features == FeatureSet::default() || elsewhere(ins.mnemonic()) {
        return None;
    }
    let registers = || (0..ins.op_count()).map(|i| ins.op_register(i));
    let vector = registers().any(Register::is_vector_register);
    let kind = if x87 {
        HostKind::X87
    } else if registers().any(Register::is_mm) || ins.mnemonic() == Mnemonic::Emms {
        HostKind::Mmx
    } else if matches!(ins.mnemonic(), Mnemonic::Vzeroupper | Mnemonic::Vzeroall) {
        HostKind::Avx
    } else if !vector {
        HostKind::Gpr
    } else if vex {
        HostKind::Avx
    } else {
        HostKind::Sse
    };
    let needs_osfxsr = kind == HostKind::Sse || (kind == HostKind::Mmx && vector);
    Some(Isa {
        features,
        kind,
        vex,
        needs_osfxsr,
    })
}

/// Instructions of these extensions that are about the machine, not about register values: the
/// interpreter has them itself.
fn elsewhere(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Ldmxcsr
            | Stmxcsr
            | Vldmxcsr
            | Vstmxcsr
            | Sfence
            | Lfence
            | Mfence
            | Clflush
            | Prefetchnta
            | Prefetcht0
            | Prefetcht1
            | Prefetcht2
            | Pause
            | Monitor
            | Mwait
    )
}

fn feature_of(named: CpuidFeature) -> Option<Feature> {
    Some(match named {
        CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387 => Feature::Fpu,
        CpuidFeature::MMX => Feature::Mmx,
        CpuidFeature::SSE => Feature::Sse,
        CpuidFeature::SSE2 => Feature::Sse2,
        CpuidFeature::SSE3 => Feature::Sse3,
        CpuidFeature::SSSE3 => Feature::Ssse3,
        CpuidFeature::SSE4_1 => Feature::Sse41,
        CpuidFeature::SSE4_2 => Feature::Sse42,
        CpuidFeature::AES => Feature::Aes,
        CpuidFeature::PCLMULQDQ => Feature::Pclmulqdq,
        CpuidFeature::SHA => Feature::Sha,
        CpuidFeature::AVX => Feature::Avx,
        CpuidFeature::AVX2 => Feature::Avx2,
        CpuidFeature::FMA => Feature::Fma,
        CpuidFeature::F16C => Feature::F16c,
        CpuidFeature::BMI1 => Feature::Bmi1,
        CpuidFeature::BMI2 => Feature::Bmi2,
        CpuidFeature::LZCNT => Feature::Lzcnt,
        CpuidFeature::POPCNT => Feature::Popcnt,
        CpuidFeature::ADX => Feature::Adx,
        CpuidFeature::MOVBE => Feature::Movbe,
        CpuidFeature::RDRAND => Feature::Rdrand,
        CpuidFeature::RDSEED => Feature::Rdseed,
        _ => return None,
    })
}

/// The extensions this host can execute.
pub fn host_features() -> FeatureSet {
    static HOST: OnceLock<FeatureSet> = OnceLock::new();
    *HOST.get_or_init(|| {
        let found = [
            (Feature::Fpu, true),
            (Feature::Mmx, true),
            (Feature::Sse, true),
            (Feature::Sse2, true),
            (Feature::Sse3, is_x86_feature_detected!("sse3")),
            (Feature::Ssse3, is_x86_feature_detected!("ssse3")),
            (Feature::Sse41, is_x86_feature_detected!("sse4.1")),
            (Feature::Sse42, is_x86_feature_detected!("sse4.2")),
            (Feature::Aes, is_x86_feature_detected!("aes")),
            (Feature::Pclmulqdq, is_x86_feature_detected!("pclmulqdq")),
            (Feature::Sha, is_x86_feature_detected!("sha")),
            (Feature::Avx, is_x86_feature_detected!("avx")),
            (Feature::Avx2, is_x86_feature_detected!("avx2")),
            (Feature::Fma, is_x86_feature_detected!("fma")),
            (Feature::F16c, is_x86_feature_detected!("f16c")),
            (Feature::Bmi1, is_x86_feature_detected!("bmi1")),
            (Feature::Bmi2, is_x86_feature_detected!("bmi2")),
            (Feature::Lzcnt, is_x86_feature_detected!("lzcnt")),
            (Feature::Popcnt, is_x86_feature_detected!("popcnt")),
            (Feature::Adx, is_x86_feature_detected!("adx")),
            (Feature::Movbe, is_x86_feature_detected!("movbe")),
            (Feature::Rdrand, is_x86_feature_detected!("rdrand")),
            (Feature::Rdseed, is_x86_feature_detected!("rdseed")),
        ];
        let has = found.iter().filter(|(_, present)| *present);
        has.fold(FeatureSet::default(), |set, (feature, _)| {
            set.with(*feature)
        })
    })
}
