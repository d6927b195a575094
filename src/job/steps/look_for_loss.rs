//! Looking what the partner lacks, in a sync that gives nothing back, for one module.

use std::sync::Arc;

use super::loss::not_returned;
use crate::error::{ErrorKind, Result};
use crate::job::step::{Done, JobWork, Pending, Planned, Step};
use crate::module::{BackupModule, ModuleId};
use crate::report::Outcome;
use crate::topology::PoolFqdn;

/// Says what the partner lacks of one module's data. Nothing is written, and a partner that cannot be looked at fails nothing.
pub(in crate::job) struct LookForLoss {
    module: Arc<dyn BackupModule>,
    holder: PoolFqdn,
    partner: PoolFqdn,
}

impl LookForLoss {
    pub(in crate::job) fn new(module: &Arc<dyn BackupModule>, holder: &PoolFqdn, partner: &PoolFqdn) -> Self {
        LookForLoss { module: Arc::clone(module), holder: holder.clone(), partner: partner.clone() }
    }

    /// What there is to say, where it lacks anything, and whether that is a warning.
    async fn look(&self, work: &mut JobWork) -> Result<(Option<String>, bool)> {
        match work.loss(&self.module).await {
            Ok(loss) => {
                let said = not_returned(&loss, self.module.id(), &self.holder, &self.partner);
                Ok((said, loss.is_store_lost))
            }
            Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Panic) => Err(error),
            Err(error) => {
                let (partner, store) = (&self.partner, self.module.id().store_name());
                Ok((Some(format!("What {partner} lacks of its {store} cannot be seen. {error}")), false))
            }
        }
    }
}

impl Step for LookForLoss {
    fn id(&self) -> String {
        format!("look:{}", self.module.id().name())
    }

    fn title(&self) -> String {
        format!("Look what {} lacks of its {}", self.partner, self.module.id().store_name())
    }

    fn module(&self) -> Option<ModuleId> {
        Some(self.module.id())
    }

    /// It looks before it would take a lease, which it needs for nothing.
    fn gives_way(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let (said, is_warning) = self.look(work).await?;
            if let Some(message) = said.clone().filter(|_| is_warning) {
                work.warn(self.module.id().name(), message);
            }
            let nothing_to_do = Some(said.clone().unwrap_or_else(|| "It lacks nothing.".to_owned()));
            Ok(Planned { note: said, nothing_to_do, ..Planned::default() })
        })
    }

    /// Only where looking failed: a defect that is told already, or a cancelled job.
    fn run<'a>(&'a self, _work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move { Done::of(Outcome::Skipped, Vec::new()) })
    }
}
