//! Names that change in their spelling only, where the file system takes both spellings for one name.
//!
//! A rename from one to the other may do nothing there. So the object goes through a temporary name, and it is noted
//! beside the marker where it belongs: a process that dies in between leaves nothing that could be swept.

use std::fs::File;
use std::io::Read;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::aside::ASIDE_FOLDER;
use super::super::handles::rename_new;
use super::super::{ContentPath, FolderStore, OWN_FOLDER, ObjectResult, handles, writing};
use crate::stored::{Stored, StoredDocument};

/// The note's name within [`OWN_FOLDER`].
pub(super) const NOTE: &[u8] = b"respelling.json";

/// A note of a longer path is none.
const LONGEST_NOTE: u64 = 1 << 20;

/// Which object is being given another spelling.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Respelling {
    /// Its name in the folder for temporary files.
    temporary: Uuid,
    /// The path that it gets.
    path: ContentPath,
}

impl StoredDocument for Respelling {
    const NAME: &'static str = "note of a name that gets another spelling";
}

impl FolderStore {
    /// Gives an object the spelling of another path in the same folder.
    pub(in super::super) fn change_spelling(&self, from: &ContentPath, to: &ContentPath) -> ObjectResult<()> {
        let failed = |cause| writing(self, to, cause);
        let (folder, folder_path, name) = self.place(from).map_err(failed)?;
        let (_, new_name) = to.split().ok_or(Errno::INVAL).map_err(failed)?;
        rustix::fs::statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let staging = self.staging_folder_made().map_err(failed)?;
        let note = Respelling { temporary: Uuid::new_v4(), path: to.clone() };
        let temporary = note.temporary.to_string();
        let text = Stored::new(note).to_json()?;
        self.write_own(NOTE, &text).map_err(failed)?;
        let done = rustix::fs::renameat(&*folder, name, &*staging, temporary.as_str())
            .and_then(|()| rename_new(&staging, temporary.as_bytes(), &folder, new_name))
            .inspect_err(|_| {
                // As it was.
                let _ = rename_new(&staging, temporary.as_bytes(), &folder, name);
            });
        self.handles.forget();
        self.touch(folder_path);
        self.flush_names()?;
        self.forget_respelling()?;
        done.map_err(failed)
    }

    /// Ends what a process began that died.
    pub(super) fn finish_respelling(&self) -> crate::error::Result<()> {
        let Some(Respelling { temporary, path }) = self.noted_respelling() else { return Ok(()) };
        let temporary = temporary.to_string();
        let finish = || -> Result<(), Errno> {
            let staging = self.staging_folder()?;
            let is_there = rustix::fs::statat(&*staging, temporary.as_str(), AtFlags::SYMLINK_NOFOLLOW);
            if matches!(is_there, Err(Errno::NOENT)) {
                return Ok(());
            }
            let back = self.place(&path).and_then(|(folder, folder_path, name)| {
                rename_new(&staging, temporary.as_bytes(), &folder, name)?;
                self.touch(folder_path);
                Ok(())
            });
            match back {
                // Somebody has made the name anew, or its folder is gone: then it is kept, and nobody sweeps it.
                Err(Errno::EXIST | Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    let own = handles::below(&*self.handles.root()?, OWN_FOLDER)?;
                    match rustix::fs::mkdirat(&*own, ASIDE_FOLDER, Mode::from_raw_mode(0o700)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(cause) => return Err(cause),
                    }
                    let aside = handles::below(&own, ASIDE_FOLDER)?;
                    rename_new(&staging, temporary.as_bytes(), &aside, temporary.as_bytes())
                }
                done => done,
            }
        };
        match finish() {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(cause) => return Err(self.own_error("rename in", cause)),
        }
        self.handles.forget();
        self.flush_names()?;
        self.forget_respelling()
    }

    fn noted_respelling(&self) -> Option<Respelling> {
        let own = handles::below(&*self.handles.root().ok()?, OWN_FOLDER).ok()?;
        let file = File::from(handles::open_beneath(&own, NOTE, handles::READING).ok()?);
        let mut text = String::new();
        file.take(LONGEST_NOTE).read_to_string(&mut text).ok()?;
        Stored::<Respelling>::read(&text).ok().map(Stored::into_known)
    }

    fn forget_respelling(&self) -> crate::error::Result<()> {
        self.remove_own(None, NOTE, AtFlags::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::ContentStore;

    fn path(text: &str) -> ContentPath {
        ContentPath::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_respelling_that_was_cut_short_is_ended_by_the_next_sweep_and_nothing_of_it_is_swept() {
        // Whether the name is free, whether its folder is there, and where the object is then.
        let cases =
            [(true, true, "folder/Docs/f"), (false, true, ".csb/conflicts"), (true, false, ".csb/conflicts")];
        for (is_free, has_folder, expected) in cases {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().join("store");
            let store = FolderStore::new(root.clone(), Vec::new());
            store.create().unwrap();
            std::fs::create_dir_all(root.join("folder/docs")).unwrap();
            std::fs::write(root.join("folder/docs/f"), "content").unwrap();
            drop(store.stage().unwrap());
            let note = Respelling { temporary: Uuid::new_v4(), path: path("folder/Docs") };
            let temporary = root.join(".csb/tmp").join(note.temporary.to_string());
            store.write_own(NOTE, &Stored::new(note).to_json().unwrap()).unwrap();
            std::fs::rename(root.join("folder/docs"), &temporary).unwrap();
            if !is_free {
                std::fs::write(root.join("folder/Docs"), "of somebody else").unwrap();
            }
            if !has_folder {
                std::fs::remove_dir(root.join("folder")).unwrap();
            }
            FolderStore::new(root.clone(), Vec::new()).sweep().unwrap();
            let found = if expected.starts_with(".csb") {
                root.join(expected).join(temporary.file_name().unwrap()).join("f")
            } else {
                root.join(expected)
            };
            assert_eq!(std::fs::read_to_string(found).unwrap(), "content");
            assert!(!root.join(".csb/respelling.json").exists());
            store.sweep().unwrap();
        }
    }

    #[test]
    fn another_spelling_replaces_nothing_and_leaves_no_note() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let store = FolderStore::new(root.clone(), Vec::new());
        store.create().unwrap();
        for name in ["a", "A", "b"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        store.change_spelling(&path("b"), &path("B")).unwrap();
        // Here both are names of their own.
        store.change_spelling(&path("a"), &path("A")).unwrap_err();
        store.change_spelling(&path("c"), &path("C")).unwrap_err();
        for (name, content) in [("a", "a"), ("A", "A"), ("B", "b")] {
            assert_eq!(std::fs::read_to_string(root.join(name)).unwrap(), content);
        }
        assert!(!root.join("b").exists() && !root.join(".csb/respelling.json").exists());
        assert_eq!(std::fs::read_dir(root.join(".csb/tmp")).unwrap().count(), 0);
    }
}
