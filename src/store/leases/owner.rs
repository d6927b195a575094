//! Which process holds a lease or runs a job, exactly enough to know when it is dead.

use serde::{Deserialize, Serialize};

use crate::platform::{process_space, process_start};

/// One process of one machine. Process numbers are used again, so the time the process started at, the boot and the
/// process number space belong to its identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LeaseOwner {
    /// The machine's name, for people.
    pub machine: String,
    /// The process number.
    pub process_id: u32,
    /// When the process started, in clock ticks since the boot; none where the system does not say.
    pub started: Option<u64>,
    /// The boot and the process number space; none where the system does not say.
    pub space: Option<String>,
}

impl LeaseOwner {
    /// This process.
    pub fn current(machine: &str) -> Self {
        let process_id = std::process::id();
        let space = process_space().ok().map(str::to_owned);
        LeaseOwner { machine: machine.to_owned(), process_id, started: process_start(process_id), space }
    }

    /// Whether the process is known to have ended. False where that cannot be known from here: on another machine,
    /// in another container, after another boot of unknown identity.
    pub fn is_dead(&self) -> bool {
        if self.space.as_deref() != process_space().ok() || self.space.is_none() || self.started.is_none() {
            return false;
        }
        process_start(self.process_id) != self.started
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_an_earlier_one_with_its_number_is_dead() {
        let me = LeaseOwner::current("here");
        assert!(!me.is_dead());
        assert!(LeaseOwner { started: me.started.map(|t| t - 1), ..me.clone() }.is_dead());
        assert!(!LeaseOwner { space: Some("another boot".into()), process_id: 4_000_000, ..me }.is_dead());
    }
}
