//! An end on this machine.

use std::path::Path;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::end::{
    Base, Exported, Import, Order, PageSink, Published, Replacement, Seen, Sent, Standing, Survey, UserEnd,
};
use super::former;
use super::mark::Mark;
use super::source::Source;
use super::standby::Standby;
use crate::error::Result;
use crate::platform::Rights;
use crate::report::Moved;
use crate::store::user::StoreState;
use crate::store::{Generation, Trace, Until};
use crate::topology::UserStoreConfig;

/// A user store in SQLite, as what servers write to and as a copy.
#[derive(Clone, Debug)]
pub(super) struct LocalEnd {
    source: Source,
    standby: Standby,
}

impl LocalEnd {
    /// The store at a path, with what the topology says of it. Nothing is opened yet.
    pub(super) fn new(path: &Path, config: &UserStoreConfig) -> Self {
        let max_lock = config.server_waits.then(|| Duration::from_millis(config.max_lock_ms));
        LocalEnd { source: Source::new(path, max_lock), standby: Standby::new(path, config) }
    }
}

impl UserEnd for LocalEnd {
    fn path(&self) -> &Path {
        self.source.path()
    }

    fn look(&self, known: Option<&Mark>) -> Result<Seen> {
        self.source.look(known)
    }

    fn survey(&self, known: Option<&Mark>) -> Result<Survey> {
        if self.source.is_unchanged(known)? {
            // What could be read then can be read now: nothing is opened for that.
            return Ok(Survey { is_unchanged: true, pending: None, refused: None });
        }
        let refused = self.source.require_database().err();
        let pending = known.map_or(Ok(None), |known| self.source.pending(known))?;
        Ok(Survey { is_unchanged: false, pending, refused })
    }

    fn export(&self, base: &Base, to: &dyn PageSink, until: &Until) -> Result<Exported> {
        self.source.export(base, to, until)
    }

    fn is_lost(&self, known: Option<&Mark>) -> Result<bool> {
        self.source.is_lost(known)
    }

    fn replace(&self, rights: Option<Rights>, known: Option<&Mark>) -> Result<Box<dyn Replacement>> {
        Ok(Box::new(self.source.replace(rights, known, &self.standby.exclude)?))
    }

    fn standing(&self) -> Result<Standing> {
        self.standby.standing()
    }

    fn import(&self, order: Order) -> Result<Box<dyn Import>> {
        Ok(Box::new(self.standby.import(order)?))
    }

    fn rehearse(&self, order: Order) -> Result<Box<dyn Import>> {
        Ok(Box::new(self.standby.rehearse(order)))
    }

    fn size(&self) -> Result<Option<Moved>> {
        self.standby.size()
    }

    fn states(&self) -> Result<Vec<StoreState>> {
        self.standby.states()
    }

    fn send(
        &self,
        revision: Option<u32>,
        generation: Generation,
        to: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<Sent> {
        self.standby.send(revision, generation, to, cancel)
    }

    fn note_replaced(&self, sent: &Sent, published: &Published, order: &Order) -> Result<()> {
        self.standby.note_replaced(sent, published, order)
    }

    fn fence(&self, is_raised: bool, until: &Until) -> Result<()> {
        self.source.fence(is_raised, until)
    }

    fn promote(&self, generation: Generation, until: &Until) -> Result<Vec<String>> {
        self.standby.promote(generation, &until.cancel)
    }

    fn former(&self) -> Vec<(String, String)> {
        // SQLite would make a log of a database that is a copy no more.
        if self.standby.is_fenced() { former::in_copy(self.standby.path()) } else { Vec::new() }
    }

    fn remove_former(&self) -> Result<Vec<Trace>> {
        if self.source.path().exists() { former::remove(self.source.path()) } else { Ok(Vec::new()) }
    }

    fn lift(&self, dry_run: bool, cancel: &CancellationToken) -> Result<Vec<Trace>> {
        self.standby.lift(dry_run, cancel)
    }
}
