//! The harness against itself: the host agrees with the host, and no planted change goes unseen.

use std::io;

use wardian_fuzz_cpu::campaign::{Summary, run};
use wardian_fuzz_cpu::host::Host;
use wardian_fuzz_cpu::mirror::{Mirror, Perturbation};
use wardian_fuzz_cpu::plan::Plan;
use wardian_fuzz_cpu::state::{End, Mode};
use wardian_fuzz_cpu::subject::Subject;

const CASES: u64 = 40_000;

/// One change for each part of the state, each only where a comparison could overlook it.
const PLANTED: &[(&str, Perturbation)] = &[
    (
        "the top bit of R15 after register-only forms",
        |case, outcome, _| {
            if case.mode == Mode::Long && case.bytes.len() == 3 {
                outcome.state.registers.gpr[15] ^= 1 << 63;
            }
        },
    ),
    ("ESI, bit 0", |_, outcome, _| {
        outcome.state.registers.gpr[6] ^= 1
    }),
    ("CF after everything", |_, outcome, _| {
        outcome.state.registers.rflags ^= 1
    }),
    ("DF after everything", |_, outcome, _| {
        outcome.state.registers.rflags ^= 1 << 10
    }),
    ("RIP one too far", |_, outcome, _| {
        outcome.state.registers.rip += 1
    }),
    ("the FS selector", |_, outcome, _| {
        outcome.state.registers.selectors[4] ^= 8
    }),
    ("the GS base", |_, outcome, _| {
        outcome.state.registers.gs_base ^= 1 << 12
    }),
    ("a rounding bit of MXCSR", |_, outcome, _| {
        outcome.state.xsave.0[25] ^= 0x20
    }),
    ("the x87 tag of ST7", |_, outcome, _| {
        outcome.state.xsave.0[4] ^= 0x80
    }),
    ("the last byte of ST0", |_, outcome, _| {
        outcome.state.xsave.0[32 + 9] ^= 0x80
    }),
    ("the last bit of YMM15", |_, outcome, _| {
        outcome.state.xsave.0[831] ^= 0x80
    }),
    ("the first bit of XMM0", |_, outcome, _| {
        outcome.state.xsave.0[160] ^= 1
    }),
    ("the last writable byte", |_, _, data| data[0x1fff] ^= 1),
    ("the last read-only byte", |_, _, data| data[0x2fff] ^= 1),
    (
        "the write bit of page fault error codes",
        |_, outcome, _| {
            if let End::Exception {
                vector: 14, error, ..
            } = &mut outcome.end
            {
                *error ^= 2;
            }
        },
    ),
    ("CR2", |_, outcome, _| {
        if let End::Exception {
            vector: 14,
            address,
            ..
        } = &mut outcome.end
        {
            *address ^= 1;
        }
    }),
    ("#SS in place of #GP", |_, outcome, _| {
        if let End::Exception {
            vector: vector @ 13,
            ..
        } = &mut outcome.end
        {
            *vector = 12;
        }
    }),
];

fn fight(kind: Kind, perturbation: Perturbation, cases: u64) -> Summary {
    let plan = Plan {
        cases,
        seed: 7,
        time: None,
        jobs: 1,
        stop_at_first: false,
        only: None,
        mode: kind.mode,
        blocks: kind.blocks,
    };
    let make = move |host: &Host, _| -> io::Result<Box<dyn Subject>> {
        Ok(Box::new(Mirror::perturbed(host, perturbation)))
    };
    run(&plan, &make).expect("workers start")
}

#[derive(Clone, Copy, Debug)]
struct Kind {
    mode: Mode,
    blocks: bool,
}

const KINDS: [Kind; 3] = [
    Kind {
        mode: Mode::Long,
        blocks: false,
    },
    Kind {
        mode: Mode::Compatibility,
        blocks: false,
    },
    Kind {
        mode: Mode::Long,
        blocks: true,
    },
];

fn main() {
    for kind in KINDS {
        let summary = fight(kind, |_, _, _| {}, CASES);
        for example in &summary.examples {
            println!(
                "case {}: {}\n{}",
                example.index,
                example.parts.names(),
                example.text
            );
        }
        assert_eq!(
            summary.differed, 0,
            "the host disagrees with itself in {kind:?}"
        );
        assert!(
            summary.cases > CASES * 9 / 10,
            "only {} cases ran",
            summary.cases
        );
        assert!(
            summary.faulted > CASES / 20,
            "only {} cases faulted",
            summary.faulted
        );
        println!("{kind:?}: {} cases agree", summary.cases);
        for (name, perturbation) in PLANTED {
            if kind.mode == Mode::Compatibility && name.contains("R15") {
                continue;
            }
            let summary = fight(kind, *perturbation, 3_000);
            assert!(summary.differed > 0, "not noticed in {kind:?}: {name}");
        }
        println!("{kind:?}: {} planted changes noticed", PLANTED.len());
    }
}
