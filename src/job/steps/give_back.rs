//! Giving a pool back what it has lost and its backup pool still holds, for one module.

use std::sync::Arc;

use crate::error::Result;
use crate::job::lease::LeasePlace;
use crate::job::step::{Done, Pending, Planned, Step, Work};
use crate::module::{BackupModule, ModuleId};
use crate::topology::PoolFqdn;

/// Gives one module's data back.
pub(in crate::job) struct GiveBackModule {
    row: usize,
    module: Arc<dyn BackupModule>,
    to: PoolFqdn,
    lease: LeasePlace,
}

impl GiveBackModule {
    /// What the report's rows of such steps say.
    pub(in crate::job) const PURPOSE: &'static str = "carryBack";

    /// Of the module of the pool that gets its data back, under the lease of that pool's own direction.
    pub(in crate::job) fn new(
        row: usize,
        module: &Arc<dyn BackupModule>,
        to: &PoolFqdn,
        lease: &LeasePlace,
    ) -> Self {
        GiveBackModule { row, module: Arc::clone(module), to: to.clone(), lease: lease.clone() }
    }
}

impl Step for GiveBackModule {
    fn id(&self) -> String {
        format!("{}:{}", Self::PURPOSE, self.module.id().name())
    }

    fn title(&self) -> String {
        format!("Give {} back what its {} lost", self.to, self.module.id().store_name())
    }

    fn module(&self) -> Option<ModuleId> {
        Some(self.module.id())
    }

    fn row(&self) -> Option<usize> {
        Some(self.row)
    }

    fn touches(&self) -> Vec<String> {
        self.module.touches_back()
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    /// What is given back is the pool's own data: where its own job is running, that one has precedence.
    fn gives_way(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut Work) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (module, look) = (Arc::clone(&self.module), work.look());
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
                work.saw(self.row, seen);
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
            let before = work.state_of(self.row);
            let mut details =
                work.cycle(self.row, &self.id(), false, |m, context| m.carry_back(context)).await;
            if let Some(row) = work.rows.get_mut(self.row) {
                row.done = true;
                details.extend(row.not_applicable.clone());
            }
            work.look_again(self.row, before, false).await;
            let outcome = work.outcome_of_row(self.row);
            Done::of(outcome, details)
        })
    }
}
