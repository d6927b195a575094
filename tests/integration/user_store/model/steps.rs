//! What can happen to a pair of user stores, and what a server's database then holds.

use proptest::prelude::*;
use proptest_state_machine::ReferenceStateMachine;

use super::server::{Contents, Write, write};

/// How a run ends before its end.
#[derive(Clone, Copy, Debug)]
pub enum Death {
    /// It is cancelled.
    Cancelled,
    /// Its thread dies where it stands.
    Panicked,
}

/// What is lost of what lies beside a standby.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All that is remembered of it.
    State,
    /// The end of that.
    HalfOfState,
    /// Its earlier states.
    History,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// The server writes; without `commits` it changes its mind.
    Transaction {
        writes: Vec<Write>,
        commits: bool,
    },
    /// A run to its end, while the server goes on writing.
    Cycle {
        during: Vec<Write>,
        verify: bool,
    },
    /// Runs while the server is quiet, until there is nothing left to do.
    Quiet,
    /// A run that dies when it says how far it has come.
    Broken {
        death: Death,
        during: Vec<Write>,
    },
    /// Another process takes the lease over.
    TakeOver,
    /// The process that had the lease before runs once more.
    Stale,
    /// An upgrade of the server adds a column.
    AddColumn,
    /// One makes a table, or drops it.
    Extra {
        number: u8,
    },
    /// One rebuilds a table as SQLite's documentation says; triggers on it are gone.
    Rebuild,
    /// The server's journal becomes another one.
    Journal {
        mode: &'static str,
    },
    Vacuum,
    /// The administrator keeps a copy of the server's database.
    Keep,
    /// The administrator puts the kept copy in its place.
    GoBack,
    /// The server's database is away for one run.
    Hide,
    /// The administrator puts a file of the standby in its place that was kept then.
    PutBack,
    /// Something that lies beside the standby is lost.
    Lose {
        loss: Loss,
    },
    /// Somebody who heeds no fence changes the standby.
    Tamper {
        write: Write,
    },
}

/// The server's database in memory, and the copy of it that was kept.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub now: Contents,
    pub kept: Option<Box<Contents>>,
}

/// The steps and what they do to the server's database; to the standby none of them may do anything that is not there.
pub struct Steps;

impl ReferenceStateMachine for Steps {
    type State = Expected;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Expected> {
        Just(Expected::default()).boxed()
    }

    fn transitions(_: &Expected) -> BoxedStrategy<Step> {
        let writes = |most| prop::collection::vec(write(), 0..most);
        let death = prop_oneof![Just(Death::Cancelled), Just(Death::Panicked)];
        let mode = prop_oneof![Just("WAL"), Just("DELETE"), Just("TRUNCATE"), Just("PERSIST")];
        let loss = prop_oneof![Just(Loss::State), Just(Loss::HalfOfState), Just(Loss::History)];
        prop_oneof![
            40 => (writes(6), prop::bool::weighted(0.85)).prop_map(|(writes, commits)| Step::Transaction { writes, commits }),
            12 => (writes(4), prop::bool::weighted(0.1)).prop_map(|(during, verify)| Step::Cycle { during, verify }),
            4 => Just(Step::Quiet),
            8 => (death, writes(3)).prop_map(|(death, during)| Step::Broken { death, during }),
            2 => Just(Step::TakeOver),
            2 => Just(Step::Stale),
            1 => Just(Step::AddColumn),
            2 => (0_u8..3).prop_map(|number| Step::Extra { number }),
            1 => Just(Step::Rebuild),
            1 => mode.prop_map(|mode| Step::Journal { mode }),
            1 => Just(Step::Vacuum),
            1 => Just(Step::Keep),
            1 => Just(Step::GoBack),
            1 => Just(Step::Hide),
            1 => Just(Step::PutBack),
            1 => loss.prop_map(|loss| Step::Lose { loss }),
            1 => write().prop_map(|write| Step::Tamper { write }),
        ]
        .boxed()
    }

    fn preconditions(state: &Expected, step: &Step) -> bool {
        match step {
            Step::GoBack | Step::PutBack => state.kept.is_some(),
            Step::AddColumn => state.now.columns < 3,
            _ => true,
        }
    }

    fn apply(mut state: Expected, step: &Step) -> Expected {
        match step {
            Step::Transaction { writes, commits: true }
            | Step::Cycle { during: writes, .. }
            | Step::Broken { during: writes, .. } => writes.iter().for_each(|write| state.now.apply(write)),
            Step::AddColumn => state.now.columns += 1,
            Step::Extra { number } => {
                if !state.now.extra.remove(number) {
                    state.now.extra.insert(*number);
                }
            }
            Step::Keep => state.kept = Some(Box::new(state.now.clone())),
            Step::GoBack => {
                if let Some(kept) = &state.kept {
                    state.now = kept.as_ref().clone();
                }
            }
            Step::Transaction { commits: false, .. }
            | Step::Quiet
            | Step::TakeOver
            | Step::Stale
            | Step::Rebuild
            | Step::Journal { .. }
            | Step::Vacuum
            | Step::Hide
            | Step::PutBack
            | Step::Lose { .. }
            | Step::Tamper { .. } => {}
        }
        state
    }
}
