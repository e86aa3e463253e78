//! Many cases in forked workers, watched by a parent that outlives their crashes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use iced_x86::Code;

use crate::arena::MakeSubject;
use crate::generate::EPOCH;
use crate::parts::Parts;
use crate::plan::Plan;
use crate::shared::{Example, Shared};

/// How long a worker may stand on one case before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(4);
/// A worker's exit status when the host side or the subject cannot be made.
const SETUP_FAILED: i32 = 71;
const PROGRESS: Duration = Duration::from_secs(5);

/// Totals and examples.
#[derive(Debug, Default)]
pub struct Summary {
    /// Cases run on both sides.
    pub cases: u64,
    /// Those that ended in an exception.
    pub faulted: u64,
    /// Case numbers that drew nothing.
    pub skipped: u64,
    /// Cases that ran and differed in a way that nobody is to blame for.
    pub left: u64,
    /// Cases that differed, worker crashes and hangs included.
    pub differed: u64,
    /// Those that ended in each exception.
    pub by_vector: [u64; 32],
    /// How often each form ran, of those that occurred.
    pub by_code: BTreeMap<u16, u32>,
    /// Differences for each form.
    pub differed_by_code: BTreeMap<u16, u32>,
    /// Examples: form, parts, case number, text.
    pub examples: Vec<Example>,
}

struct Worker {
    job: u64,
    shared: &'static Shared,
    process: Option<libc::pid_t>,
    seen: u64,
    seen_at: Instant,
    crashes: Vec<Example>,
}

/// Runs the plan to its end.
///
/// # Errors
/// When workers cannot be made.
pub fn run(plan: &Plan, make: &MakeSubject) -> io::Result<Summary> {
    let started = Instant::now();
    let mut workers = Vec::new();
    for job in 0..plan.jobs {
        let shared = Shared::map()?;
        let first = job * EPOCH;
        let process = Some(start(plan, make, shared, job, first)?);
        let seen_at = Instant::now();
        workers.push(Worker {
            job,
            shared,
            process,
            seen: first,
            seen_at,
            crashes: Vec::new(),
        });
    }
    let mut next_progress = Instant::now() + PROGRESS;
    while workers.iter().any(|worker| worker.process.is_some()) {
        std::thread::sleep(Duration::from_millis(50));
        let found = workers
            .iter()
            .any(|worker| worker.shared.differed.load(Relaxed) != 0);
        let late = plan.time.is_some_and(|limit| started.elapsed() >= limit);
        let expired = late || plan.stop_at_first && found;
        for worker in &mut workers {
            if expired {
                worker.shared.stop.store(1, Relaxed);
            }
            watch(worker, plan, make)?;
        }
        if Instant::now() >= next_progress {
            progress(&workers, started);
            next_progress = Instant::now() + PROGRESS;
        }
    }
    Ok(summarise(workers))
}

/// Notices the end, the crash and the hang of a worker; goes on after the case that did it.
fn watch(worker: &mut Worker, plan: &Plan, make: &MakeSubject) -> io::Result<()> {
    let Some(process) = worker.process else {
        return Ok(());
    };
    let mut status = 0;
    // SAFETY: waits for a child of this process without blocking.
    let ended = unsafe { libc::waitpid(process, &raw mut status, libc::WNOHANG) };
    let current = worker.shared.current.load(Relaxed);
    if ended == 0 {
        if current != worker.seen {
            (worker.seen, worker.seen_at) = (current, Instant::now());
        } else if worker.seen_at.elapsed() > PATIENCE {
            // SAFETY: the child has not been waited for, so the number is still its own.
            unsafe {
                libc::kill(process, libc::SIGKILL);
                libc::waitpid(process, &raw mut status, 0);
            }
            restart(worker, plan, make, current, "hung")?;
        }
        return Ok(());
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        worker.process = None;
        return Ok(());
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == SETUP_FAILED {
        return Err(io::Error::other("a worker could not be set up"));
    }
    let how = if libc::WIFSIGNALED(status) {
        format!("died of signal {}", libc::WTERMSIG(status))
    } else {
        format!("left with status {}", libc::WEXITSTATUS(status))
    };
    restart(worker, plan, make, current, &how)
}

fn restart(
    worker: &mut Worker,
    plan: &Plan,
    make: &MakeSubject,
    index: u64,
    how: &str,
) -> io::Result<()> {
    const CRASHES_LIMIT: usize = 50;
    match plan.describe(index, make)? {
        Some((code, text)) => {
            worker.shared.differed.fetch_add(1, Relaxed);
            worker.crashes.push(Example {
                code: code as u16,
                parts: Parts::default(),
                index,
                text: format!("{text}  the worker {how}\n"),
            });
        }
        None => {
            worker.shared.left.fetch_add(1, Relaxed);
        }
    }
    worker.process = None;
    if worker.crashes.len() < CRASHES_LIMIT {
        let mut next = index + 1;
        if next % EPOCH == 0 {
            next += (plan.jobs - 1) * EPOCH;
        }
        worker.process = Some(start(plan, make, worker.shared, worker.job, next)?);
        worker.seen_at = Instant::now();
    }
    Ok(())
}

fn start(
    plan: &Plan,
    make: &MakeSubject,
    shared: &'static Shared,
    job: u64,
    first: u64,
) -> io::Result<libc::pid_t> {
    io::stdout().flush()?;
    // SAFETY: this process has one thread, so the child may go on using everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let status = match work(plan, make, shared, job, first) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("worker {job}: {error}");
                    SETUP_FAILED
                }
            };
            // SAFETY: ends the child without running the parent's exit handlers.
            unsafe { libc::_exit(status) }
        }
        process => Ok(process),
    }
}

/// A worker's life: its epochs are those whose number is `job` modulo the number of jobs, so that
/// which cases run does not depend on how many workers there are.
fn work(plan: &Plan, make: &MakeSubject, shared: &Shared, job: u64, first: u64) -> io::Result<()> {
    // SAFETY: asks the kernel to end this child with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let mut contest = plan.contest(make)?;
    let mut index = first;
    debug_assert_eq!(index / EPOCH % plan.jobs, job);
    while index < plan.cases {
        contest.start_epoch(index)?;
        let end = ((index / EPOCH + 1) * EPOCH).min(plan.cases);
        while index < end {
            shared.current.store(index, Relaxed);
            shared.record(index, contest.fight(index));
            index += 1;
        }
        if shared.stop.load(Relaxed) != 0 {
            break;
        }
        index = (index - 1) / EPOCH * EPOCH + plan.jobs * EPOCH;
    }
    Ok(())
}

fn progress(workers: &[Worker], started: Instant) {
    let sum = |field: fn(&Shared) -> &AtomicU64| -> u64 {
        workers
            .iter()
            .map(|worker| field(worker.shared).load(Relaxed))
            .sum()
    };
    let cases = sum(|shared| &shared.cases);
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{seconds:6.0} s  {cases} cases  {:.0} k/s  {} faulted  {} differed",
        cases as f64 / seconds / 1000.0,
        sum(|shared| &shared.faulted),
        sum(|shared| &shared.differed),
    );
}

fn summarise(workers: Vec<Worker>) -> Summary {
    let mut summary = Summary::default();
    for worker in workers {
        let shared = worker.shared;
        summary.cases += shared.cases.load(Relaxed);
        summary.faulted += shared.faulted.load(Relaxed);
        summary.skipped += shared.skipped.load(Relaxed);
        summary.left += shared.left.load(Relaxed);
        summary.differed += shared.differed.load(Relaxed);
        for (sum, count) in summary.by_vector.iter_mut().zip(&shared.by_vector) {
            *sum += count.load(Relaxed);
        }
        for code in Code::values() {
            let count = shared.by_code[code as usize].load(Relaxed);
            if count != 0 {
                *summary.by_code.entry(code as u16).or_default() += count;
            }
            let count = shared.differed_by_code[code as usize].load(Relaxed);
            if count != 0 {
                *summary.differed_by_code.entry(code as u16).or_default() += count;
            }
        }
        summary.examples.extend(worker.crashes);
        summary.examples.extend(shared.examples());
    }
    summary
        .examples
        .sort_by_key(|example| (example.code, example.parts, example.index));
    summary
}
