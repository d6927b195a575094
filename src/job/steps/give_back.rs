//! Giving a pool back what it has lost and its backup pool still holds, for one module.

use std::sync::Arc;

use crate::error::Result;
use crate::job::step::{Done, Pending, Planned, RowSubject, Step, Work};

/// Gives one module's data back: the module is of the pool that gets it, and the lease that of that pool's own direction.
pub(in crate::job) struct GiveBackModule(pub(in crate::job) RowSubject);

impl GiveBackModule {
    /// What the report's rows of such steps say.
    pub(in crate::job) const PURPOSE: &'static str = "carryBack";
}

impl Step for GiveBackModule {
    fn subject(&self) -> Option<&RowSubject> {
        Some(&self.0)
    }

    fn id(&self) -> String {
        format!("{}:{}", Self::PURPOSE, self.0.module.id().name())
    }

    fn title(&self) -> String {
        format!("Give {} back what its {} lost", self.0.to, self.0.module.id().store_name())
    }

    fn touches(&self) -> Vec<String> {
        self.0.module.touches_back()
    }

    /// What is given back is the pool's own data: where its own job is running, that one has precedence.
    fn gives_way(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut Work) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (module, look) = (Arc::clone(&self.0.module), work.look());
            let looking = work.threads.run(&work.job.cancel, move || {
                crate::failpoint::fail_point!("job.look");
                // A store that is lost cannot be observed, but what would be given back can be counted.
                let seen = module.observe(&look);
                module
                    .observe_carry_back(&look)
                    .map(|lost| (lost, seen.ok().filter(|seen| seen.refused.is_none())))
            });
            let (lost, seen) = looking.await?;
            if let Some(seen) = &seen {
                work.saw(self.0.row, seen);
            }
            let nothing_lost = lost.items == 0 && lost.refused.is_none() && seen.is_some();
            Ok(Planned {
                items: Some(lost.items),
                bytes: (lost.bytes > 0).then_some(lost.bytes),
                refused: lost.refused,
                nothing_to_do: nothing_lost.then_some("Nothing was lost."),
                ..Planned::default()
            })
        })
    }

    fn run<'a>(&'a self, work: &'a mut Work) -> Pending<'a, Done> {
        Box::pin(async move {
            let details =
                work.run_row(self.0.row, &self.id(), false, |m, context| m.carry_back(context)).await;
            let outcome = work.outcome_of_row(self.0.row);
            Done::of(outcome, details)
        })
    }
}
