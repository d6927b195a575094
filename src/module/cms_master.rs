//! `CentralMgmt.CMSMaster`: the documents of the Central Management store.

use std::path::{Path, PathBuf};

use super::{
    BackupModule, Context, CycleFailure, CycleOutcome, CycleResult, GiveBack, Look, ModuleId, Observation,
};
use crate::error::{Error, ErrorKind, Result};
use crate::report::{Moved, Verification};
use crate::store::Trace;
use crate::store::management::{Document, ManagementStore, foreign};

/// How many documents one batch carries.
const BATCH_DOCUMENTS: usize = 100;

/// The active master at one pool and its copy; or, at any other pool, nothing.
pub struct CmsMaster {
    /// The master and its copy, or why there is nothing to copy.
    stores: std::result::Result<(PathBuf, PathBuf), &'static str>,
    /// How many batches one cycle copies at most.
    max_batches: u64,
}

impl CmsMaster {
    /// The module of the pool that hosts the active master.
    pub fn master(master: &Path, standby: &Path, max_batches: u64) -> Self {
        CmsMaster { stores: Ok((master.to_owned(), standby.to_owned())), max_batches }
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

    /// How many documents one cycle copies at most.
    fn limit(&self) -> usize {
        usize::try_from(self.max_batches).unwrap_or(usize::MAX).saturating_mul(BATCH_DOCUMENTS)
    }

    /// The documents that the standby lacks, the master's id, and where both stand.
    fn compare(master: &Path, standby: &Path) -> Result<Comparison> {
        let master = ManagementStore::open(master)?;
        let (master_id, last) = master.position()?;
        let held = ManagementStore::open_existing(standby)?.map(|copy| copy.position()).transpose()?;
        let position = match &held {
            Some((_, 0)) | None => 0,
            Some((id, _)) if *id != master_id => return Err(foreign(standby)),
            Some((_, position)) => *position,
        };
        if position > last {
            return Err(Error::new(
                ErrorKind::MasterOutdated,
                format!("The standby copy {} is newer than the active master.", standby.display()),
                "The master was restored to an earlier state. Compare both before anything is published; the copy is left as it is.",
            ));
        }
        Ok(Comparison {
            missing: master.after(position)?,
            master_id,
            initialized: held.is_some_and(|(_, held)| held > 0),
            position,
        })
    }
}

fn add(moved: &mut Moved, batch: &[Document]) {
    moved.items_written += batch.len() as u64;
    moved.bytes += batch.iter().map(|document| document.body.len() as u64).sum::<u64>();
    moved.batches += 1;
}

struct Comparison {
    missing: Vec<Document>,
    master_id: String,
    initialized: bool,
    position: i64,
}

/// What a copy holds wrongly of what it should hold already.
struct Difference {
    compared: u64,
    /// What the copy has and the master has not, or has otherwise.
    wrong: Vec<Document>,
    /// What the master has and the copy has not, or has otherwise.
    right: Vec<Document>,
}

impl Difference {
    /// Compares every version up to a revision.
    fn find(master: &Path, standby: &Path, position: i64) -> Result<Self> {
        let held = ManagementStore::open_existing(standby)?.map(|copy| copy.after(0)).transpose()?;
        let (held, mut wanted) = (held.unwrap_or_default(), ManagementStore::open(master)?.after(0)?);
        wanted.retain(|document| document.revision <= position);
        Ok(Difference {
            compared: wanted.len() as u64,
            wrong: held.iter().filter(|document| !wanted.contains(document)).cloned().collect(),
            right: wanted.iter().filter(|document| !held.contains(document)).cloned().collect(),
        })
    }

    /// By kind of document; one that is wrong in both lists differs once.
    fn report(&self) -> Verification {
        let mut found = Verification { compared_items: self.compared, ..Verification::requested() };
        let is_replaced =
            |document: &Document| self.right.iter().any(|other| other.revision == document.revision);
        let superfluous = self.wrong.iter().filter(|document| !is_replaced(document));
        for document in self.right.iter().chain(superfluous) {
            found.differ(&document.kind, 1);
        }
        found.repaired_items = found.differing_items;
        found
    }
}

impl BackupModule for CmsMaster {
    fn id(&self) -> ModuleId {
        ModuleId::CmsMaster
    }

    fn touches(&self) -> Vec<String> {
        self.stores.iter().map(|(_, standby)| format!("sqlite:{}", standby.display())).collect()
    }

    fn touches_back(&self) -> Vec<String> {
        Vec::new()
    }

    fn observe(&self, _look: &Look) -> Result<Observation> {
        let (master, standby) = match &self.stores {
            Ok(stores) => stores,
            Err(reason) => {
                return Ok(Observation {
                    not_applicable: Some((*reason).to_owned()),
                    ..Observation::default()
                });
            }
        };
        let compared = Self::compare(master, standby)?;
        let pending = compared.missing.len() as u64;
        Ok(Observation {
            initialized: compared.initialized,
            not_applicable: None,
            pending_items: pending,
            pending_bytes: compared.missing.iter().map(|document| document.body.len() as u64).sum(),
            fits_one_batch: pending <= BATCH_DOCUMENTS as u64,
            oldest_pending: compared
                .missing
                .first()
                .and_then(|document| jiff::Timestamp::from_millisecond(document.published_ms).ok()),
            to_compare: None,
            is_estimate: false,
            moves: None,
            refused: None,
            cursor: (compared.position > 0).then(|| format!("revision {}", compared.position)),
        })
    }

    fn run_cycle(&self, context: &Context) -> CycleResult {
        crate::failpoint::fail_point!("module.cms_master");
        let Ok((master, standby)) = &self.stores else { return Ok(CycleOutcome::default()) };
        context.check()?;
        let compared = Self::compare(master, standby)?;
        let difference =
            if context.verify { Some(Difference::find(master, standby, compared.position)?) } else { None };
        let (wrong, right) =
            difference.as_ref().map_or((&[][..], &[][..]), |found| (&found.wrong, &found.right));
        let mut outcome = CycleOutcome {
            verification: difference.as_ref().map(Difference::report),
            ..CycleOutcome::default()
        };
        if compared.missing.is_empty() && right.is_empty() && wrong.is_empty() {
            return Ok(outcome);
        }
        let mut copy = ManagementStore::create(standby)?;
        // Revisions are copied in their order, so after every batch the copy is the master as it was once.
        let (now, later) = compared.missing.split_at(compared.missing.len().min(self.limit()));
        let mut batches = now.chunks(BATCH_DOCUMENTS);
        let first = [right, batches.next().unwrap_or_default()].concat();
        copy.replace(&compared.master_id, wrong, &first, context.generation)?;
        outcome.moved.items_deleted = wrong.len().saturating_sub(right.len()) as u64;
        add(&mut outcome.moved, &first);
        for batch in batches {
            let imported =
                context.check().and_then(|()| copy.import(&compared.master_id, batch, context.generation));
            if let Err(error) = imported {
                return Err(CycleFailure { error, done: Box::new(outcome) });
            }
            add(&mut outcome.moved, batch);
        }
        outcome.details.push(format!("Copied {} document versions.", outcome.moved.items_written));
        if let Some(found) = outcome.verification.as_ref().filter(|found| found.differing_items > 0) {
            outcome.warnings.push(found.warning("documents"));
        }
        if !later.is_empty() {
            outcome.warnings.push(format!(
                "{} document versions are left for the next cycle: MaxBatchesPerCmsSync was reached.",
                later.len()
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

    /// The copy holds documents and nothing else: there is no trace to remove.
    fn observe_disable(&self, _look: &Look) -> Result<Vec<Trace>> {
        Ok(Vec::new())
    }

    fn disable(&self, _context: &Context) -> Result<Vec<Trace>> {
        Ok(Vec::new())
    }
}
