//! Whose turn it is: vCPUs that check execute one at a time, in the order in which they asked.

use std::sync::{Condvar, Mutex, MutexGuard};

/// One for all vCPUs of a machine.
#[derive(Default)]
pub(crate) struct Turn {
    numbers: Mutex<Numbers>,
    passed: Condvar,
}

#[derive(Default)]
struct Numbers {
    next: u64,
    now: u64,
}

/// Ends the turn when it is dropped.
pub(crate) struct Taken<'a>(&'a Turn);

impl Turn {
    /// Waits until everybody who asked before has had a turn.
    pub(crate) fn take(&self) -> Taken<'_> {
        let mut numbers = self.lock();
        let mine = numbers.next;
        numbers.next += 1;
        while numbers.now != mine {
            numbers = self.passed.wait(numbers).unwrap_or_else(|e| e.into_inner());
        }
        Taken(self)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> u64 {
        let numbers = self.lock();
        (numbers.next - numbers.now).saturating_sub(1)
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut numbers = self.0.lock();
        numbers.now += 1;
        if numbers.next != numbers.now {
            self.0.passed.notify_all();
        }
    }
}
