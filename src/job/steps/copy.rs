//! Bringing a pool's copy at its backup pool up to date, for one module.

use crate::error::Result;
use crate::job::lease::LeasePlace;
use crate::job::row::Row;
use crate::job::step::{Done, Pending, Planned, Step, Work};
use crate::module::{BackupModule, ModuleId};
use crate::topology::PoolFqdn;

use std::sync::Arc;

/// Copies one module.
pub(in crate::job) struct CopyModule {
    row: usize,
    module: Arc<dyn BackupModule>,
    to: PoolFqdn,
    lease: LeasePlace,
}

impl CopyModule {
    /// What the report's rows of such steps say.
    pub(in crate::job) const PURPOSE: &'static str = "copy";

    pub(in crate::job) fn new(
        row: usize,
        module: &Arc<dyn BackupModule>,
        to: &PoolFqdn,
        lease: &LeasePlace,
    ) -> Self {
        CopyModule { row, module: Arc::clone(module), to: to.clone(), lease: lease.clone() }
    }
}

impl Step for CopyModule {
    fn id(&self) -> String {
        format!("{}:{}", Self::PURPOSE, self.module.id().name())
    }

    fn title(&self) -> String {
        format!("Copy the {} to {}", self.module.id().store_name(), self.to)
    }

    fn module(&self) -> Option<ModuleId> {
        Some(self.module.id())
    }

    fn row(&self) -> Option<usize> {
        Some(self.row)
    }

    fn touches(&self) -> Vec<String> {
        self.module.touches()
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    fn looks_itself(&self) -> bool {
        self.module.cycle_observes()
    }

    fn plan<'a>(&'a self, work: &'a mut Work) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let seen = work.observe(self.row).await?;
            let (items, bytes) = seen.to_move();
            Ok(Planned {
                items: Some(items),
                is_estimate: seen.is_estimate,
                bytes: (bytes > 0).then_some(bytes),
                refused: seen.refused,
                ..Planned::default()
            })
        })
    }

    fn run<'a>(&'a self, work: &'a mut Work) -> Pending<'a, Done> {
        Box::pin(async move {
            let before = work.state_of(self.row);
            let mut details = work
                .cycle(self.row, &self.id(), work.options.verify, |m, context| m.run_cycle(context))
                .await;
            if let Some(row) = work.rows.get_mut(self.row) {
                row.done = true;
                details.extend(row.not_applicable.clone());
            }
            work.look_again(self.row, before, true).await;
            let found = work.rows.get(self.row).and_then(Row::found).filter(|_| self.looks_itself());
            Done { outcome: work.outcome_of_row(self.row), details, found }
        })
    }
}
