//! Writing an earlier state of a store to a file or folder of its own, to look into or to give back. Nothing else is written.

use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Result;
use crate::job::lease::LeasePlace;
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::module::{BackupModule, ModuleId, Restored, WantedState};
use crate::report::Outcome;

/// Writes a state of one module's copy to a path.
pub(in crate::job) struct Restore {
    module: Arc<dyn BackupModule>,
    wanted: WantedState,
    include: Vec<String>,
    path: PathBuf,
    lease: LeasePlace,
}

impl Restore {
    pub(in crate::job) fn new(
        module: &Arc<dyn BackupModule>,
        wanted: WantedState,
        include: &[String],
        path: PathBuf,
        lease: &LeasePlace,
    ) -> Self {
        Restore { module: Arc::clone(module), wanted, include: include.to_vec(), path, lease: lease.clone() }
    }
}

impl Step for Restore {
    fn id(&self) -> String {
        format!("restore:{}", self.module.id().name())
    }

    fn title(&self) -> String {
        format!("Write an earlier state of the {} to {}", self.module.id().store_name(), self.path.display())
    }

    fn module(&self) -> Option<ModuleId> {
        Some(self.module.id())
    }

    fn touches(&self) -> Vec<String> {
        vec![self.path.display().to_string()]
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (module, wanted, path) = (Arc::clone(&self.module), self.wanted, self.path.clone());
            let looking = work.threads.run(&work.job.cancel, move || module.find_state(wanted, &path));
            let found = looking.await?;
            Ok(Planned { items: Some(1), bytes: Some(found.bytes), ..Planned::default() })
        })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            let name = self.module.id().name();
            let context = work.context(&self.id(), name, "restore", false);
            let module = Arc::clone(&self.module);
            let (wanted, include, path) = (self.wanted, self.include.clone(), self.path.clone());
            let attempt = move || {
                context.check()?;
                module.restore_state(wanted, &include, &path, &context)
            };
            match work.attempts(name, attempt, |_, _| ()).await {
                Ok(Restored { state, mut details, warnings }) => {
                    let text =
                        format!("Revision {} of {} is in {}.", state.revision, state.at, self.path.display());
                    details.insert(0, text);
                    let is_as_it_was = warnings.is_empty();
                    warnings.into_iter().for_each(|message| work.warn(name, message));
                    let outcome =
                        if is_as_it_was { Outcome::Succeeded } else { Outcome::SucceededWithWarnings };
                    Done::of(outcome, details)
                }
                Err(error) => work.failure(self, error),
            }
        })
    }
}
