//! A bounded slice of the differential for every run of the tests: the same cases each time, single
//! instructions in both modes and blocks. `make fuzz-cpu` and `make fuzz-blocks` go further.

use std::io;

use wardian_fuzz_cpu::campaign::{Plan, run};
use wardian_fuzz_cpu::host::Host;
use wardian_fuzz_cpu::interpreter::Interpreter;
use wardian_fuzz_cpu::state::Mode;
use wardian_fuzz_cpu::subject::Subject;

const CASES: u64 = 250_000;
const SEED: u64 = 20;

fn make(_: &Host, mode: Mode) -> io::Result<Box<dyn Subject>> {
    Ok(Box::new(Interpreter::new(mode)?))
}

/// The differences of the slice.
fn slice(name: &str, mode: Mode, blocks: bool) -> u64 {
    let plan = Plan {
        cases: CASES,
        seed: SEED,
        time: None,
        jobs: 1,
        stop_at_first: false,
        only: None,
        mode,
        blocks,
    };
    let summary = run(&plan, &make).expect("workers start");
    for example in &summary.examples {
        println!(
            "case {} of {name}: {}\n{}",
            example.index,
            example.parts.names(),
            example.text
        );
    }
    assert!(
        summary.cases > CASES * 9 / 10,
        "only {} cases ran",
        summary.cases
    );
    println!(
        "{name}: {} cases of {} forms, {} differed",
        summary.cases,
        summary.by_code.len(),
        summary.differed
    );
    summary.differed
}

fn main() {
    let differed = slice("64-bit code", Mode::Long, false)
        + slice("32-bit code", Mode::Compatibility, false)
        + slice("blocks", Mode::Long, true);
    assert_eq!(differed, 0, "the interpreter differs from this CPU");
}
