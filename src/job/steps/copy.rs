//! Bringing a pool's copy at its backup pool up to date, for one module.

use crate::error::Result;
use crate::job::row::Row;
use crate::job::step::{Done, JobWork, Pending, Planned, RowSubject, Step};

/// Copies one module, under the lease of the pool's own direction.
pub(in crate::job) struct CopyModule(pub(in crate::job) RowSubject);

impl CopyModule {
    /// What the report's rows of such steps say.
    pub(in crate::job) const PURPOSE: &'static str = "copy";
}

impl Step for CopyModule {
    fn subject(&self) -> Option<&RowSubject> {
        Some(&self.0)
    }

    fn id(&self) -> String {
        format!("{}:{}", Self::PURPOSE, self.0.module.id().name())
    }

    fn title(&self) -> String {
        format!("Copy the {} to {}", self.0.module.id().store_name(), self.0.to)
    }

    fn touches(&self) -> Vec<String> {
        self.0.module.touches()
    }

    fn looks_itself(&self) -> bool {
        self.0.module.cycle_observes()
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let mut seen = work.observe(self.0.row).await?;
            if let Some(row) = work.rows.get_mut(self.0.row).filter(|_| work.options.what_if) {
                row.planned(std::mem::take(&mut seen.changes));
            }
            let (items, bytes) = seen.to_move();
            Ok(Planned {
                items: Some(items),
                is_estimate: seen.is_estimate,
                bytes: (bytes > 0).then_some(bytes),
                refused: seen.refused,
                note: seen.no_room,
                ..Planned::default()
            })
        })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            let details = work.run_row(self.0.row, &self.id(), true, |m, context| m.run_cycle(context)).await;
            let found = work.rows.get(self.0.row).and_then(Row::found).filter(|_| self.looks_itself());
            Done { outcome: work.outcome_of_row(self.0.row), details, found }
        })
    }
}
