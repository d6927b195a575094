//! One of the two stores of a pair: whatever fails there says on which side of the copying it lies.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result, Side};
use crate::store::content::abilities::Abilities;
use crate::store::content::groups::Groups;
use crate::store::content::hints::{FoundFolder, KnownListings, Want};
use crate::store::content::history::ContentHistory;
use crate::store::content::index::IndexedObject;
use crate::store::content::room::Room;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, ContentTrace, Extended, HashedFile, Held, Instance,
    Listing, Marker, ObjectError, ObjectKind, ObjectMeta, ObjectResult, Presence, StagedObject, TakesCount,
    TakesGroup, Version,
};

/// A store that is read or written on one side.
pub(super) struct End {
    store: Box<dyn ContentStore>,
    pub(super) side: Side,
}

impl End {
    pub(super) fn new(store: Box<dyn ContentStore>, side: Side) -> Self {
        End { store, side }
    }

    /// The same store with handles of its own, on this side.
    pub(super) fn reopened(&self, side: Side) -> Self {
        End::new(self.store.reopen(), side)
    }

    /// What becomes of the store, on the same side.
    pub(super) fn map(self, change: impl FnOnce(Box<dyn ContentStore>) -> Box<dyn ContentStore>) -> Self {
        End { store: change(self.store), side: self.side }
    }
}

/// A failure of what was done with one object, on its side.
fn object_failed_on(side: Side) -> impl Fn(ObjectError) -> ObjectError + Copy {
    move |failure| match failure {
        ObjectError::Store(error) => ObjectError::Store(side.failed()(error)),
        of_object => of_object,
    }
}

/// A file of a store that is read on one side.
struct SidedReader<'a>(Box<dyn ContentReader + 'a>, Side);

/// A file of a store that is written on one side.
struct Staged<'a>(Box<dyn StagedObject + 'a>, Side);

/// Every method that can fail is the store's own.
macro_rules! of_store {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> Result<$result> {
            self.store.$name($($argument),*).map_err(self.side.failed())
        })*
    };
}

macro_rules! of_object {
    ($($name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $type),*) -> ObjectResult<$result> {
            self.store.$name($($argument),*).map_err(object_failed_on(self.side))
        })*
    };
}

impl ContentStore for End {
    fn url(&self) -> String {
        self.store.url()
    }

    fn reopen(&self) -> Box<dyn ContentStore> {
        Box::new(self.reopened(self.side))
    }

    fn is_elsewhere(&self) -> bool {
        self.store.is_elsewhere()
    }

    fn walk(
        &self,
        known: Option<&dyn KnownListings>,
        cancel: &CancellationToken,
        take: &mut dyn FnMut(FoundFolder) -> Result<()>,
    ) -> Result<bool> {
        // What taking a folder fails with has another side.
        let mut refused = None;
        let walked = self.store.walk(known, cancel, &mut |found| {
            let found = match found {
                FoundFolder::Listed { folder, listing, is_as_walked } => {
                    let listing = listing.map_err(object_failed_on(self.side));
                    FoundFolder::Listed { folder, listing, is_as_walked }
                }
                same @ FoundFolder::Same { .. } => same,
            };
            take(found).map_err(|error| {
                refused = Some(error);
                Error::cancelled()
            })
        });
        match refused {
            Some(error) => Err(error),
            None => walked.map_err(self.side.failed()),
        }
    }

    fn hashed(&self, path: &ContentPath, held: Option<&[u8; 32]>) -> ObjectResult<Option<HashedFile>> {
        self.store.hashed(path, held).map_err(object_failed_on(self.side))
    }

    fn now_ns(&self) -> Option<i64> {
        self.store.now_ns()
    }

    fn tick_ns(&self) -> i64 {
        self.store.tick_ns()
    }

    fn keeps_owners(&self) -> bool {
        self.store.keeps_owners()
    }

    fn foreseen_abilities(&self) -> Arc<Abilities> {
        self.store.foreseen_abilities()
    }

    /// Its failures are the standby's: nothing else has a history.
    fn history(&self) -> &dyn ContentHistory {
        self.store.history()
    }

    fn room(&self) -> Option<Room> {
        self.store.room()
    }

    fn keep_free(&self, bytes: u64) {
        self.store.keep_free(bytes);
    }

    of_store! {
        begin(known: Option<&dyn KnownListings>, cancel: &CancellationToken) -> ();
        expect(wanted: Vec<Want>) -> ();
        identify() -> Presence;
        check_writable() -> ();
        check_markable() -> ();
        create() -> ();
        mark(marker: &Marker) -> ();
        unmark(dry_run: bool) -> Vec<ContentTrace>;
        foreign() -> Vec<ContentPath>;
        abilities() -> Arc<Abilities>;
        sweep() -> u64;
        harden() -> ();
        flush() -> ();
    }

    of_object! {
        list(folder: &ContentPath, cancel: &CancellationToken) -> Listing;
        stat(path: &ContentPath) -> ObjectMeta;
        taken_by(path: &ContentPath) -> u64;
        check_place(path: &ContentPath) -> ();
        read_link(path: &ContentPath) -> Box<[u8]>;
        folder_extended(path: &ContentPath) -> Extended;
        set_attributes(path: &ContentPath, attributes: Attributes) -> ();
        set_extended(path: &ContentPath, extended: &Extended) -> bool;
        respell(from: &ContentPath, to: &ContentPath) -> ();
        make_folder(path: &ContentPath, mode: u32) -> ();
        remove(path: &ContentPath, kind: ObjectKind) -> ();
        set_aside(path: &ContentPath, occasion: &str) -> ContentPath;
    }

    fn read(&self, path: &ContentPath) -> ObjectResult<Box<dyn ContentReader + '_>> {
        let reader = self.store.read(path).map_err(object_failed_on(self.side))?;
        Ok(Box::new(SidedReader(reader, self.side)))
    }

    fn stage(&self) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.staged(self.store.stage())
    }

    fn stage_over(&self, path: &ContentPath) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.staged(self.store.stage_over(path))
    }

    fn stage_link(&self, target: &[u8], attributes: Attributes) -> ObjectResult<Box<dyn StagedObject + '_>> {
        self.staged(self.store.stage_link(target, attributes))
    }

    fn stage_same(
        &self,
        path: &ContentPath,
        version: Version,
    ) -> ObjectResult<Option<Box<dyn StagedObject + '_>>> {
        let staged = self.store.stage_same(path, version).map_err(object_failed_on(self.side))?;
        staged.map(|staged| self.staged(Ok(staged))).transpose()
    }
}

impl End {
    /// Whether a file or link of the store has the size and time that a copy of it got here.
    pub(super) fn looks_copied(&self, found: &ObjectMeta, known: &IndexedObject) -> bool {
        (found.kind, found.size) == (known.meta.kind, known.meta.size)
            && self.foreseen_abilities().is_same_time(found.mtime_ns, known.meta.mtime_ns)
    }

    fn staged<'a>(
        &self,
        staged: ObjectResult<Box<dyn StagedObject + 'a>>,
    ) -> ObjectResult<Box<dyn StagedObject + 'a>> {
        let staged = staged.map_err(object_failed_on(self.side))?;
        Ok(Box::new(Staged(staged, self.side)))
    }
}

impl ContentReader for SidedReader<'_> {
    fn meta(&self) -> ObjectMeta {
        self.0.meta()
    }

    fn names(&self) -> u64 {
        self.0.names()
    }

    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize> {
        self.0.read(buffer).map_err(object_failed_on(self.1))
    }

    fn skip_hole(&mut self) -> ObjectResult<u64> {
        self.0.skip_hole().map_err(object_failed_on(self.1))
    }

    fn is_solid(&self) -> bool {
        self.0.is_solid()
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> ObjectResult<usize> {
        self.0.read_at(buffer, at).map_err(object_failed_on(self.1))
    }

    fn extended(&self) -> ObjectResult<Extended> {
        self.0.extended().map_err(object_failed_on(self.1))
    }

    fn changed_groups(
        &self,
        held: &Held<'_>,
        take: TakesGroup<'_>,
        passed: TakesCount<'_>,
    ) -> ObjectResult<(Groups, u64)> {
        self.0.changed_groups(held, take, passed).map_err(object_failed_on(self.1))
    }

    fn is_unchanged(&self) -> ObjectResult<bool> {
        self.0.is_unchanged().map_err(object_failed_on(self.1))
    }
}

impl StagedObject for Staged<'_> {
    fn has_parts(&self) -> bool {
        self.0.has_parts()
    }

    fn keep_parts_as(&mut self, number: u32) -> ObjectResult<()> {
        self.0.keep_parts_as(number).map_err(object_failed_on(self.1))
    }

    fn expect(&mut self, bytes: u64) -> ObjectResult<()> {
        self.0.expect(bytes).map_err(object_failed_on(self.1))
    }

    fn write(&mut self, bytes: &[u8]) -> ObjectResult<()> {
        self.0.write(bytes).map_err(object_failed_on(self.1))
    }

    fn keep(&mut self, bytes: &[u8]) -> ObjectResult<bool> {
        self.0.keep(bytes).map_err(object_failed_on(self.1))
    }

    fn keep_known(&mut self, instance: &Instance, count: u64) -> ObjectResult<bool> {
        self.0.keep_known(instance, count).map_err(object_failed_on(self.1))
    }

    fn skip(&mut self, count: u64) -> ObjectResult<()> {
        self.0.skip(count).map_err(object_failed_on(self.1))
    }

    fn take_over(&mut self, instance: &Instance, size: u64) -> bool {
        self.0.take_over(instance, size)
    }

    fn patch(&mut self, bytes: &[u8], at: u64) -> ObjectResult<bool> {
        self.0.patch(bytes, at).map_err(object_failed_on(self.1))
    }

    fn set_extended(&mut self, extended: &Extended) -> ObjectResult<bool> {
        self.0.set_extended(extended).map_err(object_failed_on(self.1))
    }

    fn seal(&mut self, attributes: Attributes) -> ObjectResult<()> {
        self.0.seal(attributes).map_err(object_failed_on(self.1))
    }

    fn publish(self: Box<Self>, path: &ContentPath, replace: bool) -> ObjectResult<bool> {
        let Staged(staged, side) = *self;
        staged.publish(path, replace).map_err(object_failed_on(side))
    }
}
