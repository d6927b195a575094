//! What a cycle is going to do. Kept small: a first copy has a step for every object.

use std::sync::Arc;

use super::walk::Difference;
use crate::store::content::index::IndexedObject;
use crate::store::content::{ContentPath, ObjectKind, ObjectMeta};

/// What to do with one object of the source.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Make the folder, or change what the standby is known to have of it.
    Folder(Option<Box<IndexedObject>>),
    /// Make the folder in the place of a file.
    FolderForFile,
    /// Copy the file.
    Copy,
    /// The file was renamed, as it seems: give the copy of this name another one, if it has the same content.
    Rename(Box<(ContentPath, IndexedObject)>),
    /// Copy the link.
    Link,
    /// Read the file or link, and copy it if it is not what the standby holds.
    Compare(Box<IndexedObject>),
}

/// One object to copy or compare.
#[derive(Clone, Debug)]
pub(super) struct Step {
    folder: Arc<ContentPath>,
    name: Box<[u8]>,
    /// Bytes, as the walk saw them.
    pub(super) size: u64,
    pub(super) work: Work,
}

impl Step {
    /// Whether the object, which looks like this now, is pending, or was only to be compared because it is young.
    pub(super) fn is_real(&self, now: &ObjectMeta) -> bool {
        match &self.work {
            Work::Compare(known) => !now.is_same_version(&known.meta),
            Work::Folder(Some(known)) => now.mode != known.meta.mode || now.owner != known.meta.owner,
            Work::Folder(None) | Work::FolderForFile | Work::Copy | Work::Rename(_) | Work::Link => true,
        }
    }

    /// What a comparison of both stores asks for; none for the root.
    pub(super) fn repair(path: &ContentPath, meta: &ObjectMeta) -> Option<Self> {
        let (folder, name) = path.split()?;
        let work = match meta.kind {
            // Whatever has its name there gives way, and is kept.
            ObjectKind::Folder => Work::FolderForFile,
            ObjectKind::File => Work::Copy,
            ObjectKind::Link => Work::Link,
        };
        Some(Step { folder: Arc::new(folder), name: name.into(), size: meta.size, work })
    }

    /// The object's path; the walk made it of valid names.
    pub(super) fn path(&self) -> ContentPath {
        self.folder.join(&self.name).unwrap_or_default()
    }
}

/// One object to delete.
#[derive(Clone, Debug)]
pub(super) struct Deletion {
    pub(super) path: ContentPath,
    pub(super) meta: ObjectMeta,
}

/// Everything that a cycle is going to do, in its order.
#[derive(Default)]
pub(super) struct Plan {
    /// Folders, each after the one that it is in.
    pub(super) folders: Vec<Step>,
    /// Files and links to copy or compare.
    pub(super) files: Vec<Step>,
    /// What is in folders before these.
    pub(super) deletions: Vec<Deletion>,
    /// Files in the place of folders, which have to be deleted first.
    pub(super) after_deletions: Vec<Step>,
}

impl Plan {
    /// Adds what one difference asks for; a new file may have had another name.
    pub(super) fn add(
        &mut self,
        folder: &Arc<ContentPath>,
        name: &[u8],
        difference: Difference,
        earlier: Option<(ContentPath, IndexedObject)>,
    ) {
        let copy = || earlier.map_or(Work::Copy, |earlier| Work::Rename(Box::new(earlier)));
        let step = |size, work| Step { folder: folder.clone(), name: name.into(), size, work };
        match difference {
            Difference::Write { meta, replaces } => match (meta.kind, replaces) {
                (ObjectKind::Folder, Some(_)) => self.folders.push(step(0, Work::FolderForFile)),
                (ObjectKind::Folder, None) => self.folders.push(step(0, Work::Folder(None))),
                (ObjectKind::File, Some(_)) => self.after_deletions.push(step(meta.size, copy())),
                (ObjectKind::File, None) => self.files.push(step(meta.size, copy())),
                (ObjectKind::Link, Some(_)) => self.after_deletions.push(step(0, Work::Link)),
                (ObjectKind::Link, None) => self.files.push(step(0, Work::Link)),
            },
            Difference::Compare { meta, known, .. } if meta.kind == ObjectKind::Folder => {
                self.folders.push(step(0, Work::Folder(Some(Box::new(known)))));
            }
            Difference::Compare { meta, known, .. } => {
                self.files.push(step(meta.size, Work::Compare(Box::new(known))));
            }
            Difference::Delete { known, .. } => {
                let path = folder.join(name).unwrap_or_default();
                self.deletions.push(Deletion { path, meta: known.meta });
            }
        }
    }

    /// Puts the deletions into their order, once all are known: the path of a folder is a prefix of the paths in it.
    pub(super) fn finish(&mut self) {
        self.deletions.sort_unstable_by(|a, b| b.path.cmp(&a.path));
    }

    /// Objects and bytes to be read.
    pub(super) fn totals(&self) -> (u64, u64) {
        let steps = || self.folders.iter().chain(&self.files).chain(&self.after_deletions);
        let bytes = steps().fold(0u64, |sum, step| sum.saturating_add(step.size));
        (steps().count() as u64, bytes)
    }
}
