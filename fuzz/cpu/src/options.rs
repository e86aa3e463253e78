//! The command line.

use std::io;
use std::time::Duration;

use wardian_fuzz_cpu::interpreter::{Interpreter, Translator};
use wardian_fuzz_cpu::plan::Plan;
use wardian_fuzz_cpu::state::Mode;
use wardian_fuzz_cpu::subject::Subject;

pub(crate) const USAGE: &str = "usage: fuzz-cpu [--cases N] [--seed S] [--seconds T] [--jobs J]
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

/// What the command line asks for.
pub(crate) struct Options {
    pub(crate) plan: Plan,
    pub(crate) engine: Engine,
    pub(crate) case: Option<u64>,
    pub(crate) keep: u32,
    pub(crate) coverage: bool,
}

/// What runs the cases beside the host CPU.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    Interpret,
    Translate,
    /// As for a machine's only vCPU.
    TranslateSole,
}

/// Reads the command line, whose first word is an option.
pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
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
    /// As the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Interpret => "interpret",
            Self::Translate => "translate",
            Self::TranslateSole => "translate-sole",
        }
    }

    /// One of it.
    pub(crate) fn subject(self, mode: Mode) -> io::Result<Box<dyn Subject>> {
        Ok(match self {
            Self::Interpret => Box::new(Interpreter::new(mode)?),
            Self::Translate => Box::new(Translator::new(mode, false)?),
            Self::TranslateSole => Box::new(Translator::new(mode, true)?),
        })
    }
}
