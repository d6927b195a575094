//! Refusing a pool that is not in the state that was asked for.

use crate::error::{Error, ErrorKind, Result};
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::pool::PoolState;
use crate::report::Outcome;
use crate::topology::PoolFqdn;

/// Lets only a pool pass that is failed over.
pub(in crate::job) struct RequireFailedOver {
    pool: PoolFqdn,
    state: PoolState,
}

impl RequireFailedOver {
    pub(in crate::job) fn new(pool: &PoolFqdn, state: PoolState) -> Self {
        RequireFailedOver { pool: pool.clone(), state }
    }

    fn check(&self) -> Result<()> {
        if self.state == PoolState::FailedOver {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::PoolStateMismatch,
            format!("{} is {}, not FailedOver.", self.pool, self.state.name()),
            "Leave FailedOverPoolOnly out to back up a pool that is not failed over.",
        )
        .at("pool", &self.pool))
    }
}

impl Step for RequireFailedOver {
    fn id(&self) -> String {
        "require:FailedOver".to_owned()
    }

    fn title(&self) -> String {
        format!("See whether {} is failed over", self.pool)
    }

    fn is_gate(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, _work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move { self.check().map(|()| Planned::default()) })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            match self.check() {
                Ok(()) => Done::of(Outcome::Succeeded, Vec::new()),
                Err(error) => work.failure(self, error),
            }
        })
    }
}
