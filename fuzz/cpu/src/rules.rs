//! Which forms are compared and which are not, each with the reason.

use iced_x86::{Code, EncodingKind, Mnemonic};

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
const HYPERCALL: &str = "reaches the host's hypervisor";
const WAIT: &str = "waits, or the host's kernel decides whether it may";

/// The forms that are not simply compared, by mnemonic.
const BY_MNEMONIC: &[(&str, &[Mnemonic])] = &[
    (KERNEL, &[Mnemonic::Syscall, Mnemonic::Sysenter, Mnemonic::Int]),
    (MODEL, &[Mnemonic::Cpuid, Mnemonic::Xgetbv, Mnemonic::Rdpid, Mnemonic::Lsl]),
    (RANDOM, &[Mnemonic::Rdtsc, Mnemonic::Rdtscp, Mnemonic::Rdrand, Mnemonic::Rdseed]),
    (RANDOM, &[Mnemonic::Rdpmc, Mnemonic::Rdpru]),
    (
        UMIP,
        &[Mnemonic::Sgdt, Mnemonic::Sidt, Mnemonic::Sldt, Mnemonic::Smsw, Mnemonic::Str],
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
    match code.op_code().encoding() {
        EncodingKind::EVEX | EncodingKind::MVEX => {
            Treatment::Absent("AVX-512 is outside every CPU model of stage 0")
        }
        _ => Treatment::Compare,
    }
}
