//! A store that is written here and read as one at another machine.

use super::super::super::folder::FolderStore;
use super::super::super::remote::RemoteContent;
use super::super::super::remote::tests::joined::{Joined, joined};
use super::super::*;
use crate::error::Result;
use crate::store::content::abilities::Abilities;
use crate::store::content::history::ContentHistory;
use crate::store::content::room::Room;

pub(in super::super) struct ReadFromAfar {
    _line: Joined,
    here: FolderStore,
    there: RemoteContent,
}

pub(in super::super) fn afar() -> (tempfile::TempDir, ReadFromAfar) {
    let folder = tempfile::tempdir().unwrap();
    let here = FolderStore::new(folder.path().join("store"), Vec::new());
    let line = joined(folder.path(), PoolFqdn::parse("atl.example.com").unwrap());
    let there = line.store("store", &[]);
    (folder, ReadFromAfar { _line: line, here, there })
}

/// Each method is that of one of both.
macro_rules! of {
    ($end:ident: $($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> $result {
            self.$end.$name($($argument),*)
        })*
    };
}

impl ContentStore for ReadFromAfar {
    of! { there:
        url() -> String;
        is_elsewhere() -> bool;
        foreign() -> Result<Vec<ContentPath>>;
        foreseen_abilities() -> Arc<Abilities>;
        tick_ns() -> i64;
        list(folder: &ContentPath, cancel: &CancellationToken) -> ObjectResult<Listing>;
        stat(path: &ContentPath) -> ObjectResult<ObjectMeta>;
        read(path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>>;
        read_link(path: &ContentPath) -> ObjectResult<Box<[u8]>>;
        folder_extended(path: &ContentPath) -> ObjectResult<Extended>;
    }

    of! { here:
        check_writable() -> Result<()>;
        check_place(path: &ContentPath) -> ObjectResult<()>;
        create() -> Result<()>;
        mark(marker: &Marker) -> Result<()>;
        abilities() -> Result<Arc<Abilities>>;
        respell(from: &ContentPath, to: &ContentPath) -> ObjectResult<()>;
        sweep() -> Result<u64>;
        keeps_owners() -> bool;
        room() -> Option<Room>;
        keep_free(bytes: u64) -> ();
        taken_by(path: &ContentPath) -> ObjectResult<u64>;
        stage() -> ObjectResult<Box<dyn StagedObject + '_>>;
        stage_over(path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>>;
        stage_link(target: &[u8], attributes: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>>;
        stage_same(path: &ContentPath, version: Version) -> ObjectResult<Option<Box<dyn StagedObject + '_>>>;
        harden() -> Result<()>;
        set_attributes(path: &ContentPath, attributes: Attributes) -> ObjectResult<()>;
        set_extended(path: &ContentPath, extended: &Extended) -> ObjectResult<bool>;
        make_folder(path: &ContentPath, mode: u32) -> ObjectResult<()>;
        remove(path: &ContentPath, kind: ObjectKind) -> ObjectResult<()>;
        set_aside(path: &ContentPath, occasion: &str) -> ObjectResult<ContentPath>;
        flush() -> Result<()>;
    }

    fn reopen(&self) -> Box<dyn ContentStore> {
        self.there.reopen()
    }

    fn identify(&self) -> Result<Presence> {
        self.here.identify()?;
        self.there.identify()
    }

    /// Told once for each operation.
    fn now_ns(&self) -> Option<i64> {
        self.there.reopen().now_ns()
    }

    fn unmark(&self, dry_run: bool) -> Result<Vec<ContentTrace>> {
        if dry_run { self.there.unmark(true) } else { self.here.unmark(false) }
    }

    fn history(&self) -> &dyn ContentHistory {
        self.here.history()
    }
}
