//! Host and subject with equal data windows, before and between cases.

use std::io;

use crate::host::Host;
use crate::layout::DATA_WRITABLE;
use crate::state::{Case, Mode, Outcome, Poke};
use crate::subject::Subject;

/// Makes the subject that fights the given host.
pub type MakeSubject = dyn Fn(&Host, Mode) -> io::Result<Box<dyn Subject>>;

/// The two sides of one process, which has one thread and no other arena.
pub(crate) struct Arena {
    pub(crate) host: Host,
    pub(crate) subject: Box<dyn Subject>,
    /// The data window as the current epoch started it.
    background: Vec<u8>,
    /// The data window as the current case starts it.
    before: Vec<u8>,
}

impl Arena {
    /// Sets both sides up.
    pub(crate) fn new(mode: Mode, make: &MakeSubject) -> io::Result<Self> {
        let host = Host::new(mode)?;
        let subject = make(&host, mode)?;
        Ok(Self {
            host,
            subject,
            background: Vec::new(),
            before: Vec::new(),
        })
    }

    /// Makes `background` what both data windows hold.
    pub(crate) fn start_epoch(&mut self, background: Vec<u8>) -> io::Result<()> {
        self.before.clone_from(&background);
        self.host.fill_data(&background)?;
        self.subject.fill_data(&background);
        self.background = background;
        Ok(())
    }

    /// Prepares both data windows for a case.
    pub(crate) fn place(&mut self, pokes: &[Poke]) {
        for poke in pokes {
            let bytes = &poke.bytes[..poke.length];
            let range = poke.offset..poke.offset + poke.length;
            put(&mut self.before, range.clone(), bytes);
            put(self.host.data(), range.clone(), bytes);
            put(self.subject.data(), range, bytes);
        }
    }

    /// Runs the case on both sides.
    pub(crate) fn run(&mut self, case: &Case) -> (Outcome, Outcome) {
        let subject = self.subject.run_one(case);
        (self.host.run(case), subject)
    }

    /// Whether the data windows hold the same.
    pub(crate) fn same_memory(&mut self) -> bool {
        self.host.data() == self.subject.data()
    }

    /// The data window as the current case started it.
    pub(crate) fn before(&self) -> &[u8] {
        &self.before
    }

    /// The data windows that differ, as text.
    pub(crate) fn memory_report(&mut self) -> String {
        crate::report::memory(&self.before, self.host.data(), self.subject.data())
    }

    /// Puts the epoch's background back wherever the case or its preparation changed it.
    pub(crate) fn restore(&mut self, pokes: &[Poke], stores: bool, same_memory: bool) {
        let writable = DATA_WRITABLE as usize;
        let stored = stores && self.host.data()[..writable] != self.before[..writable];
        if !same_memory {
            self.subject.fill_data(&self.background);
        }
        if !same_memory || stored {
            let background = &self.background[..writable];
            self.host.data()[..writable].copy_from_slice(background);
            self.subject.data()[..writable].copy_from_slice(background);
            self.before[..writable].copy_from_slice(background);
            return;
        }
        for poke in pokes {
            let range = poke.offset..poke.offset + poke.length;
            let bytes = &self.background[range.clone()];
            put(&mut self.before, range.clone(), bytes);
            put(self.host.data(), range.clone(), bytes);
            put(self.subject.data(), range, bytes);
        }
    }
}

fn put(window: &mut [u8], range: core::ops::Range<usize>, bytes: &[u8]) {
    window[range].copy_from_slice(bytes);
}
