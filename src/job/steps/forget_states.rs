//! Forgetting the last seen states of a pool's modules.

use crate::error::Result;
use crate::job::lease::LeasePlace;
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::report::{Outcome, Trace};
use crate::store::Until;
use crate::store::leases::PATIENCE;

/// Forgets what is known about a pool's modules. The lease's row stays, so that its generation keeps growing.
pub(in crate::job) struct ForgetStates {
    lease: LeasePlace,
}

impl ForgetStates {
    pub(in crate::job) fn new(lease: &LeasePlace) -> Self {
        ForgetStates { lease: lease.clone() }
    }

    fn states(&self) -> Trace {
        Trace {
            store: self.lease.url.clone(),
            kind: "row".to_owned(),
            name: format!("states of {}", self.lease.pool),
        }
    }
}

impl Step for ForgetStates {
    fn id(&self) -> String {
        "forget:states".to_owned()
    }

    fn title(&self) -> String {
        format!("Forget the states of {}", self.lease.pool)
    }

    fn touches(&self) -> Vec<String> {
        vec![self.lease.url.clone()]
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    fn resumes(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (lease, cancel) = (self.lease.clone(), work.job.cancel.clone());
            let looking = work.threads.run(&work.job.cancel, move || {
                lease.leases.has_states(&lease.pool, &Until::cancelled_by(&cancel, PATIENCE))
            });
            let removes: Vec<Trace> = looking.await?.then(|| self.states()).into_iter().collect();
            Ok(Planned { items: Some(removes.len() as u64), removes, ..Planned::default() })
        })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            let Some(held) = work.held.clone() else {
                return Done::of(Outcome::Skipped, Vec::new());
            };
            let forgotten = held
                .with_store(Some(&work.job.cancel), |leases, lease, until| leases.forget_states(lease, until))
                .await;
            match forgotten {
                Ok(forgotten) => {
                    work.removed.extend((forgotten > 0).then(|| self.states()));
                    Done::of(Outcome::Succeeded, Vec::new())
                }
                Err(error) => work.failure(self, error),
            }
        })
    }
}
