//! `fuzz-cpu`: runs the differential and says what differed.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use iced_x86::Code;
use wardian_fuzz_cpu::block::{BlockDuel, BlockGenerator};
use wardian_fuzz_cpu::campaign::{Summary, run};
use wardian_fuzz_cpu::contest::{Contest, Verdict};
use wardian_fuzz_cpu::generate::{EPOCH, Generator};
use wardian_fuzz_cpu::host::Host;
use wardian_fuzz_cpu::interpreter::{Interpreter, Translator};
use wardian_fuzz_cpu::plan::Plan;
use wardian_fuzz_cpu::state::Mode;
use wardian_fuzz_cpu::subject::Subject;

const USAGE: &str = "usage: fuzz-cpu [--cases N] [--seed S] [--seconds T] [--jobs J]
                [--blocks] [--engine E] [--only PATTERN] [--mode 64|32]
                [--case N [--keep LIST]] [--coverage] [--stop-at-first]

Runs ring-3 instructions on this CPU and in an engine and compares everything a program could
observe. Exit status: 0 no difference, 1 differences, 2 wrong usage.

  --cases N       case numbers 0 to N-1 (default 1000000)
  --seed S        equal seeds give equal cases (default 1)
  --seconds T     stop after T seconds
  --jobs J        worker processes (default 1); does not change the cases
  --blocks        blocks of 1 to 8 instructions in place of single ones (64-bit mode only)
  --engine E      interpret (the default), translate, or translate-sole: as for a machine's only vCPU
  --only PATTERN  only forms whose name contains PATTERN, such as Imul_r64; of a block, about half
  --mode 64|32    64-bit or 32-bit compatibility mode (default 64)
  --case N        run case N alone and print it
  --keep LIST     of its block only the instructions with these numbers, such as 0,3
  --coverage      list the forms that no case reached
  --stop-at-first end with the first difference";

struct Options {
    plan: Plan,
    engine: Engine,
    case: Option<u64>,
    keep: u32,
    coverage: bool,
}

/// What runs the cases beside the host CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Interpret,
    Translate,
    TranslateSole,
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
            blocks: false,
        },
        engine: Engine::Interpret,
        case: None,
        keep: u32::MAX,
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
            "--blocks" => {
                options.plan.blocks = true;
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
            "--keep" => options.keep = instructions(&value)?,
            "--engine" => {
                options.engine = match value.as_str() {
                    "interpret" => Engine::Interpret,
                    "translate" => Engine::Translate,
                    "translate-sole" => Engine::TranslateSole,
                    _ => return Err(format!("--engine: {value:?} is none of the engines")),
                }
            }
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
    if options.plan.blocks && options.plan.mode == Mode::Compatibility {
        return Err("--blocks are 64-bit only: 32-bit code is always interpreted".into());
    }
    Ok(options)
}

/// The bits of a list of instruction numbers.
fn instructions(list: &str) -> Result<u32, String> {
    list.split(',')
        .try_fold(0, |bits, number| match number.parse::<u32>() {
            Ok(number) if number < u32::BITS => Ok(bits | 1 << number),
            _ => Err(format!("--keep: {number:?} is not an instruction's number")),
        })
}

impl Engine {
    fn name(self) -> &'static str {
        match self {
            Self::Interpret => "interpret",
            Self::Translate => "translate",
            Self::TranslateSole => "translate-sole",
        }
    }

    fn subject(self, mode: Mode) -> io::Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Interpret => Box::new(Interpreter::new(mode)?),
            Self::Translate => Box::new(Translator::new(mode, false)?),
            Self::TranslateSole => Box::new(Translator::new(mode, true)?),
        })
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
