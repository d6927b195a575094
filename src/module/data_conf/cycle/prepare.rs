//! What is done for one object before anybody sees it; on several threads, because most of it is waiting.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::DataConf;
use super::super::copier::Copier;
use super::super::meter::Meter;
use super::super::plan::{Step, Work};
use super::super::walk::is_young;
use crate::error::Result;
use crate::module::Context;
use crate::store::content::index::IndexedObject;
use crate::store::content::{
    Attributes, ContentPath, ObjectError, ObjectKind, ObjectMeta, ObjectResult, StagedObject,
};

/// How many prepared objects may wait to be taken. They hold no memory to speak of, but space at the standby.
const PREPARED_AHEAD: usize = 64;

/// An object that waits for its batch to be committed.
pub(super) struct Ready<'a> {
    pub(super) path: ContentPath,
    pub(super) object: IndexedObject,
    pub(super) action: Action<'a>,
}

pub(super) enum Action<'a> {
    /// Publish the staged file.
    Publish(Box<dyn StagedObject + 'a>),
    /// Make the folder.
    Folder { in_place_of_file: bool },
    /// The content is equal, the attributes are not.
    Attributes(Attributes),
    /// Nothing but the index changes.
    Remember,
}

enum Comparison<'a> {
    /// The standby holds this content; what is left to do.
    Equal(Option<(ObjectMeta, Option<[u8; 32]>, Action<'a>)>),
    /// It holds another one.
    Different,
}

/// What became of a step: none if nothing is to be done after all.
pub(super) type Prepared<'a> = ObjectResult<Option<Ready<'a>>>;

/// What is to be prepared, and on how many threads; a single one keeps the order.
pub(super) struct Steps<'s> {
    pub(super) steps: &'s [Step],
    pub(super) threads: usize,
}

/// Prepares every step, in any order; `take` gets what becomes of each. When it fails, the rest is left.
pub(super) fn prepare_all<'a>(
    module: &'a DataConf,
    context: &Context,
    scan_ns: i64,
    meter: &Meter<'_>,
    steps: Steps<'_>,
    take: impl FnMut(&Step, Prepared<'a>) -> Result<()>,
) -> Result<()> {
    let Steps { steps, threads } = steps;
    let cancel = context.cancel.child_token();
    let own = Context { cancel: cancel.clone(), ..context.clone() };
    let next = AtomicUsize::new(0);
    let (sender, prepared) = sync_channel(PREPARED_AHEAD);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (own, next, sender) = (&own, &next, sender.clone());
            scope.spawn(move || Preparer::new(module, own, scan_ns, meter).serve(steps, next, &sender));
        }
        drop(sender);
        let done = take_all(prepared, take);
        // Whoever is in the middle of a big file need not finish it.
        cancel.cancel();
        done
    })
}

fn take_all<'s, 'a>(
    prepared: Receiver<(&'s Step, Prepared<'a>)>,
    mut take: impl FnMut(&Step, Prepared<'a>) -> Result<()>,
) -> Result<()> {
    prepared.into_iter().try_for_each(|(step, prepared)| take(step, prepared))
}

struct Preparer<'a, 'c> {
    module: &'a DataConf,
    context: &'c Context,
    scan_ns: i64,
    meter: &'c Meter<'c>,
    copier: Copier<'a, 'c>,
}

impl<'a, 'c> Preparer<'a, 'c> {
    fn new(module: &'a DataConf, context: &'c Context, scan_ns: i64, meter: &'c Meter<'_>) -> Self {
        let copier = Copier::new(module.source.as_ref(), module.standby.as_ref(), context);
        Preparer { module, context, scan_ns, meter, copier }
    }

    fn serve<'s>(
        mut self,
        steps: &'s [Step],
        next: &AtomicUsize,
        sender: &SyncSender<(&'s Step, Prepared<'a>)>,
    ) {
        while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
            let prepared = self.context.check().map_err(ObjectError::Store);
            let prepared = prepared.and_then(|()| self.prepare(step));
            if sender.send((step, prepared)).is_err() {
                return;
            }
        }
    }

    fn prepare(&mut self, step: &Step) -> Prepared<'a> {
        let path = step.path();
        let (meta, hash, action) = match &step.work {
            Work::Folder => (self.folder(&path)?, None, Action::Folder { in_place_of_file: false }),
            Work::FolderForFile => (self.folder(&path)?, None, Action::Folder { in_place_of_file: true }),
            Work::Compare(known) => match self.compare(&path, known)? {
                Comparison::Equal(None) => return Ok(None),
                Comparison::Equal(Some(done)) => done,
                Comparison::Different => self.stage(&path)?,
            },
            Work::Copy => self.stage(&path)?,
        };
        let object = IndexedObject { meta, hash, indexed_ns: self.scan_ns, settled: true };
        Ok(Some(Ready { path, object, action }))
    }

    fn stage(&mut self, path: &ContentPath) -> ObjectResult<(ObjectMeta, Option<[u8; 32]>, Action<'a>)> {
        let copied = self.copier.copy(path, None, self.meter)?;
        Ok((copied.meta, Some(copied.hash), Action::Publish(copied.staged)))
    }

    fn folder(&self, path: &ContentPath) -> ObjectResult<ObjectMeta> {
        let meta = self.module.source.stat(path)?;
        // Replaced by a file since the walk.
        if meta.kind == ObjectKind::Folder { Ok(meta) } else { Err(ObjectError::Gone) }
    }

    /// The content that the standby holds, where the index was lost that knew it.
    fn held(&self, path: &ContentPath) -> ObjectResult<Option<[u8; 32]>> {
        let standby = self.module.standby.as_ref();
        match Copier::new(standby, standby, self.context).hash(path, self.meter) {
            Ok((meta, hash)) => {
                self.meter.take_back(meta.size);
                Ok(Some(hash))
            }
            Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn compare(&mut self, path: &ContentPath, known: &IndexedObject) -> ObjectResult<Comparison<'a>> {
        let (meta, hash) = self.copier.hash(path, self.meter)?;
        let held = match known.hash {
            None => self.held(path)?,
            known => known,
        };
        if held != Some(hash) {
            self.meter.take_back(meta.size);
            return Ok(Comparison::Different);
        }
        if meta.attributes() != known.meta.attributes() {
            return Ok(Comparison::Equal(Some((meta, held, Action::Attributes(meta.attributes())))));
        }
        // As long as it is young it is compared in every cycle, whatever the index says.
        let nothing_new = meta.is_same_version(&known.meta) && is_young(&meta, self.scan_ns);
        Ok(Comparison::Equal((!nothing_new).then_some((meta, held, Action::Remember))))
    }
}
