//! Makes sure that both stores are the ones that are meant, before anything is concluded from what they hold.

use uuid::Uuid;

use super::DataConf;
use super::spool::Spool;
use super::walk::Walked;
use crate::error::{Error, ErrorKind, Result};
use crate::module::Context;
use crate::store::content::index::{ContentIndex, IndexedPair};
use crate::store::content::{
    ContentPath, ContentStore, Marker, ObjectError, ObjectKind, ObjectMeta, Presence, StoreRole,
};

impl DataConf {
    /// Establishes the pair in its first cycle, recognises it in every later one.
    /// Returns what an administrator should know.
    pub(super) fn establish(&self, index: &mut ContentIndex, context: &Context) -> Result<Vec<String>> {
        index.check(context.generation)?;
        let Some(pair) = index.pair()? else {
            self.begin_pair(index, context)?;
            return Ok(Vec::new());
        };
        self.check_source(&pair)?;
        match self.check_standby(&pair)? {
            Ok(()) => Ok(Vec::new()),
            Err(_) if context.force => {
                // The index first: a marker that it does not know would be taken for that of another store.
                let standby_id = Uuid::new_v4();
                index.establish(context.generation, pair.source_id, standby_id, std::iter::empty())?;
                self.begin_standby(context, standby_id)?;
                let message = "The standby copy was lost; as -Force asked for, all content is copied again.";
                context.observer.warning(message.to_owned());
                Ok(vec![message.to_owned()])
            }
            Err(lost) => Err(lost),
        }
    }

    /// Whether both stores are the ones that the index knows, without changing anything.
    pub(super) fn check_pair(&self, pair: &IndexedPair) -> Result<()> {
        self.check_source(pair)?;
        self.check_standby(pair)?
    }

    /// Whether there is a source at all; for a pair that the index does not know.
    pub(super) fn check_source_exists(&self) -> Result<()> {
        match self.source.identify()? {
            Presence::Missing => Err(missing_source(self.source.as_ref())),
            Presence::Unmarked { .. } => Ok(()),
            Presence::Marked(marker) => self.check_own(&marker, StoreRole::Source, self.source.as_ref()),
        }
    }

    /// A source that lists nothing, though its standby holds something, is not believed.
    pub(super) fn refuse_emptied_source(
        &self,
        walked: &Walked,
        index: &ContentIndex,
        force: bool,
    ) -> Result<()> {
        if walked.listed > 0 || force {
            return Ok(());
        }
        let count = index.count()?;
        if count == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ContentStoreUnmounted,
            format!(
                "The content store {} is empty, but its standby copy holds {count} objects. Nothing was deleted.",
                self.source.url()
            ),
            "If it is not mounted, mount it. If its content was lost, run Invoke-CsBackupServiceSync for the backup \
             pool, which gives it back. If everything was deleted on purpose, run the command again with -Force.",
        )
        .at("store", self.source.url())
        .at("objects", count))
    }

    fn begin_pair(&self, index: &mut ContentIndex, context: &Context) -> Result<()> {
        let (source_id, is_empty) = match self.source.identify()? {
            Presence::Missing => return Err(missing_source(self.source.as_ref())),
            Presence::Unmarked { empty } => (None, empty),
            Presence::Marked(marker) => {
                self.check_own(&marker, StoreRole::Source, self.source.as_ref())?;
                (Some(marker.store_id), false)
            }
        };
        let mut held = Spool::new(self.index.folder());
        let standby_id = match self.standby.identify()? {
            Presence::Missing | Presence::Unmarked { empty: true } => {
                self.begin_standby(context, Uuid::new_v4())?
            }
            Presence::Unmarked { empty: false } => return Err(foreign_standby(self.standby.as_ref())),
            Presence::Marked(marker)
                if marker.pool == self.pool && marker.role == StoreRole::FormerStandby =>
            {
                held = self.held_by_standby(context)?;
                if is_empty && held.len() > 0 {
                    return Err(self.unknown_source(held.len()));
                }
                self.mark(StoreRole::Standby, marker.store_id)?
            }
            Presence::Marked(marker) => {
                self.check_own(&marker, StoreRole::Standby, self.standby.as_ref())?;
                held = self.held_by_standby(context)?;
                // Neither index nor marker says that this is the source of that copy.
                if source_id.is_none() && held.len() > 0 && (is_empty || !context.force) {
                    return Err(self.unknown_source(held.len()));
                }
                marker.store_id
            }
        };
        let source_id = source_id.map_or_else(|| self.mark(StoreRole::Source, Uuid::new_v4()), Ok)?;
        index.establish(context.generation, source_id, standby_id, held.iter())
    }

    fn begin_standby(&self, context: &Context, standby_id: Uuid) -> Result<Uuid> {
        context.check()?;
        self.standby.create()?;
        self.mark(StoreRole::Standby, standby_id)
    }

    /// Gives one of the stores an identity.
    pub(super) fn mark(&self, role: StoreRole, store_id: Uuid) -> Result<Uuid> {
        let store = match role {
            StoreRole::Source => &self.source,
            StoreRole::Standby | StoreRole::FormerStandby | StoreRole::Unknown => &self.standby,
        };
        store.mark(&Marker { store_id, pool: self.pool.clone(), role })?;
        Ok(store_id)
    }

    /// The index was lost, the standby was not. What is there is remembered, so that what the source no longer has is
    /// deleted, and what both seem to have is read instead of copied.
    fn held_by_standby(&self, context: &Context) -> Result<Spool<(ContentPath, ObjectMeta)>> {
        let mut held = Spool::new(self.index.folder());
        let mut next = vec![ContentPath::root()];
        while let Some(folder) = next.pop() {
            context.check()?;
            let listing = match self.standby.list(&folder, &context.cancel) {
                Ok(listing) => listing,
                Err(ObjectError::Store(error)) => return Err(error),
                Err(ObjectError::Gone | ObjectError::Refused(_)) => continue,
            };
            for entry in listing.iter() {
                let (Some(path), Ok(meta)) = (folder.join(entry.name), entry.object) else { continue };
                if meta.kind == ObjectKind::Folder {
                    next.push(path.clone());
                }
                held.push(&(path, *meta))?;
            }
        }
        Ok(held)
    }

    fn check_source(&self, pair: &IndexedPair) -> Result<()> {
        let reason = match self.source.identify()? {
            Presence::Marked(marker) if marker.store_id == pair.source_id => return Ok(()),
            Presence::Marked(_) => "is not the one that was backed up so far: its marker has another id",
            Presence::Unmarked { .. } => "has lost its marker .csb/store.json",
            Presence::Missing => "does not exist",
        };
        Err(Error::new(
            ErrorKind::ContentStoreUnmounted,
            format!("The content store {} {reason}. Nothing was deleted.", self.source.url()),
            "If it is not mounted, mount it. If its content was lost, make the empty folder and run \
             Invoke-CsBackupServiceSync for the backup pool, which gives content and marker back.",
        )
        .at("store", self.source.url()))
    }

    /// The outer result is what stays an error whatever is forced; the inner one is a standby that is lost.
    pub(super) fn check_standby(&self, pair: &IndexedPair) -> Result<Result<()>> {
        let lost = |reason: &str, advice: &str| {
            Error::new(
                ErrorKind::ContentStoreUnmounted,
                format!("The standby copy {} {reason}. Nothing was copied.", self.standby.url()),
                advice,
            )
            .at("store", self.standby.url())
        };
        let start_afresh = "If it is not mounted, mount it. If it was lost, run the command again with -Force: then \
                            all content is copied again.";
        match self.standby.identify()? {
            Presence::Marked(marker) if marker.store_id == pair.standby_id => Ok(Ok(())),
            Presence::Missing => Ok(Err(lost("does not exist any more", start_afresh))),
            Presence::Unmarked { empty: true } => Ok(Err(lost("is empty and has no marker", start_afresh))),
            Presence::Unmarked { empty: false } => Err(lost(
                "has lost its marker .csb/store.json",
                "If it is not mounted, mount it. If it is the right folder, move its content away and run the \
                 command again with -Force: then all content is copied again.",
            )),
            Presence::Marked(_) => Err(lost(
                "is not the one that was written so far: its marker has another id",
                "Mount the right one, or correct content_store of the standby in the topology.",
            )),
        }
    }

    fn unknown_source(&self, held: u64) -> Error {
        Error::new(
            ErrorKind::ContentStoreUnmounted,
            format!(
                "The content store {} has no marker, though a standby copy with {held} objects exists. Nothing was \
                 deleted.",
                self.source.url()
            ),
            "If it is not mounted, mount it. If its content was lost and the service database as well, copy the \
             standby's content into it, all but .csb. Then run the command again with -Force.",
        )
        .at("store", self.source.url())
    }

    fn check_own(&self, marker: &Marker, role: StoreRole, store: &dyn ContentStore) -> Result<()> {
        if marker.pool == self.pool && marker.role == role {
            return Ok(());
        }
        let what = match marker.role {
            StoreRole::Source => "the content store",
            StoreRole::Standby => "the standby copy",
            StoreRole::FormerStandby => "a former standby copy",
            StoreRole::Unknown => "something that only a newer build knows",
        };
        Err(Error::new(
            ErrorKind::ForeignContent,
            format!("{} is marked as {what} of {}.", store.url(), marker.pool),
            "Correct content_store in the topology. If the store was used for another pair before, run \
             Disable-CsPoolBackup there first.",
        )
        .at("store", store.url()))
    }
}

/// The error for a source that is not there.
pub(super) fn missing_source(source: &dyn ContentStore) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("The content store {} does not exist.", source.url()),
        "Mount it, or make the folder if it is new, then run the command again.",
    )
    .at("store", source.url())
}

fn foreign_standby(standby: &dyn ContentStore) -> Error {
    Error::new(
        ErrorKind::ForeignContent,
        format!("{} is to become a standby copy, but holds something already.", standby.url()),
        "Move what is in it away, or name another folder in the topology.",
    )
    .at("store", standby.url())
}
