//! `CentralMgmt.CMSMaster`: the documents of the Central Management store.

use super::{
    BackupModule, Context, CycleFailure, CycleOutcome, CycleResult, GiveBack, Look, Loss, ModuleId,
    Observation,
};
use crate::error::{Result, Side};
use crate::report::Changes;
use crate::report::Moved;
use crate::store::Trace;
use crate::store::documents::{Document, DocumentHistory, Import};
use crate::store::{Reach, factory};
use crate::topology::StoreUrl;

mod compare;
mod split;
#[cfg(test)]
mod tests;

use compare::Comparison;

/// How many versions are read at once.
const PAGE: usize = 100;

/// How many documents one batch carries.
const BATCH_DOCUMENTS: usize = PAGE;

/// One of the two stores, and where it is.
pub struct End {
    /// Its URL, at the machine where it is.
    pub url: StoreUrl,
    /// Which machine opens it.
    pub at: Reach,
}

/// The active master at one pool and its copy; or, at any other pool, nothing.
pub struct CmsMaster {
    /// The master and its copy, or why there is nothing to copy.
    stores: std::result::Result<(End, End), &'static str>,
    /// How many batches one cycle copies at most.
    max_batches: u64,
}

impl CmsMaster {
    /// The module of the pool that hosts the active master.
    pub fn master(master: End, copy: End, max_batches: u64) -> Self {
        CmsMaster { stores: Ok((master, copy)), max_batches }
    }

    /// The module of any other pool, which has nothing to export and is healthy.
    pub fn elsewhere() -> Self {
        CmsMaster {
            stores: Err("This pool does not host the active master of the Central Management store."),
            max_batches: 0,
        }
    }

    /// The module of the master's pool where the topology names no place for the copy.
    pub fn without_standby() -> Self {
        CmsMaster {
            stores: Err("The backup pool has no standby.management_store in the topology."),
            max_batches: 0,
        }
    }

    /// How many new documents one cycle copies at most.
    fn limit(&self) -> u64 {
        self.max_batches.saturating_mul(BATCH_DOCUMENTS as u64)
    }

    /// What a cycle will copy of what is missing, in documents and bytes.
    fn share(&self, compared: &Comparison, base: DocumentHistory) -> Result<(u64, u64)> {
        let missing = compared.whole.documents.saturating_sub(base.documents);
        if missing <= self.limit() {
            return Ok((missing, compared.whole.bytes.saturating_sub(base.bytes)));
        }
        let (mut left, mut bytes, mut last) = (self.limit(), 0, base.revision);
        while left > 0 {
            let batch =
                compared.master.after(last, BATCH_DOCUMENTS).map_err(|error| error.on(Side::Export))?;
            let Some(end) = batch.last() else { break };
            last = end.revision;
            left = left.saturating_sub(batch.len() as u64);
            bytes += size(&batch);
        }
        Ok((self.limit(), bytes))
    }
}

fn size(documents: &[Document]) -> u64 {
    documents.iter().map(|document| document.body.len() as u64).sum()
}

fn add(moved: &mut Moved, batch: &[Document]) {
    moved.items_written += batch.len() as u64;
    moved.bytes += size(batch);
    moved.batches += 1;
}

impl BackupModule for CmsMaster {
    fn id(&self) -> ModuleId {
        ModuleId::CmsMaster
    }

    fn touches(&self) -> Vec<String> {
        self.stores.iter().map(|(_, copy)| copy.url.to_string()).collect()
    }

    fn touches_back(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe(&self, look: &Look) -> Result<Observation> {
        let (master, copy) = match &self.stores {
            Ok(stores) => stores,
            Err(reason) => {
                return Ok(Observation {
                    not_applicable: Some((*reason).to_owned()),
                    ..Observation::default()
                });
            }
        };
        let compared = Comparison::of(master, copy, look.verify)?;
        let base = compared.base()?;
        let missing = compared.whole.documents.saturating_sub(base.documents);
        let (wrong, replaced, right) = match &compared.repair {
            Some(found) => (found.count(), found.right.len() as u64, size(&found.right)),
            None => (0, 0, 0),
        };
        let planned = match compared.refused {
            Some(_) => (0, 0),
            None => self.share(&compared, base)?,
        };
        // The master may be at another machine: it is not asked for what there is none of.
        let oldest = match missing {
            0 => Vec::new(),
            _ => compared.master.after(base.revision, 1).map_err(|error| error.on(Side::Export))?,
        };
        Ok(Observation {
            initialized: compared.initialized,
            changes: Changes::default(),
            not_applicable: None,
            pending_items: missing + wrong,
            pending_bytes: compared.whole.bytes.saturating_sub(base.bytes) + right,
            fits_one_batch: missing + wrong <= BATCH_DOCUMENTS as u64,
            oldest_pending: oldest
                .first()
                .and_then(|document| jiff::Timestamp::from_millisecond(document.published_ms).ok()),
            moves: Some(Moved {
                items_written: planned.0 + replaced,
                items_deleted: wrong - replaced,
                bytes: planned.1 + right,
                ..Moved::default()
            }),
            to_compare: None,
            is_estimate: false,
            refused: compared.refused,
            no_room: None,
            cursor: (base.revision > 0).then(|| format!("revision {}", base.revision)),
        })
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        crate::platform::failpoint::fail_point!("module.cms_master");
        let Ok((master, copy)) = &self.stores else { return Ok(CycleOutcome::default()) };
        context.check()?;
        let compared = Comparison::of(master, copy, context.verify)?;
        if let Some(refused) = compared.refused {
            return Err(refused.into());
        }
        let mut outcome = CycleOutcome {
            verification: compared.repair.as_ref().map(split::Differences::report),
            ..CycleOutcome::default()
        };
        let importer = Importer { compared: &compared, master, copy, context };
        importer
            .run(self.limit(), &mut outcome)
            .map_err(|error| CycleFailure { error, done: Box::new(outcome.clone()) })?;
        if outcome.moved.items_written > 0 {
            outcome.details.push(format!("Copied {} document versions.", outcome.moved.items_written));
        }
        if let Some(found) = outcome.verification.as_ref().filter(|found| found.differing_items > 0) {
            outcome.warnings.push(found.warning("documents"));
        }
        let left = (compared.whole.documents.saturating_sub(compared.base()?.documents))
            .saturating_sub(self.limit());
        if left > 0 {
            outcome.warnings.push(format!(
                "{left} document versions are left for the next cycle: MaxBatchesPerCmsSync was reached."
            ));
        }
        Ok(outcome)
    }

    fn carry_back(&self, _context: &Context) -> CycleResult {
        Ok(CycleOutcome::default())
    }

    fn observe_carry_back(&self, _look: &Look) -> Result<GiveBack> {
        Ok(GiveBack::default())
    }

    fn loss(&self, _look: &Look) -> Result<Loss> {
        Ok(Loss::default())
    }

    /// The copy holds documents and nothing else: there is no trace to remove.
    fn observe_disable(&self, _look: &Look) -> Result<Vec<Trace>> {
        Ok(Vec::new())
    }

    fn disable(&self, _context: &Context) -> Result<Vec<Trace>> {
        Ok(Vec::new())
    }
}

/// Brings a copy up to its master.
struct Importer<'c> {
    compared: &'c Comparison,
    master: &'c End,
    copy: &'c End,
    context: &'c Context,
}

impl Importer<'_> {
    /// Repairs what differs, then copies what is missing, in batches. Revisions are copied in their order, so after
    /// every batch the copy is the master as it was once.
    fn run(&self, limit: u64, outcome: &mut CycleOutcome) -> Result<()> {
        let on_import = |error: crate::error::Error| error.on(Side::Import);
        let mut base = self.compared.base()?;
        let repair = self.compared.repair.as_ref().filter(|found| found.count() > 0);
        let has_nothing = repair.is_none() && base.digest == self.compared.whole.digest;
        if has_nothing && !self.compared.is_outdated_record {
            return Ok(());
        }
        let copy = factory::new_management_store(&self.copy.url, &self.copy.at).map_err(on_import)?;
        if repair.is_none() && self.compared.is_outdated_record {
            // The same edit may have been made at both: what the copy recorded is then no longer what it holds.
            let noted = self.import(self.compared.held, Vec::new());
            copy.import(Import { repairs: true, ..noted }).map_err(on_import)?;
        }
        if has_nothing {
            return Ok(());
        }
        if let Some(found) = repair {
            let removed = found.wrong.iter().map(|document| document.revision).collect();
            let repair = self.import(self.compared.held, found.right.clone());
            copy.import(Import { repairs: true, removed, ..repair }).map_err(on_import)?;
            outcome.moved.items_deleted = found.count() - found.right.len() as u64;
            add(&mut outcome.moved, &found.right);
        }
        let mut left = limit;
        while left > 0 {
            self.context.check()?;
            let most = usize::try_from(left).unwrap_or(BATCH_DOCUMENTS).min(BATCH_DOCUMENTS);
            let batch =
                self.compared.master.after(base.revision, most).map_err(|error| error.on(Side::Export))?;
            if batch.is_empty() {
                break;
            }
            copy.import(self.import(base, batch.clone())).map_err(on_import)?;
            base = batch.iter().fold(base, |sum, document| sum.with(document));
            left -= batch.len() as u64;
            add(&mut outcome.moved, &batch);
        }
        Ok(())
    }

    fn import(&self, base: DocumentHistory, documents: Vec<Document>) -> Import {
        Import {
            generation: self.context.generation,
            identity: self.compared.position.identity.clone(),
            reign: self.compared.position.reign.clone(),
            master: self.master.url.to_string(),
            base,
            repairs: false,
            removed: Vec::new(),
            documents,
            now: self.context.clock.now(),
        }
    }
}
