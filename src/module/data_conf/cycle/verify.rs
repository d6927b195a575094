//! Compares the content of both stores with each other and with the index, and repairs the standby.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::sync::Arc;

use super::super::copier::Copier;
use super::super::meter::Meter;
use super::super::plan::ObjectStep;
use super::Cycle;
use crate::error::Result;
use crate::report::Verification;
use crate::store::content::abilities::Abilities;
use crate::store::content::hints::{Want, What};
use crate::store::content::index::{FolderParts, HeldName, IndexedObject};
use crate::store::content::spool::Spool;
use crate::store::content::{
    ContentPath, ContentStore, ListedObject, Listing, ObjectError, ObjectKind, ObjectMeta, ObjectResult,
    Refusal, mode_of_copy,
};

/// How one object that the index knows was found.
enum Verified {
    /// As it should be.
    Equal,
    /// Otherwise, and it can be copied again.
    Differs,
    /// The source has changed since the cycle's walk: that is for the next cycle to copy.
    Pending,
}

/// Reads both sides.
struct DeepComparison<'c> {
    meter: &'c Meter<'c>,
    source: Copier<'c, 'c>,
    standby: Copier<'c, 'c>,
    /// Whether the standby's objects have the owners of the source's.
    has_owners: bool,
    /// What the standby can hold.
    abilities: Arc<Abilities>,
    /// Folders that are still to be compared.
    next: Vec<ContentPath>,
    report: Verification,
}

impl Cycle<'_, '_> {
    /// Reads everything that the standby holds, and its original. Runs after the changes of the source were copied, so
    /// that what differs now differs against the rules.
    pub(super) fn verify(&mut self) -> Result<()> {
        let (source, standby) = (&self.module.source, &self.module.standby);
        let meter = Meter::begin(self.context, "Verifying files", Some((self.index.count()?, 0)));
        let mut comparison = DeepComparison {
            meter: &meter,
            source: Copier::new(source, source, self.context),
            standby: Copier::new(standby, standby, self.context),
            has_owners: standby.keeps_owners(),
            abilities: self.places.abilities.clone(),
            next: vec![ContentPath::root()],
            report: Verification::requested(),
        };
        while let Some(folder) = comparison.next.pop() {
            let steps = self.verify_folder(&folder, &mut comparison)?;
            let written = self.outcome.moved.items_written;
            self.copy(&steps, 1)?;
            self.commit()?;
            comparison.report.repaired_items += self.outcome.moved.items_written.saturating_sub(written);
        }
        meter.end();
        let report = comparison.report;
        if report.differing_items > 0 {
            self.outcome.warnings.push(report.warning("files and folders"));
        }
        self.outcome.verification = Some(report);
        Ok(())
    }

    /// Compares one folder; returns what has to be copied again.
    fn verify_folder(
        &mut self,
        folder: &ContentPath,
        comparison: &mut DeepComparison<'_>,
    ) -> Result<Spool<ObjectStep>> {
        let mut steps = Spool::new(self.module.index.folder());
        let listing = match self.module.standby.list(folder, &self.context.cancel) {
            Ok(listing) => listing,
            Err(ObjectError::Store(error)) => return Err(error),
            Err(ObjectError::Gone) => Listing::default(),
            Err(ObjectError::Refused(refusal)) => {
                self.quarantine(folder, refusal);
                return Ok(steps);
            }
        };
        let listing = self.align(folder, listing, comparison)?;
        let mut held = listing.iter().peekable();
        let mut parts = FolderParts::of(folder.clone());
        while let Some(known) = parts.next(&self.index)? {
            self.expect_hashes(folder, &known)?;
            self.verify_names(folder, &known, &mut held, comparison, &mut steps)?;
        }
        held.for_each(|entry| self.superfluous(folder, entry.name, comparison));
        Ok(steps)
    }

    /// Says which files and links of a folder are going to be read, to a source that is at another machine.
    fn expect_hashes(&self, folder: &ContentPath, known: &[HeldName]) -> Result<()> {
        let source = &self.module.source;
        if !source.is_elsewhere() {
            return Ok(());
        }
        let is_read = |object: &IndexedObject| object.settled && object.meta.kind != ObjectKind::Folder;
        let wanted = known
            .iter()
            .filter(|(_, object)| is_read(object))
            .filter_map(|(name, _)| Some(Want { path: folder.join(name)?, what: What::Hash, held: None }));
        source.expect(wanted.collect())
    }

    /// Where the standby takes several spellings for one name: what it lists, as the index knows it. What somebody has
    /// spelled otherwise gets its name back; some file systems have spellings of their own.
    fn align(
        &mut self,
        folder: &ContentPath,
        listing: Listing,
        comparison: &mut DeepComparison<'_>,
    ) -> Result<Listing> {
        let abilities = &comparison.abilities;
        if abilities.tells_all_apart() {
            return Ok(listing);
        }
        let known: BTreeSet<Box<[u8]>> =
            self.index.read_folder(folder, |names| names.map(|held| held.map(|(name, _)| name)).collect())?;
        let listed: BTreeSet<&[u8]> = listing.iter().map(|entry| entry.name).collect();
        let missing = known.iter().filter(|name| !listed.contains(&***name));
        let missing: BTreeMap<Box<[u8]>, &Box<[u8]>> =
            missing.map(|name| (abilities.key(name), name)).collect();
        let spelled = |name: &[u8]| {
            let other = if known.contains(name) { None } else { missing.get(&abilities.key(name)) };
            other.map(|name| (*name).clone())
        };
        let respelled: Vec<_> =
            listing.iter().filter_map(|entry| Some((entry.name, spelled(entry.name)?))).collect();
        if abilities.keeps_spelling {
            for (name, new) in &respelled {
                let (Some(from), Some(to)) = (folder.join(name), folder.join(new)) else { continue };
                comparison.differs(folder);
                match self.module.standby.respell(&from, &to) {
                    Ok(()) => comparison.report.repaired_items += 1,
                    Err(ObjectError::Gone) => {}
                    Err(ObjectError::Refused(refusal)) => self.quarantine(&to, refusal),
                    Err(ObjectError::Store(error)) => return Err(error),
                }
            }
        }
        let respelled: BTreeMap<Box<[u8]>, Box<[u8]>> =
            respelled.into_iter().map(|(name, new)| (name.into(), new)).collect();
        Ok(listing.respelled(|name| respelled.get(name).cloned()))
    }

    /// Compares what is known of a folder with what is held there, both sorted by name.
    fn verify_names<'l>(
        &mut self,
        folder: &ContentPath,
        known: &[HeldName],
        held: &mut Peekable<impl Iterator<Item = ListedObject<'l>>>,
        comparison: &mut DeepComparison<'_>,
        steps: &mut Spool<ObjectStep>,
    ) -> Result<()> {
        let mut times_differ = Vec::new();
        for (name, object) in known {
            self.context.check()?;
            while let Some(entry) = held.next_if(|entry| *entry.name < **name) {
                self.superfluous(folder, entry.name, comparison);
            }
            let held = held.next_if(|entry| *entry.name == **name).and_then(|entry| entry.object.ok());
            let Some(path) = folder.join(name) else { continue };
            let is_folder = object.meta.kind == ObjectKind::Folder;
            // A folder that was only made in a rehearsal is in no listing.
            let made = (held.is_none() && is_folder && self.module.rehearses)
                .then(|| self.module.standby.stat(&path).ok())
                .flatten();
            let held = held.or(made.as_ref());
            if !object.settled {
                // What is in the folder may be known all the same.
                comparison.next.extend(is_folder.then_some(path));
                continue;
            }
            match self.verify_object(&path, object, held, comparison) {
                Ok(Verified::Pending) | Err(ObjectError::Gone) => continue,
                Ok(Verified::Equal) => {}
                Ok(Verified::Differs) => {
                    comparison.differs(folder);
                    steps.push(&ObjectStep::repair(path.clone(), object))?;
                }
                Err(ObjectError::Refused(refusal)) => {
                    self.quarantine(&path, refusal);
                }
                Err(ObjectError::Store(error)) => return Err(error),
            }
            comparison.report.compared_items += 1;
            comparison.meter.item();
            if is_folder {
                if held.is_some_and(|held| !comparison.is_same_time(held, object)) {
                    times_differ.push(path.clone());
                }
                comparison.next.push(path);
            }
        }
        self.index.forget_times(self.context.generation, &times_differ)
    }

    fn superfluous(&mut self, folder: &ContentPath, name: &[u8], comparison: &mut DeepComparison<'_>) {
        comparison.differs(folder);
        let Some(path) = folder.join(name) else { return };
        let refusal = Refusal::new(
            "Only the standby copy has it: this product did not put it there.",
            "Move it away from the standby copy, if nobody needs it there. Nothing of it is copied or deleted.",
        );
        self.quarantine(&path, refusal);
    }

    fn verify_object(
        &self,
        path: &ContentPath,
        known: &IndexedObject,
        held: Option<&ObjectMeta>,
        comparison: &mut DeepComparison<'_>,
    ) -> ObjectResult<Verified> {
        let kind = known.meta.kind;
        let looks_equal = held.is_some_and(|held| comparison.looks_equal(held, known));
        if kind == ObjectKind::Folder {
            let is_equal =
                looks_equal && comparison.is_same(self.module.standby.folder_extended(path)?.digest(), known);
            return Ok(if is_equal { Verified::Equal } else { Verified::Differs });
        }
        let original = comparison.source.hash(path, kind, comparison.meter)?;
        if !original.meta.is_same_version(&known.meta) {
            return Ok(Verified::Pending);
        }
        if !looks_equal || known.hash.is_some_and(|hash| hash != original.hash) {
            return Ok(Verified::Differs);
        }
        match comparison.standby.hash(path, kind, comparison.meter) {
            Ok(copy) if copy.hash == original.hash && comparison.is_same(copy.extended.digest(), known) => {
                Ok(Verified::Equal)
            }
            // A copy that cannot be read is none.
            Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(Verified::Differs),
            Err(failure) => Err(failure),
        }
    }
}

impl DeepComparison<'_> {
    /// Counts something in a folder that differs.
    fn differs(&mut self, folder: &ContentPath) {
        let place = if folder.is_root() { "/".to_owned() } else { folder.to_string() };
        self.report.differ(&place, 1);
    }

    /// Whether an object of the standby is what the index says, as far as can be told without reading it.
    fn looks_equal(&self, held: &ObjectMeta, known: &IndexedObject) -> bool {
        // Folders get their times once everything is in them.
        let is_same_time = known.meta.kind == ObjectKind::Folder || self.is_same_time(held, known);
        let known = &known.meta;
        let is_same_owner = !self.has_owners || held.owner == known.owner;
        let is_same_mode = !self.abilities.modes || held.mode == mode_of_copy(known.kind, known.mode);
        (held.kind, held.size) == (known.kind, known.size) && is_same_mode && is_same_time && is_same_owner
    }

    fn is_same_time(&self, held: &ObjectMeta, known: &IndexedObject) -> bool {
        self.abilities.is_same_time(held.mtime_ns, known.meta.mtime_ns)
    }

    /// Whether these are the extended attributes of an object, as far as the standby can hold them.
    fn is_same(&self, extended: Option<[u8; 32]>, known: &IndexedObject) -> bool {
        !self.abilities.extended || extended == known.extended
    }
}
