//! A bounded slice of the differential for every run of the tests: the same cases each time, single
//! instructions in both modes and blocks. `make fuzz-cpu` and `make fuzz-blocks` go further.

use std::io;

use wardian_fuzz_cpu::arena::MakeSubject;
use wardian_fuzz_cpu::campaign::run;
use wardian_fuzz_cpu::host::Host;
use wardian_fuzz_cpu::interpreter::{Interpreter, Translator};
use wardian_fuzz_cpu::plan::Plan;
use wardian_fuzz_cpu::state::Mode;
use wardian_fuzz_cpu::subject::Subject;

const CASES: u64 = 250_000;
const TRANSLATED: u64 = 100_000;
const SEED: u64 = 20;

fn interpreter(_: &Host, mode: Mode) -> io::Result<Box<dyn Subject>> {
    Ok(Box::new(Interpreter::new(mode)?))
}

fn translator(_: &Host, mode: Mode) -> io::Result<Box<dyn Subject>> {
    Ok(Box::new(Translator::new(mode, false)?))
}

fn sole_translator(_: &Host, mode: Mode) -> io::Result<Box<dyn Subject>> {
    Ok(Box::new(Translator::new(mode, true)?))
}

/// The differences of the slice.
fn slice(name: &str, cases: u64, mode: Mode, blocks: bool, make: &MakeSubject) -> u64 {
    let plan = Plan {
        cases,
        seed: SEED,
        time: None,
        jobs: 1,
        stop_at_first: false,
        only: None,
        mode,
        blocks,
    };
    let summary = run(&plan, make).expect("workers start");
    for example in &summary.examples {
        println!(
            "case {} of {name}: {}\n{}",
            example.index,
            example.parts.names(),
            example.text
        );
    }
    assert!(
        summary.cases > cases * 9 / 10,
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
    let (long, compatibility) = (Mode::Long, Mode::Compatibility);
    let differed = slice("64-bit code", CASES, long, false, &interpreter)
        + slice("32-bit code", CASES, compatibility, false, &interpreter)
        + slice("blocks", TRANSLATED, long, true, &interpreter)
        + slice("translated blocks", TRANSLATED, long, true, &translator)
        + slice(
            "blocks of a sole vCPU",
            TRANSLATED,
            long,
            true,
            &sole_translator,
        );
    assert_eq!(differed, 0, "an engine differs from this CPU");
}
