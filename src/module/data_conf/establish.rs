//! Makes sure that both stores are the ones that are meant, before anything is concluded from what they hold.

use uuid::Uuid;

use super::DataConf;
use super::end::End;
use super::walk::Walked;
use crate::error::{Error, ErrorKind, Result};
use crate::module::{Context, Look};
use crate::store::content::history::{KeptRevision, Revision};
use crate::store::content::index::{Adopted, ContentIndex, IndexedPair};
use crate::store::content::spool::Spool;
use crate::store::content::{
    ContentPath, ContentStore, Marker, MarkerRole, ObjectError, ObjectKind, ObjectMeta, Presence,
};

mod foreign;

pub(super) use foreign::refuse_foreign;

/// A standby that the index does not know.
enum NewStandby {
    /// To be made, or to be marked.
    Empty,
    /// Known by its marker.
    Held(Uuid),
    /// Known by its marker, which says that its backup was disabled.
    Former(Uuid, Option<i64>),
}

/// Two stores that the index does not know.
struct NewPair {
    /// The source's marker.
    source_id: Option<Uuid>,
    /// Whether there is neither marker nor content in the source.
    is_empty: bool,
    standby: NewStandby,
}

impl DataConf {
    /// Establishes the pair in its first cycle, recognises it in every later one.
    /// Returns what an administrator should know.
    pub(super) fn establish(&self, index: &mut ContentIndex, context: &Context) -> Result<Vec<String>> {
        index.check(context.generation)?;
        let Some(pair) = index.pair()? else {
            self.begin_pair(index, context)?;
            return Ok(Vec::new());
        };
        let warnings = match self.check_source(&pair)? {
            Ok(()) => Vec::new(),
            Err(_) if context.accept_deletions => vec![self.adopt_source(index, context)?],
            Err(lost) => return Err(lost),
        };
        let Some(pair) = index.pair()? else { return Ok(warnings) };
        match self.check_standby(&pair)? {
            Ok(MarkerRole::FormerStandby) => {
                // It was taken over by a job that died before it could say so there.
                self.mark(MarkerRole::Standby, pair.standby_id)?;
                Ok(warnings)
            }
            Ok(_) => Ok(warnings),
            Err(_) if context.accept_deletions => {
                // The index first: a marker that it does not know would be taken for that of another store.
                let standby_id = Uuid::new_v4();
                let (source_id, held) = (pair.source_id, std::iter::empty());
                index.establish(context.generation, source_id, standby_id, Adopted::default(), held)?;
                self.begin_standby(context, standby_id)?;
                let message =
                    "The standby copy was lost; as -AcceptDeletions asked for, all content is copied again.";
                context.observer.warning(message.to_owned());
                Ok([warnings, vec![message.to_owned()]].concat())
            }
            Err(lost) => Err(lost),
        }
    }

    /// Whether both stores are the ones that are meant, without walking them.
    pub(super) fn check_stores(&self, look: &Look) -> Result<()> {
        let Some((_, pair)) = self.existing_index()? else { return self.examine().map(|_| ()) };
        match self.check_source(&pair)? {
            Err(lost) if !look.accept_deletions => return Err(lost),
            Ok(()) | Err(_) => {}
        }
        match self.check_standby(&pair)? {
            Err(lost) if !look.accept_deletions => Err(lost),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// A source that lists nothing, though its standby holds something, is not believed.
    pub(super) fn refuse_emptied_source(
        &self,
        walked: &Walked,
        index: &ContentIndex,
        accept_deletions: bool,
    ) -> Result<()> {
        if walked.listed > 0 || accept_deletions {
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
            "If it is not mounted, mount it. If its content was lost, run Invoke-CsBackupServiceSync with -BackupModule \
             DataConf for the backup pool, which gives it back. If everything was deleted on purpose, run the command again with -AcceptDeletions.",
        )
        .at("store", self.source.url())
        .at("objects", count)
        .on(self.source.side))
    }

    /// What two stores are that the index does not know.
    fn examine(&self) -> Result<NewPair> {
        let (source_id, is_empty) = match self.source.identify()? {
            Presence::Missing => return Err(missing_source(&self.source)),
            Presence::Unmarked { empty } => {
                refuse_foreign(&self.source)?;
                (None, empty)
            }
            Presence::Marked(marker) => {
                self.check_own(&marker, MarkerRole::Source, &self.source)?;
                (Some(marker.store_id), false)
            }
        };
        let standby = match self.standby.identify()? {
            Presence::Missing | Presence::Unmarked { empty: true } => {
                refuse_foreign(&self.standby)?;
                NewStandby::Empty
            }
            Presence::Unmarked { empty: false } => return Err(foreign_standby(&self.standby)),
            Presence::Marked(marker)
                if marker.pool == self.pool && marker.role == MarkerRole::FormerStandby =>
            {
                NewStandby::Former(marker.store_id, marker.left_ns)
            }
            Presence::Marked(marker) => {
                self.check_own(&marker, MarkerRole::Standby, &self.standby)?;
                NewStandby::Held(marker.store_id)
            }
        };
        Ok(NewPair { source_id, is_empty, standby })
    }

    fn begin_pair(&self, index: &mut ContentIndex, context: &Context) -> Result<()> {
        let NewPair { source_id, is_empty, standby } = self.examine()?;
        let mut held = Spool::new(self.index.folder());
        let mut since_ns = None;
        let standby_id = match standby {
            NewStandby::Empty => self.begin_standby(context, Uuid::new_v4())?,
            NewStandby::Former(standby_id, left_ns) => {
                // Of what an earlier build left nobody knows when: whoever wrote there may have done so at any time.
                since_ns = Some(left_ns.unwrap_or(i64::MIN));
                held = self.held_by_standby(context)?;
                if is_empty && held.len() > 0 {
                    return Err(self.unknown_source(held.len()));
                }
                // The marker comes after the index: until then it says that this was a copy, and when.
                standby_id
            }
            NewStandby::Held(standby_id) => {
                held = self.held_by_standby(context)?;
                // Neither index nor marker says that this is the source of that copy.
                if source_id.is_none() && held.len() > 0 && (is_empty || !context.accept_deletions) {
                    return Err(self.unknown_source(held.len()));
                }
                standby_id
            }
        };
        let source_id = source_id.map_or_else(|| self.mark(MarkerRole::Source, Uuid::new_v4()), Ok)?;
        let adopted = self.adopted(since_ns, held.len() > 0, context);
        index.establish(context.generation, source_id, standby_id, adopted, held.iter())?;
        if since_ns.is_some() {
            self.mark(MarkerRole::Standby, standby_id)?;
        }
        Ok(())
    }

    /// What is known of a standby that is taken over: its history leads to what it holds.
    fn adopted(&self, since_ns: Option<i64>, holds: bool, context: &Context) -> Adopted {
        // One that cannot be read leads nowhere.
        let newest = self.standby.history().revisions().unwrap_or_default().into_iter().next();
        let begun = || Revision { number: 1, since: context.clock.now(), job: None, bytes: 0 };
        let revision = match newest {
            Some(KeptRevision { next: Some(number), until: Some(since), .. }) => {
                Some(Revision { number, since, job: None, bytes: 0 })
            }
            Some(unended) => Some(unended.revision),
            None => holds.then(begun),
        };
        Adopted { since_ns, revision }
    }

    fn begin_standby(&self, context: &Context, standby_id: Uuid) -> Result<Uuid> {
        context.check()?;
        self.standby.create()?;
        self.mark(MarkerRole::Standby, standby_id)
    }

    /// Gives one of the stores an identity.
    pub(super) fn mark(&self, role: MarkerRole, store_id: Uuid) -> Result<Uuid> {
        let store = match role {
            MarkerRole::Source => &self.source,
            MarkerRole::Standby | MarkerRole::FormerStandby | MarkerRole::Unknown => &self.standby,
        };
        store.mark(&Marker { store_id, pool: self.pool.clone(), role, left_ns: None })?;
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

    /// The outer result is what stays an error whatever is accepted; the inner one is a source that is lost or another one.
    fn check_source(&self, pair: &IndexedPair) -> Result<Result<()>> {
        let reason = match self.source.identify()? {
            Presence::Marked(marker) if marker.store_id == pair.source_id => return Ok(Ok(())),
            Presence::Marked(marker) => {
                self.check_own(&marker, MarkerRole::Source, &self.source)?;
                "is not the one that was backed up so far: its marker has another id"
            }
            Presence::Unmarked { .. } => "has lost its marker .csb/store.json",
            Presence::Missing => return Err(self.lost_source("does not exist")),
        };
        Ok(Err(self.lost_source(reason)))
    }

    fn lost_source(&self, reason: &str) -> Error {
        Error::new(
            ErrorKind::ContentStoreUnmounted,
            format!(
                "The content store {} {reason}. Nothing was copied or deleted; the standby copy keeps what it has.",
                self.source.url()
            ),
            "If it is not mounted, mount it. If its content was lost, make the empty folder and run \
             Invoke-CsBackupServiceSync with -BackupModule DataConf for the backup pool, which gives content and \
             marker back. If it was replaced on purpose, run the command again with -AcceptDeletions.",
        )
        .at("store", self.source.url())
        .on(self.source.side)
    }

    /// Lets the standby follow the store that is there, as was accepted.
    fn adopt_source(&self, index: &mut ContentIndex, context: &Context) -> Result<String> {
        context.check()?;
        let marked = match self.source.identify()? {
            Presence::Marked(marker) => Some(marker.store_id),
            Presence::Missing | Presence::Unmarked { .. } => None,
        };
        // The index first: a marker that it does not know would be taken for that of another store once more.
        let source_id = marked.unwrap_or_else(Uuid::new_v4);
        index.adopt_source(context.generation, source_id)?;
        if marked.is_none() {
            self.mark(MarkerRole::Source, source_id)?;
        }
        let message = "The content store is another one than before, or had lost its marker; as -AcceptDeletions asked \
                       for, the standby copy follows it."
            .to_owned();
        context.observer.warning(message.clone());
        Ok(message)
    }

    /// The outer result is what stays an error whatever is forced; the inner one is a standby that is lost, else its role.
    pub(super) fn check_standby(&self, pair: &IndexedPair) -> Result<Result<MarkerRole>> {
        let lost = |reason: &str, advice: &str| {
            Error::new(
                ErrorKind::ContentStoreUnmounted,
                format!("The standby copy {} {reason}. Nothing was copied.", self.standby.url()),
                advice,
            )
            .at("store", self.standby.url())
            .on(self.standby.side)
        };
        let start_afresh = "If it is not mounted, mount it. If it was lost, run the command again with -AcceptDeletions: then \
                            all content is copied again.";
        match self.standby.identify()? {
            Presence::Marked(marker) if marker.store_id == pair.standby_id => Ok(Ok(marker.role)),
            Presence::Missing => Ok(Err(lost("does not exist any more", start_afresh))),
            Presence::Unmarked { empty: true } => {
                refuse_foreign(&self.standby)?;
                Ok(Err(lost("is empty and has no marker", start_afresh)))
            }
            Presence::Unmarked { empty: false } => Err(lost(
                "has lost its marker .csb/store.json",
                "If it is not mounted, mount it. If it is the right folder, move its content away and run the \
                 command again with -AcceptDeletions: then all content is copied again.",
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
             standby's content into it, all but .csb. Then run the command again with -AcceptDeletions.",
        )
        .at("store", self.source.url())
        .on(self.source.side)
    }

    fn check_own(&self, marker: &Marker, role: MarkerRole, store: &End) -> Result<()> {
        if marker.pool == self.pool && marker.role == role {
            return Ok(());
        }
        let what = match marker.role {
            MarkerRole::Source => "the content store",
            MarkerRole::Standby => "the standby copy",
            MarkerRole::FormerStandby => "a former standby copy",
            MarkerRole::Unknown => "something that only a newer build knows",
        };
        Err(Error::new(
            ErrorKind::ForeignContent,
            format!("{} is marked as {what} of {}.", store.url(), marker.pool),
            "Correct content_store in the topology. If the store was used for another pair before, run \
             Disable-CsPoolBackup there first.",
        )
        .at("store", store.url())
        .on(store.side))
    }
}

/// The error for a source that is not there.
pub(super) fn missing_source(source: &End) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("The content store {} does not exist.", source.url()),
        "Mount it, or make the folder if it is new, then run the command again.",
    )
    .at("store", source.url())
    .on(source.side)
}

fn foreign_standby(standby: &End) -> Error {
    Error::new(
        ErrorKind::ForeignContent,
        format!("{} is to become a standby copy, but holds something already.", standby.url()),
        "Move what is in it away, or name another folder in the topology.",
    )
    .at("store", standby.url())
    .on(standby.side)
}
