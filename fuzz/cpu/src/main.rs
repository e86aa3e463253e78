//! `fuzz-cpu`: runs the differential and says what differed.

mod options;

use std::io::{self, Write as _};
use std::process::ExitCode;

use iced_x86::Code;
use wardian_fuzz_cpu::block::{BlockDuel, BlockGenerator};
use wardian_fuzz_cpu::campaign::{Summary, run};
use wardian_fuzz_cpu::contest::{Contest, Verdict};
use wardian_fuzz_cpu::generate::{EPOCH, Generator};
use wardian_fuzz_cpu::host::Host;

use options::{Options, USAGE, parse};

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
        Some(index) => one(&options, index),
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

/// Runs one case in this process; true if both sides agree.
fn one(options: &Options, index: u64) -> io::Result<bool> {
    let (plan, engine) = (&options.plan, options.engine);
    let make = move |_: &Host, mode| engine.subject(mode);
    print!("{}", plan.text(index));
    io::stdout().flush()?;
    let verdict = if options.keep == u32::MAX {
        let mut contest = plan.contest(&make)?;
        contest.start_epoch(index)?;
        contest.fight(index)
    } else {
        let generator = BlockGenerator::new(plan.seed, plan.only.as_deref());
        let mut duel = BlockDuel::new(generator, &make)?;
        duel.start_epoch(index)?;
        duel.fight_part(index, options.keep)
    };
    Ok(match verdict {
        Verdict::Skipped => {
            println!("case {index}: the draw gave nothing to run");
            true
        }
        Verdict::Left(reason) => {
            println!("case {index}: differed, but {reason}");
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
        "fuzz-cpu: seed {}, {} cases of {}, {}-bit, engine {}, {} jobs, epochs of {EPOCH}",
        plan.seed,
        plan.cases,
        if plan.blocks {
            "a block"
        } else {
            "one instruction"
        },
        plan.mode.bitness(),
        options.engine.name(),
        plan.jobs
    );
    let engine = options.engine;
    let summary = run(plan, &move |_, mode| engine.subject(mode))?;
    print_examples(options, &summary);
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
        "fuzz-cpu: {} cases ({} with an exception; {} draws skipped, {} left to the vendors), \
         {} forms, seed {}, {} differed",
        summary.cases,
        summary.faulted,
        summary.skipped,
        summary.left,
        summary.by_code.len(),
        plan.seed,
        summary.differed
    );
    Ok(summary.differed == 0)
}

fn print_examples(options: &Options, summary: &Summary) {
    let plan = &options.plan;
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
            "--- {:?}: {count} differed, in {}; {}--engine {} --seed {} --case {} --mode {}{}\n{}",
            name(example.code),
            example.parts.names(),
            if plan.blocks { "--blocks " } else { "" },
            options.engine.name(),
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
