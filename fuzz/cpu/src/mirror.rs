//! The host CPU as its own subject: the harness checked against itself. Zero differences show that
//! state goes in and comes out whole; a difference planted in the mirror must be found.

use crate::host::Host;
use crate::layout::{DATA_LEN, DATA_WRITABLE};
use crate::state::{Case, Outcome};
use crate::subject::Subject;

/// A change to what the host did and to its data window.
pub type Perturbation = fn(&Case, &mut Outcome, &mut [u8]);

/// A subject that is the host CPU, with a change planted if asked for.
#[derive(Debug)]
pub struct Mirror {
    host: Host,
    data: Vec<u8>,
    perturb: Perturbation,
}

impl Mirror {
    /// The host, unchanged.
    pub fn new(host: &Host) -> Self {
        Self::perturbed(host, |_, _, _| {})
    }

    /// The host, with `perturb` applied to what it did.
    pub fn perturbed(host: &Host, perturb: Perturbation) -> Self {
        Self {
            host: host.clone(),
            data: vec![0; DATA_LEN as usize],
            perturb,
        }
    }
}

impl Subject for Mirror {
    fn run_one(&mut self, case: &Case) -> Outcome {
        let theirs = self.host.data().to_vec();
        let writable = DATA_WRITABLE as usize;
        self.host.data()[..writable].copy_from_slice(&self.data[..writable]);
        let mut outcome = self.host.run(case);
        self.data[..writable].copy_from_slice(&self.host.data()[..writable]);
        self.host.data()[..writable].copy_from_slice(&theirs[..writable]);
        (self.perturb)(case, &mut outcome, &mut self.data);
        outcome
    }

    fn has_model(&self) -> bool {
        false
    }

    fn data(&mut self) -> &mut [u8] {
        &mut self.data
    }
}
