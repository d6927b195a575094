//! One walk of a source, compared with what its standby is known to hold.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::lister;
use crate::error::{Error, ErrorKind, Result};
use crate::report::QuarantinedItem;
use crate::store::content::index::{ContentIndex, IndexedObject};
use crate::store::content::{ContentPath, ContentStore, Entry, ObjectError, ObjectKind, ObjectMeta, Refusal};

/// The coarsest clock of a file system that is met in practice (FAT; SMB shares may show it). Two changes within it
/// may leave the same times.
pub(super) const TICK_NS: i64 = 2_000_000_000;

/// How one object of the source and the index differ.
#[derive(Clone, Debug)]
pub(super) enum Difference {
    /// The standby lacks it or holds another version.
    Write {
        /// The source's object.
        meta: ObjectMeta,
        /// The standby holds something of another kind under this name.
        replaces: Option<ObjectKind>,
    },
    /// Only reading tells.
    Compare {
        /// The source's object.
        meta: ObjectMeta,
        /// What the standby holds.
        known: IndexedObject,
        /// Whether something is known to have changed, though perhaps not the content; else everything looks equal,
        /// but the file was so young when it was indexed that a change could hide.
        is_real: bool,
    },
    /// The source lacks it.
    Delete {
        /// What the standby holds.
        known: IndexedObject,
        /// Whether the source has a file where the standby has this folder, or the folder above.
        is_displaced: bool,
    },
}

/// What a walk found besides the differences.
#[derive(Default)]
pub(super) struct Walked {
    /// Objects listed.
    pub(super) listed: u64,
    /// What could not be looked at. Nothing that the standby holds of it is a difference.
    pub(super) quarantined: Vec<QuarantinedItem>,
}

/// Told about each difference: folder, name, difference. Folders come before what is in them.
pub(super) type Visit<'a> = dyn FnMut(&Arc<ContentPath>, &[u8], Difference) + 'a;

/// Walks the source once; `listed` is told how many objects have been listed so far.
pub(super) fn walk(
    source: &dyn ContentStore,
    index: Option<&ContentIndex>,
    cancel: &CancellationToken,
    listed: &mut dyn FnMut(u64),
    visit: &mut Visit<'_>,
) -> Result<Walked> {
    let mut walk = Walk { index, cancel, visit, walked: Walked::default() };
    lister::list(source, cancel, &mut |(folder, listing)| {
        let next = match listing {
            Ok(entries) => walk.folder(folder, entries)?,
            Err(ObjectError::Store(error)) => return Err(error),
            Err(failure) if folder.is_root() => return Err(unreadable_root(source, failure)),
            // Gone since its parent was listed; the next walk will not list it at all.
            Err(ObjectError::Gone) => Vec::new(),
            Err(ObjectError::Refused(refusal)) => {
                walk.quarantine(&folder, refusal);
                Vec::new()
            }
        };
        listed(walk.walked.listed);
        Ok(next)
    })?;
    let mut walked = walk.walked;
    // Folders are listed in any order.
    walked.quarantined.sort_unstable_by(|a, b| a.item.cmp(&b.item));
    Ok(walked)
}

struct Walk<'a, 'v> {
    index: Option<&'a ContentIndex>,
    cancel: &'a CancellationToken,
    visit: &'a mut Visit<'v>,
    walked: Walked,
}

impl Walk<'_, '_> {
    /// Compares one folder; the folders in it are to be listed next.
    fn folder(&mut self, folder: ContentPath, entries: Vec<Entry>) -> Result<Vec<ContentPath>> {
        let known = self.index.map_or(Ok(Vec::new()), |index| index.folder(&folder))?;
        let folder = Arc::new(folder);
        self.walked.listed += entries.len() as u64;
        let mut known = known.into_iter().peekable();
        let mut subfolders = Vec::new();
        for entry in entries {
            while let Some((name, object)) = known.next_if(|(name, _)| *name < entry.name) {
                self.delete(&folder, &name, object, false)?;
            }
            let known = known.next_if(|(name, _)| *name == entry.name).map(|(_, object)| object);
            match entry.object {
                Err(refusal) => {
                    if let Some(path) = folder.join(&entry.name) {
                        self.quarantine(&path, refusal);
                    }
                }
                Ok(meta) => {
                    self.compare(&folder, &entry.name, meta, known)?;
                    if meta.kind == ObjectKind::Folder {
                        subfolders.extend(folder.join(&entry.name));
                    }
                }
            }
        }
        for (name, object) in known {
            self.delete(&folder, &name, object, false)?;
        }
        Ok(subfolders)
    }

    fn compare(
        &mut self,
        folder: &Arc<ContentPath>,
        name: &[u8],
        meta: ObjectMeta,
        known: Option<IndexedObject>,
    ) -> Result<()> {
        // Files and links take each other's place at once, folders do not.
        let is_folder = |kind| kind == ObjectKind::Folder;
        let replaced = known.filter(|known| is_folder(known.meta.kind) != is_folder(meta.kind));
        if let Some(object) = replaced
            && object.meta.kind == ObjectKind::Folder
        {
            self.delete(folder, name, object, true)?;
        }
        let known = known.filter(|known| known.meta.kind == meta.kind);
        let difference = match known {
            None => Difference::Write { meta, replaces: replaced.map(|known| known.meta.kind) },
            Some(known) => match compare(&meta, known) {
                None => return Ok(()),
                Some(difference) => difference,
            },
        };
        (self.visit)(folder, name, difference);
        Ok(())
    }

    /// The object and everything below it.
    fn delete(
        &mut self,
        folder: &Arc<ContentPath>,
        name: &[u8],
        known: IndexedObject,
        is_displaced: bool,
    ) -> Result<()> {
        (self.visit)(folder, name, Difference::Delete { known, is_displaced });
        let (Some(index), ObjectKind::Folder) = (self.index, known.meta.kind) else { return Ok(()) };
        let Some(path) = folder.join(name) else { return Ok(()) };
        for (path, known) in index.below(&path)? {
            if self.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if let Some((folder, name)) = path.split() {
                (self.visit)(&Arc::new(folder), name, Difference::Delete { known, is_displaced });
            }
        }
        Ok(())
    }

    fn quarantine(&mut self, path: &ContentPath, refusal: Refusal) {
        self.walked.quarantined.push(quarantined(path, refusal));
    }
}

/// How an object differs from what the standby holds, which is of the same kind.
fn compare(meta: &ObjectMeta, known: IndexedObject) -> Option<Difference> {
    let write = Difference::Write { meta: *meta, replaces: None };
    let may_be_equal = meta.size == known.meta.size && meta.mtime_ns == known.meta.mtime_ns;
    if !known.settled {
        // What is there under this name is not known, but may be read: the index may have been lost.
        let is_folder = meta.kind == ObjectKind::Folder;
        let is_real = !is_folder || meta.mode != known.meta.mode;
        let compare = Difference::Compare { meta: *meta, known, is_real };
        return Some(if is_folder || may_be_equal { compare } else { write });
    }
    if meta.kind == ObjectKind::Folder {
        // A folder's times change with every name in it, and names are compared one by one.
        let is_real = meta.mode != known.meta.mode || meta.owner != known.meta.owner;
        let compare = Difference::Compare { meta: *meta, known, is_real };
        return (is_real || !meta.is_same_version(&known.meta)).then_some(compare);
    }
    if meta.is_same_version(&known.meta) {
        let compare = Difference::Compare { meta: *meta, known, is_real: false };
        return is_young(meta, known.indexed_ns).then_some(compare);
    }
    // Attributes were changed, or the file was restored or touched: that is no reason to send it again.
    if meta.size == known.meta.size && known.hash.is_some() {
        return Some(Difference::Compare { meta: *meta, known, is_real: true });
    }
    Some(write)
}

/// Whether a file was changed so shortly before it was compared that a later change may have left equal times.
pub(super) fn is_young(meta: &ObjectMeta, compared_ns: i64) -> bool {
    meta.mtime_ns.max(meta.ctime_ns) >= compared_ns.saturating_sub(TICK_NS)
}

/// An item of the report.
pub(super) fn quarantined(path: &ContentPath, refusal: Refusal) -> QuarantinedItem {
    QuarantinedItem { item: path.to_string(), reason: refusal.reason, advice: refusal.advice }
}

fn unreadable_root(source: &dyn ContentStore, failure: ObjectError) -> Error {
    let (reason, advice) = match failure {
        ObjectError::Refused(refusal) => (refusal.reason, refusal.advice),
        ObjectError::Gone | ObjectError::Store(_) => {
            ("It has gone.".to_owned(), "Check that its file system is mounted.".to_owned())
        }
    };
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("The content store {} cannot be listed. {reason}", source.url()),
        advice,
    )
    .at("store", source.url())
}
