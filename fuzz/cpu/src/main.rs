//! `fuzz-cpu`: runs the instruction differential and says what differed.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use iced_x86::Code;
use wardian_fuzz_cpu::campaign::{Plan, Summary, run};
use wardian_fuzz_cpu::duel::{Duel, Verdict};
use wardian_fuzz_cpu::generate::{EPOCH, Generator};
use wardian_fuzz_cpu::host::Host;
use wardian_fuzz_cpu::interpreter::Interpreter;
use wardian_fuzz_cpu::state::Mode;
use wardian_fuzz_cpu::subject::Subject;

const USAGE: &str = "usage: fuzz-cpu [--cases N] [--seed S] [--seconds T] [--jobs J]
                [--only PATTERN] [--mode 64|32] [--case N] [--coverage] [--stop-at-first]

Runs single ring-3 instructions on this CPU and in the interpreter and compares everything a program
could observe. Exit status: 0 no difference, 1 differences, 2 wrong usage.

  --cases N       case numbers 0 to N-1 (default 1000000)
  --seed S        equal seeds give equal cases (default 1)
  --seconds T     stop after T seconds
  --jobs J        worker processes (default 1); does not change the cases
  --only PATTERN  only forms whose name contains PATTERN, such as Imul_r64
  --mode 64|32    64-bit or 32-bit compatibility mode (default 64)
  --case N        run case N alone and print it
  --coverage      list the forms that no case reached
  --stop-at-first end with the first difference";

struct Options {
    plan: Plan,
    case: Option<u64>,
    coverage: bool,
}

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--help") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let options = match parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match options.case {
        Some(index) => one(&options.plan, index),
        None => many(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fuzz-cpu: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        plan: Plan {
            cases: 1_000_000,
            seed: 1,
            time: None,
            jobs: 1,
            stop_at_first: false,
            only: None,
            mode: Mode::Long,
        },
        case: None,
        coverage: false,
    };
    let mut arguments = arguments.peekable();
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--coverage" => {
                options.coverage = true;
                continue;
            }
            "--stop-at-first" => {
                options.plan.stop_at_first = true;
                continue;
            }
            _ => {}
        }
        let value = arguments
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let number = || {
            let digits = value.replace('_', "");
            digits
                .parse::<u64>()
                .map_err(|_| format!("{name}: {value:?} is not a number"))
        };
        match name.as_str() {
            "--cases" => options.plan.cases = number()?,
            "--seed" => options.plan.seed = number()?,
            "--seconds" => options.plan.time = Some(Duration::from_secs(number()?)),
            "--jobs" => options.plan.jobs = number()?.clamp(1, 256),
            "--only" => options.plan.only = Some(value.clone()),
            "--case" => options.case = Some(number()?),
            "--mode" => {
                options.plan.mode = match value.as_str() {
                    "64" => Mode::Long,
                    "32" => Mode::Compatibility,
                    _ => return Err(format!("--mode is 64 or 32, not {value:?}")),
                }
            }
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(options)
}

fn make_subject(_: &Host, mode: Mode) -> io::Result<Box<dyn Subject>> {
    Ok(Box::new(Interpreter::new(mode)?))
}

/// Runs one case in this process; true if both sides agree.
fn one(plan: &Plan, index: u64) -> io::Result<bool> {
    let mut generator = Generator::new(plan.seed, plan.mode, plan.only.as_deref());
    generator.start_epoch(index);
    if let Some(generated) = generator.case(index) {
        println!(
            "{}\n{}",
            wardian_fuzz_cpu::report::disassembly(&generated.instruction, &generated.case),
            wardian_fuzz_cpu::report::inputs(&generated.case)
        );
    }
    let mut duel = Duel::new(generator, plan.mode, &make_subject)?;
    duel.start_epoch(index)?;
    Ok(match duel.fight(index) {
        Verdict::Skipped => {
            println!("case {index}: the draw gave nothing to run");
            true
        }
        Verdict::Agreed { vector, .. } => {
            println!("case {index}: agreed, exception {vector:?}");
            true
        }
        Verdict::Differed { parts, text, .. } => {
            println!("case {index}: differed in {}\n{text}", parts.names());
            false
        }
    })
}

fn many(options: &Options) -> io::Result<bool> {
    let plan = &options.plan;
    println!(
        "fuzz-cpu: seed {}, {} cases, {}-bit, {} jobs, epochs of {EPOCH}",
        plan.seed,
        plan.cases,
        plan.mode.bitness(),
        plan.jobs
    );
    let summary = run(plan, &make_subject)?;
    print_examples(plan, &summary);
    if options.coverage {
        let generator = Generator::new(plan.seed, plan.mode, plan.only.as_deref());
        for form in generator.forms() {
            if !summary.by_code.contains_key(&(form.code as u16)) {
                println!("never: {:?}", form.code);
            }
        }
    }
    let vectors = summary
        .by_vector
        .iter()
        .enumerate()
        .filter(|(_, count)| **count != 0);
    let vectors: Vec<String> = vectors
        .map(|(vector, count)| format!("{vector}: {count}"))
        .collect();
    println!("exceptions by vector: {}", vectors.join(", "));
    println!(
        "fuzz-cpu: {} cases ({} with an exception, {} draws skipped), {} forms, seed {}, {} differed",
        summary.cases,
        summary.faulted,
        summary.skipped,
        summary.by_code.len(),
        plan.seed,
        summary.differed
    );
    Ok(summary.differed == 0)
}

fn print_examples(plan: &Plan, summary: &Summary) {
    let name = |number: u16| {
        Code::values()
            .nth(usize::from(number))
            .unwrap_or(Code::INVALID)
    };
    let mut previous = None;
    for example in &summary.examples {
        if previous == Some((example.code, example.parts)) {
            continue;
        }
        previous = Some((example.code, example.parts));
        let count = summary
            .differed_by_code
            .get(&example.code)
            .copied()
            .unwrap_or(0);
        println!(
            "--- {:?}: {count} differed, in {}; --seed {} --case {} --mode {}{}\n{}",
            name(example.code),
            example.parts.names(),
            plan.seed,
            example.index,
            plan.mode.bitness(),
            plan.only
                .as_ref()
                .map(|only| format!(" --only {only}"))
                .unwrap_or_default(),
            example.text
        );
    }
}
