//! What a cycle is going to do.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::walk::ObjectDifference;
use crate::error::Result;
use crate::store::content::hints::{Want, What};
use crate::store::content::index::IndexedObject;
use crate::store::content::spool::Spool;
use crate::store::content::{ContentPath, ObjectKind, ObjectMeta};

/// What to do with one object of the source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum ObjectWork {
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ObjectStep {
    pub(super) path: ContentPath,
    pub(super) work: ObjectWork,
    /// What the standby is known to hold under this name, where the work does not say so itself.
    over: Option<Box<IndexedObject>>,
}

impl ObjectStep {
    /// What is asked of the source before the object is copied; whoever only rehearses reads nothing that is new.
    pub(super) fn want(&self, rehearses: bool) -> Want {
        let content = if rehearses { What::Head } else { What::Content };
        let compared = if rehearses { What::Hash } else { What::Content };
        let (what, held) = match &self.work {
            ObjectWork::Folder(_) | ObjectWork::FolderForFile | ObjectWork::Link => (What::Head, None),
            ObjectWork::Copy => (content, None),
            ObjectWork::Rename(earlier) => (compared, earlier.1.hash),
            // What the standby holds has to be read first.
            ObjectWork::Compare(known) if !known.settled => (What::Hash, None),
            ObjectWork::Compare(known) => (compared, known.hash),
        };
        Want { path: self.path.clone(), what, held }
    }

    /// No more than what is known of the object without reading it.
    pub(super) fn head(&self) -> Option<Want> {
        Some(Want::head(self.path.clone()))
    }

    /// Whether the object, which looks like this now, is pending, or was only to be compared because it is young.
    pub(super) fn is_real(&self, now: &ObjectMeta) -> bool {
        match &self.work {
            ObjectWork::Compare(known) => !now.is_same_version(&known.meta),
            ObjectWork::Folder(Some(known)) => now.mode != known.meta.mode || now.owner != known.meta.owner,
            ObjectWork::Folder(None)
            | ObjectWork::FolderForFile
            | ObjectWork::Copy
            | ObjectWork::Rename(_)
            | ObjectWork::Link => true,
        }
    }

    /// What the standby is known to hold under this name.
    pub(super) fn over(&self) -> Option<&IndexedObject> {
        match &self.work {
            ObjectWork::Folder(Some(known)) => Some(known),
            ObjectWork::Compare(known) => Some(known).filter(|known| known.settled).map(AsRef::as_ref),
            _ => self.over.as_deref(),
        }
    }

    /// What a comparison of both stores asks for.
    pub(super) fn repair(path: ContentPath, known: &IndexedObject) -> Self {
        let work = match known.meta.kind {
            // Whatever has its name there gives way, and is kept.
            ObjectKind::Folder => ObjectWork::FolderForFile,
            ObjectKind::File => ObjectWork::Copy,
            ObjectKind::Link => ObjectWork::Link,
        };
        ObjectStep { path, work, over: Some(Box::new(*known)) }
    }
}

/// One object to delete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Deletion {
    pub(super) path: ContentPath,
    pub(super) meta: ObjectMeta,
}

/// Everything that a cycle is going to do, in its order.
pub(super) struct CyclePlan {
    /// Folders, each after the one that it is in.
    pub(super) folders: Spool<ObjectStep>,
    /// Files and links to copy or compare.
    pub(super) files: Spool<ObjectStep>,
    /// What is in folders before these.
    pub(super) deletions: Spool<Deletion>,
    /// Files in the place of folders, which have to be deleted first.
    pub(super) after_deletions: Spool<ObjectStep>,
    bytes: u64,
    /// Bytes of files that are certainly to be copied.
    to_copy: u64,
    /// How many files and links may get another content.
    pub(super) replacements: u64,
}

impl CyclePlan {
    /// Nothing to do yet. What does not fit into memory is kept in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        CyclePlan {
            folders: Spool::new(folder),
            files: Spool::new(folder),
            deletions: Spool::new(folder),
            after_deletions: Spool::new(folder),
            bytes: 0,
            to_copy: 0,
            replacements: 0,
        }
    }

    /// Adds what one difference asks for; a new file may have had another name.
    pub(super) fn add(
        &mut self,
        path: ContentPath,
        difference: ObjectDifference,
        earlier: Option<(ContentPath, IndexedObject)>,
    ) -> Result<()> {
        let over = match &difference {
            ObjectDifference::Write { over, .. } => over.map(Box::new),
            ObjectDifference::Compare { .. } | ObjectDifference::Delete { .. } => None,
        };
        let may_replace = match &difference {
            ObjectDifference::Write { over, .. } => over.is_some(),
            ObjectDifference::Compare { meta, known, is_real } => {
                *is_real && known.settled && meta.kind != ObjectKind::Folder
            }
            ObjectDifference::Delete { .. } => false,
        };
        self.replacements += u64::from(may_replace);
        let copy = || earlier.map_or(ObjectWork::Copy, |earlier| ObjectWork::Rename(Box::new(earlier)));
        let (list, size, work) = match difference {
            ObjectDifference::Delete { known, .. } => {
                return self.deletions.push(&Deletion { path, meta: known.meta });
            }
            ObjectDifference::Write { meta, replaces, .. } => match (meta.kind, replaces) {
                (ObjectKind::Folder, Some(_)) => (&mut self.folders, 0, ObjectWork::FolderForFile),
                (ObjectKind::Folder, None) => (&mut self.folders, 0, ObjectWork::Folder(None)),
                (ObjectKind::File, Some(_)) => (&mut self.after_deletions, meta.size, copy()),
                (ObjectKind::File, None) => (&mut self.files, meta.size, copy()),
                (ObjectKind::Link, Some(_)) => (&mut self.after_deletions, 0, ObjectWork::Link),
                (ObjectKind::Link, None) => (&mut self.files, 0, ObjectWork::Link),
            },
            ObjectDifference::Compare { meta, known, .. } if meta.kind == ObjectKind::Folder => {
                (&mut self.folders, 0, ObjectWork::Folder(Some(Box::new(known))))
            }
            ObjectDifference::Compare { meta, known, .. } => {
                (&mut self.files, meta.size, ObjectWork::Compare(Box::new(known)))
            }
        };
        self.bytes = self.bytes.saturating_add(size);
        if matches!(work, ObjectWork::Copy) {
            self.to_copy = self.to_copy.saturating_add(size);
        }
        list.push(&ObjectStep { path, work, over })
    }

    /// How many bytes of files are certainly to be copied, whatever they replace.
    pub(super) fn to_copy(&self) -> u64 {
        self.to_copy
    }

    /// Objects and bytes to be read.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.folders.len() + self.files.len() + self.after_deletions.len(), self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::Ownership;

    fn meta(kind: ObjectKind) -> ObjectMeta {
        let owner = Ownership { user: 1, group: 2 };
        ObjectMeta { kind, size: 3, mtime_ns: 4, ctime_ns: 5, inode: 6, device: 7, mode: 0o755, owner }
    }

    fn known(meta: ObjectMeta) -> Box<IndexedObject> {
        Box::new(IndexedObject { meta, hash: None, extended: None, indexed_ns: 0, settled: true })
    }

    fn path() -> ContentPath {
        ContentPath::root().join(b"f").unwrap()
    }

    #[test]
    fn what_was_only_to_be_compared_is_not_pending() {
        let (file, folder) = (meta(ObjectKind::File), meta(ObjectKind::Folder));
        let is_real = |work, now: &ObjectMeta| ObjectStep { path: path(), work, over: None }.is_real(now);
        let compare = || ObjectWork::Compare(known(file));
        assert!(!is_real(compare(), &file));
        assert!(is_real(compare(), &ObjectMeta { ctime_ns: 9, ..file }));
        let change = || ObjectWork::Folder(Some(known(folder)));
        assert!(
            !is_real(change(), &ObjectMeta { ctime_ns: 9, ..folder }),
            "names in it are objects of their own"
        );
        assert!(is_real(change(), &ObjectMeta { mode: 0o700, ..folder }));
        assert!(is_real(change(), &ObjectMeta { owner: Ownership::default(), ..folder }));
        for new in [ObjectWork::Folder(None), ObjectWork::FolderForFile, ObjectWork::Copy, ObjectWork::Link] {
            assert!(is_real(new, &file));
        }
    }

    #[test]
    fn each_difference_has_its_place_in_the_plan() {
        let [file, folder, link] = [ObjectKind::File, ObjectKind::Folder, ObjectKind::Link].map(meta);
        let mut plan = CyclePlan::new(Path::new("/nowhere"));
        let mut add = |difference| plan.add(path(), difference, None).unwrap();
        let replaces = Some(ObjectKind::Folder);
        for meta in [file, link] {
            add(ObjectDifference::Write { meta, replaces: None, over: None });
            add(ObjectDifference::Write { meta, replaces, over: None });
            add(ObjectDifference::Compare { meta, known: *known(meta), is_real: true });
        }
        add(ObjectDifference::Write { meta: folder, replaces: None, over: None });
        add(ObjectDifference::Write {
            meta: folder,
            replaces: Some(ObjectKind::File),
            over: Some(*known(file)),
        });
        add(ObjectDifference::Compare { meta: folder, known: *known(folder), is_real: true });
        add(ObjectDifference::Delete { known: *known(file), is_displaced: false });
        let lengths = [&plan.folders, &plan.files, &plan.after_deletions].map(Spool::len);
        assert_eq!((lengths, plan.deletions.len()), ([3, 4, 2], 1));
        // Three times the file, and the link that is read to be compared.
        assert_eq!(plan.totals(), (9, 4 * file.size));
    }
}
