//! Taking everything of ours out of one module's stores and their copies. The data itself stays.

use std::sync::Arc;

use crate::error::Result;
use crate::job::lease::LeasePlace;
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::module::{BackupModule, ModuleId};
use crate::report::Outcome;

/// Takes everything of ours out of one module's stores.
pub(in crate::job) struct DisableModule {
    module: Arc<dyn BackupModule>,
    lease: LeasePlace,
}

impl DisableModule {
    pub(in crate::job) fn new(module: &Arc<dyn BackupModule>, lease: &LeasePlace) -> Self {
        DisableModule { module: Arc::clone(module), lease: lease.clone() }
    }
}

impl Step for DisableModule {
    fn id(&self) -> String {
        format!("disable:{}", self.module.id().name())
    }

    fn title(&self) -> String {
        format!("Remove what belongs to the backup service from the {}", self.module.id().store_name())
    }

    fn module(&self) -> Option<ModuleId> {
        Some(self.module.id())
    }

    fn touches(&self) -> Vec<String> {
        [self.module.touches_back(), self.module.touches()].concat()
    }

    fn lease(&self) -> Option<&LeasePlace> {
        Some(&self.lease)
    }

    fn resumes(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (module, look) = (Arc::clone(&self.module), work.look());
            let looking = work.threads.run(&work.job.cancel, move || module.observe_disable(&look));
            let removes = looking.await?;
            let is_touched = |store: &String| removes.iter().any(|trace| trace.store == *store);
            let touches = self.touches().into_iter().filter(is_touched).collect();
            let items = Some(removes.len() as u64);
            Ok(Planned { items, removes, touches: Some(touches), ..Planned::default() })
        })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            let name = self.module.id().name();
            let (module, context) =
                (Arc::clone(&self.module), work.context(&self.id(), name, "disable", false));
            let attempt = move || {
                context.check()?;
                module.disable(&context)
            };
            match work.attempts(name, attempt, |_, _| ()).await {
                Ok(removed) => {
                    let details = vec![format!("Removed {}.", removed.len())];
                    work.removed.extend(removed);
                    Done::of(Outcome::Succeeded, details)
                }
                Err(error) => work.failure(self, error),
            }
        })
    }
}
