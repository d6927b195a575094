//! What the master holds and its copy lacks, and whether the copy is one of that master at all.

use super::split::{self, Differences};
use super::{End, Side};
use crate::error::{Error, Result};
use crate::store::documents::{
    DocumentHistory, Documents, DocumentsRole, Position, foreign, not_master, older_master, two_masters,
};
use crate::store::factory;
use crate::topology::StoreUrl;

/// A master and its copy, as they were at one moment.
pub(super) struct Comparison {
    pub(super) master: Box<dyn Documents>,
    pub(super) position: Position,
    /// All that the master holds.
    pub(super) whole: DocumentHistory,
    /// What the copy really holds.
    pub(super) held: DocumentHistory,
    /// Whether there is a copy that holds something.
    pub(super) initialized: bool,
    /// Whether the copy's record of whom it follows is not what it should be.
    pub(super) is_outdated_record: bool,
    /// What the copy holds wrongly and may be repaired.
    pub(super) repair: Option<Differences>,
    /// Why nothing can be copied.
    pub(super) refused: Option<Error>,
}

impl Comparison {
    /// Looks at both; with `verify`, what was written to the copy is to be repaired instead of refused.
    pub(super) fn of(master: &End, copy: &End, verify: bool) -> Result<Self> {
        let on_export = |error: Error| error.on(Side::Export);
        let on_import = |error: Error| error.on(Side::Import);
        let source = factory::management_store(&master.url, &master.at).map_err(on_export)?;
        let master = &master.url;
        let position = source.position().map_err(on_export)?;
        let whole = source.history(i64::MAX).map_err(on_export)?;
        let mut compared = Comparison {
            master: source,
            position,
            whole,
            held: DocumentHistory::empty(),
            initialized: false,
            is_outdated_record: false,
            repair: None,
            refused: None,
        };
        if !compared.position.leads(master) {
            compared.refused = Some(not_master(master, &compared.position).on(Side::Export));
            return Ok(compared);
        }
        let Some(copy) = factory::existing_management_store(&copy.url, &copy.at).map_err(on_import)? else {
            return Ok(compared);
        };
        let standing = copy.position().map_err(on_import)?;
        compared.held = copy.history(i64::MAX).map_err(on_import)?;
        compared.initialized = compared.held.documents > 0;
        compared.is_outdated_record = compared.initialized
            && (standing.role != DocumentsRole::Standby
                || standing.reign != compared.position.reign
                || standing.master.as_deref() != Some(master.to_string().as_str())
                || standing.recorded != Some((compared.held.revision, compared.held.digest)));
        compared.refused = compared.foreign_copy(master, &copy.url(), &standing);
        if compared.refused.is_none() {
            compared.compare_content(copy.as_ref(), &standing, verify)?;
        }
        Ok(compared)
    }

    /// Whether the copy is one of another store, or another master's by now.
    fn foreign_copy(&self, master: &StoreUrl, copy: &StoreUrl, standing: &Position) -> Option<Error> {
        let name = master.to_string();
        let reign = &self.position.reign;
        if standing.revision > 0 && standing.identity != self.position.identity {
            return Some(foreign(copy).on(Side::Import));
        }
        if standing.reign.epoch > reign.epoch {
            return Some(older_master(&name, reign.epoch, copy, standing).on(Side::Import));
        }
        let follows_another = standing.reign.epoch == reign.epoch
            && standing.reign.timeline.is_some()
            && reign.timeline.is_some()
            && standing.reign.timeline != reign.timeline;
        if standing.role == DocumentsRole::Master || follows_another {
            return Some(two_masters(&name, copy, standing).on(Side::Import));
        }
        None
    }

    /// Whether what the copy holds is what the master held once.
    fn compare_content(&mut self, copy: &dyn Documents, standing: &Position, verify: bool) -> Result<()> {
        let on_export = |error: Error| error.on(Side::Export);
        let common = match self.held.revision == self.whole.revision {
            true => self.whole,
            false => self.master.history(self.held.revision).map_err(on_export)?,
        };
        if common.digest == self.held.digest {
            if verify {
                self.repair = Some(Differences { compared: common.documents, ..Differences::default() });
            }
            return Ok(());
        }
        let found = Differences::find(self.master.as_ref(), copy)?;
        let (master, copy) = (self.master.url(), copy.url());
        // What its last import recorded is what the master held: then somebody wrote to the copy since.
        let is_touched = match standing.recorded {
            Some((revision, digest)) => {
                self.master.history(revision).map_err(on_export)?.digest == digest
                    && revision <= self.whole.revision
            }
            None => false,
        };
        if is_touched && verify {
            self.repair = Some(found);
        } else if is_touched {
            self.refused = Some(split::touched(&master, &copy, &found).on(Side::Import));
        } else if self.held.revision > self.whole.revision && found.right.is_empty() {
            self.refused = Some(split::outdated(&master, &copy, &found).on(Side::Export));
        } else {
            self.refused = Some(split::two_histories(&master, &copy, &found).on(Side::Export));
        }
        Ok(())
    }

    /// What the copy will hold once it is repaired: the master's versions up to there are not copied again.
    pub(super) fn base(&self) -> Result<DocumentHistory> {
        match &self.repair {
            Some(_) => self.master.history(self.held.revision).map_err(|error| error.on(Side::Export)),
            None => Ok(self.held),
        }
    }
}
