//! Compares the content of both stores with each other and with the index, and repairs the standby.

use super::super::copier::Copier;
use super::super::meter::Meter;
use super::super::plan::Step;
use super::super::spool::Spool;
use super::super::walk::quarantined;
use super::Cycle;
use crate::error::Result;
use crate::report::Verification;
use crate::store::content::index::IndexedObject;
use crate::store::content::{ContentPath, Entry, ObjectError, ObjectKind, ObjectResult, Refusal};

/// How one object that the index knows was found.
enum Found {
    /// As it should be.
    Equal,
    /// Otherwise, and it can be copied again.
    Differs,
    /// The source has changed since the cycle's walk: that is for the next cycle to copy.
    Pending,
}

impl Cycle<'_, '_> {
    /// Reads everything that the standby holds, and its original. Runs after the changes of the source were copied, so
    /// that what differs now differs against the rules.
    pub(super) fn verify(&mut self) -> Result<()> {
        let mut report = Verification::requested();
        let meter = Meter::begin(self.context, "Verifying files", Some((self.index.count()?, 0)));
        let mut next = vec![ContentPath::root()];
        while let Some(folder) = next.pop() {
            let steps = self.verify_folder(&folder, &mut next, &mut report, &meter)?;
            let written = self.outcome.moved.items_written;
            self.copy(&steps, 1)?;
            report.repaired_items += self.outcome.moved.items_written.saturating_sub(written);
        }
        meter.end();
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
        next: &mut Vec<ContentPath>,
        report: &mut Verification,
        meter: &Meter<'_>,
    ) -> Result<Spool<Step>> {
        let mut steps = Spool::new(self.module.spool_folder());
        let known = self.index.folder(folder)?;
        let entries = match self.module.standby.list(folder, &self.context.cancel) {
            Ok(entries) => entries,
            Err(ObjectError::Store(error)) => return Err(error),
            Err(ObjectError::Gone) => Vec::new(),
            Err(ObjectError::Refused(refusal)) => {
                self.outcome.quarantined.push(quarantined(folder, refusal));
                return Ok(steps);
            }
        };
        let place = if folder.is_root() { "/".to_owned() } else { folder.to_string() };
        let mut times_differ = Vec::new();
        for (name, object) in known.iter().filter(|(_, object)| object.settled) {
            self.context.check()?;
            let Some(path) = folder.join(name) else { continue };
            let entry = entries.binary_search_by(|entry| entry.name.cmp(name)).ok();
            let entry = entry.and_then(|at| entries.get(at));
            match self.verify_object(&path, object, entry, meter) {
                Ok(Found::Pending) | Err(ObjectError::Gone) => continue,
                Ok(Found::Equal) => {}
                Ok(Found::Differs) => {
                    report.differ(&place, 1);
                    steps.push(&Step::repair(path.clone(), &object.meta))?;
                }
                Err(ObjectError::Refused(refusal)) => {
                    self.outcome.quarantined.push(quarantined(&path, refusal));
                }
                Err(ObjectError::Store(error)) => return Err(error),
            }
            report.compared_items += 1;
            meter.item();
            if object.meta.kind == ObjectKind::Folder {
                let held = entry.and_then(|entry| entry.object.as_ref().ok());
                if held.is_some_and(|held| held.mtime_ns != object.meta.mtime_ns) {
                    times_differ.push(path.clone());
                }
                next.push(path);
            }
        }
        self.index.forget_times(self.context.generation, &times_differ)?;
        let is_known = |entry: &&Entry| known.binary_search_by(|(name, _)| name.cmp(&entry.name)).is_ok();
        for entry in entries.iter().filter(|entry| !is_known(entry)) {
            report.differ(&place, 1);
            let Some(path) = folder.join(&entry.name) else { continue };
            self.outcome.quarantined.push(quarantined(&path, superfluous()));
        }
        Ok(steps)
    }

    fn verify_object(
        &self,
        path: &ContentPath,
        known: &IndexedObject,
        entry: Option<&Entry>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Found> {
        let held = entry.and_then(|entry| entry.object.as_ref().ok());
        let looks_equal = held.is_some_and(|held| {
            let is_same_time = held.kind == ObjectKind::Folder || held.mtime_ns == known.meta.mtime_ns;
            (held.kind, held.size) == (known.meta.kind, known.meta.size)
                && held.mode == self.kept_mode(known)
                && is_same_time
        });
        if known.meta.kind == ObjectKind::Folder {
            return Ok(if looks_equal { Found::Equal } else { Found::Differs });
        }
        let (source, standby) = (self.module.source.as_ref(), self.module.standby.as_ref());
        let kind = known.meta.kind;
        let original = Copier::new(source, source, self.context).hash(path, kind, meter)?;
        if !original.meta.is_same_version(&known.meta) {
            return Ok(Found::Pending);
        }
        if !looks_equal || known.hash.is_some_and(|hash| hash != original.hash) {
            return Ok(Found::Differs);
        }
        match Copier::new(standby, standby, self.context).hash(path, kind, meter) {
            Ok(copy) if copy.hash == original.hash => Ok(Found::Equal),
            // A copy that cannot be read is none.
            Ok(_) | Err(ObjectError::Gone | ObjectError::Refused(_)) => Ok(Found::Differs),
            Err(failure) => Err(failure),
        }
    }

    /// The mode that a copy has: its owner can always read files and change folders.
    fn kept_mode(&self, known: &IndexedObject) -> u32 {
        known.meta.mode
            | match known.meta.kind {
                ObjectKind::File => 0o400,
                ObjectKind::Folder => 0o700,
                ObjectKind::Link => 0,
            }
    }
}

fn superfluous() -> Refusal {
    Refusal::new(
        "Only the standby copy has it: this product did not put it there.",
        "Move it away from the standby copy, if nobody needs it there. Nothing of it is copied or deleted.",
    )
}
