//! Which forms are compared and which are not, each with the reason.

use iced_x86::{Code, CpuidFeature, EncodingKind, Mnemonic, OpCodeOperandKind};

/// What is done with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    /// Both sides run it and must agree.
    Compare,
    /// Nobody runs it here; the reason says who tests it or why nobody can.
    Skip(&'static str),
    /// The CPU model does not have it, the host may: the interpreter must raise #UD.
    Absent(&'static str),
}

const KERNEL: &str = "enters the kernel: its effect is the kernel's; micro-guests test it";
const MODEL: &str = "the answer is the CPU model's, the host's is another";
const RANDOM: &str = "the answer is random or depends on the time";
const UMIP: &str = "the host's kernel runs with UMIP and emulates it; micro-guests test it";
const LAYOUT: &str = "the host's XCR0 has more components; micro-guests test the layout";
const INT1: &str = "hypervisors differ in the address they report";
const HYPERCALL: &str = "reaches the host's hypervisor";
/// Why AVX-512 is not compared.
pub const AVX512: &str = "AVX-512 is outside every CPU model of stage 0";
const WAIT: &str = "waits, or the host's kernel decides whether it may";

/// The forms that are not simply compared, by mnemonic.
const BY_MNEMONIC: &[(&str, &[Mnemonic])] = &[
    (
        KERNEL,
        &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Int],
    ),
    (
        MODEL,
        &[
            Mnemonic::Cpuid,
            Mnemonic::Xgetbv,
            Mnemonic::Rdpid,
            Mnemonic::Lsl,
        ],
    ),
    (
        RANDOM,
        &[
            Mnemonic::Rdtsc,
            Mnemonic::Rdtscp,
            Mnemonic::Rdrand,
            Mnemonic::Rdseed,
        ],
    ),
    (RANDOM, &[Mnemonic::Rdpmc, Mnemonic::Rdpru]),
    (
        UMIP,
        &[
            Mnemonic::Sgdt,
            Mnemonic::Sidt,
            Mnemonic::Sldt,
            Mnemonic::Smsw,
            Mnemonic::Str,
        ],
    ),
    (
        LAYOUT,
        &[
            Mnemonic::Xsave,
            Mnemonic::Xsave64,
            Mnemonic::Xsavec,
            Mnemonic::Xsavec64,
            Mnemonic::Xsaveopt,
            Mnemonic::Xsaveopt64,
            Mnemonic::Xrstor,
            Mnemonic::Xrstor64,
        ],
    ),
    (INT1, &[Mnemonic::Int1]),
    (
        HYPERCALL,
        &[Mnemonic::Vmcall, Mnemonic::Vmmcall, Mnemonic::Vmgexit],
    ),
    (
        WAIT,
        &[
            Mnemonic::Monitor,
            Mnemonic::Mwait,
            Mnemonic::Monitorx,
            Mnemonic::Mwaitx,
            Mnemonic::Umwait,
            Mnemonic::Umonitor,
            Mnemonic::Tpause,
        ],
    ),
];

/// The prefixes at the start of `bytes`, for 64-bit mode: REX before another prefix is ignored.
pub(crate) fn prefixes(bytes: &[u8]) -> &[u8] {
    let is_prefix = |byte: &&u8| {
        matches!(
            byte,
            0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3
        )
    };
    let count = bytes.iter().take_while(is_prefix).count();
    &bytes[..count]
}

/// Features that the richest CPU model declares, and those whose encodings are hints: a CPU without
/// the feature executes them as a NOP or as the older instruction.
fn is_modelled(feature: CpuidFeature) -> bool {
    use CpuidFeature as F;
    let declared = matches!(
        feature,
        F::INTEL8086
            | F::INTEL8086_ONLY
            | F::INTEL186
            | F::INTEL286
            | F::INTEL386
            | F::INTEL486
            | F::X64
            | F::ADX
            | F::AES
            | F::AVX
            | F::AVX2
            | F::BMI1
            | F::BMI2
            | F::CLFLUSHOPT
            | F::CLFSH
            | F::CMOV
            | F::CMPXCHG16B
            | F::CPUID
            | F::CX8
            | F::F16C
            | F::FMA
            | F::FPU
            | F::FPU287
            | F::FPU387
            | F::FSGSBASE
            | F::FXSR
            | F::INVPCID
            | F::LZCNT
            | F::MMX
            | F::MOVBE
            | F::MSR
            | F::MULTIBYTENOP
            | F::PAUSE
            | F::PCLMULQDQ
            | F::POPCNT
            | F::PREFETCHW
            | F::RDPID
            | F::RDPMC
            | F::RDRAND
            | F::RDSEED
            | F::RDTSCP
            | F::SEP
            | F::SHA
            | F::SMAP
            | F::SSE
            | F::SSE2
            | F::SSE3
            | F::SSE4_1
            | F::SSE4_2
            | F::SSSE3
            | F::SYSCALL
            | F::TSC
            | F::XSAVE
    );
    let hint = matches!(
        feature,
        F::CET_IBT
            | F::CET_SS
            | F::CLDEMOTE
            | F::MPX
            | F::PREFETCHITI
            | F::PREFETCHWT1
            | F::WBNOINVD
    );
    declared || hint
}

/// Whether bytes that the decoder refuses are an opmask instruction or an EVEX encoding to a host
/// with AVX-512, which is less strict about unused fields.
pub fn may_be_avx512(bytes: &[u8]) -> bool {
    let (map, opcode) = match bytes[prefixes(bytes).len()..] {
        [0x62, ..] => return true,
        [0xc5, _, opcode, ..] => (1, opcode),
        [0xc4, map, _, opcode, ..] => (map & 31, opcode),
        _ => return false,
    };
    match map {
        1 => matches!(opcode, 0x41..=0x4b | 0x90..=0x93 | 0x98 | 0x99),
        3 => matches!(opcode, 0x30..=0x33),
        _ => false,
    }
}

/// The treatment of every `Code`, indexed by its number.
#[derive(Debug)]
pub struct Rules(Vec<Treatment>);

impl Default for Rules {
    fn default() -> Self {
        Self(Code::values().map(treatment).collect())
    }
}

impl Rules {
    /// The treatment of one form.
    pub fn of(&self, code: Code) -> Treatment {
        self.0[code as usize]
    }
}

fn treatment(code: Code) -> Treatment {
    let mnemonic = code.mnemonic();
    for (reason, mnemonics) in BY_MNEMONIC {
        if mnemonics.contains(&mnemonic) {
            return Treatment::Skip(reason);
        }
    }
    let mask = |kind: &OpCodeOperandKind| {
        use OpCodeOperandKind as K;
        matches!(
            kind,
            K::k_reg | K::kp1_reg | K::k_rm | K::k_vvvv | K::k_or_mem
        )
    };
    let op_code = code.op_code();
    match op_code.encoding() {
        EncodingKind::EVEX | EncodingKind::MVEX => Treatment::Absent(AVX512),
        EncodingKind::VEX if op_code.op_kinds().iter().any(mask) => Treatment::Absent(AVX512),
        _ if code
            .cpuid_features()
            .iter()
            .all(|feature| is_modelled(*feature)) =>
        {
            Treatment::Compare
        }
        _ => Treatment::Absent("no CPU model declares the feature"),
    }
}
