//! The smallest part of a block that still fails.

use std::io::{self, Write as _};

/// Drops one after another of `count` instructions while `fails` says that what is left, as bits,
/// still fails.
pub(super) fn minimise(count: usize, fails: &mut dyn FnMut(u32) -> bool) -> u32 {
    let mut keep = every(count);
    loop {
        let before = keep;
        for number in 0..count {
            let fewer = keep & !(1 << number);
            if fewer != keep && fewer != 0 && fails(fewer) {
                keep = fewer;
            }
        }
        if keep == before {
            return keep;
        }
    }
}

/// All of `count` instructions, as bits.
pub(super) fn every(count: usize) -> u32 {
    (1 << count) - 1
}

/// Runs `attempt` in a child process and reports whether that ended it before its time or hung it.
pub(super) fn kills(attempt: &mut dyn FnMut()) -> bool {
    const SECONDS: u32 = 4;
    let _ = io::stdout().flush();
    // SAFETY: this process has one thread, so the child may go on using everything; it ends without
    // running the parent's exit handlers, by the alarm if nothing else ends it.
    unsafe {
        match libc::fork() {
            -1 => false,
            0 => {
                libc::alarm(SECONDS);
                attempt();
                libc::_exit(0)
            }
            child => {
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0);
                !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::minimise;

    #[test]
    fn keeps_only_what_fails_together() {
        let culprits = 0b0010_0100;
        let keep = minimise(8, &mut |keep| keep & culprits == culprits);
        assert_eq!(keep, culprits);
    }

    #[test]
    fn keeps_one_instruction_at_least() {
        assert_eq!(minimise(5, &mut |_| true).count_ones(), 1);
    }
}
