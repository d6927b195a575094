//! What an import would do, found by doing all of it but writing.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::super::damage;
use super::super::end::{Base, Exported, Import, Order, PageSink, Seen};
use super::super::hashes::Seed;
use super::super::mark::Mark;
use super::super::snapshot::CHUNK_BYTES;
use super::loss::Before;
use super::staged::Staged;
use super::state::State;
use super::{Existing, Found, Standby, whole};
use crate::error::{Error, Result};
use crate::platform::{RawFile, read_whole, write_all_at};
use crate::store::files::with_suffix;
use crate::store::sqlite::format::journal;
use crate::store::sqlite::format::locks::{self, Holder};
use crate::store::user::PairOutcome;

/// An import that writes nothing.
pub(in super::super) struct Rehearsal {
    standby: Standby,
    order: Order,
    idle: Option<State>,
    /// The copy, and by which hashes its pages are compared; none where there is nothing that can be continued.
    existing: Option<(Existing, Arc<[u128]>)>,
    staged: Staged,
    /// Where the copy was left in the middle of an import: what it is once that is undone.
    undone: Option<tempfile::TempDir>,
}

impl Standby {
    /// Begins one. Others may write to the copy meanwhile.
    pub(in super::super) fn rehearse(&self, order: Order) -> Rehearsal {
        let idle = self.idle(&order).unwrap_or_default();
        let staged = Staged::new(&std::env::temp_dir());
        Rehearsal { standby: self.clone(), order, idle, existing: None, staged, undone: None }
    }

    /// The copy as the next import will find it, in a folder of its own: one that was killed has left a journal, and nothing is undone in
    /// place here. None where somebody is writing just now.
    fn undone(&self, cancel: &CancellationToken) -> Result<Option<(Standby, tempfile::TempDir)>> {
        let failed = |cause| Error::io("write", &std::env::temp_dir(), &cause);
        let is_quiet = || -> Result<bool> {
            let file = RawFile::open(&self.path, false).map_err(self.failed("open"))?;
            Ok(locks::holder(&file).map_err(self.failed("read"))? == Holder::Readers)
        };
        let folder = tempfile::tempdir().map_err(failed)?;
        let copy = Standby { path: folder.path().join("copy"), ..self.clone() };
        if !is_quiet()? {
            return Ok(None);
        }
        std::fs::create_dir(copy.folder()).map_err(failed)?;
        let mut piece = vec![0; CHUNK_BYTES as usize];
        for suffix in ["", "-journal", ".csb/state"] {
            let (from, to) = (with_suffix(&self.path, suffix), with_suffix(&copy.path, suffix));
            let from = match RawFile::open(&from, false) {
                Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
                opened => opened.map_err(self.failed("open"))?,
            };
            let (to, mut at) = (std::fs::File::create(to).map_err(failed)?, 0);
            loop {
                let read = read_whole(&from, &mut piece, at).map_err(self.failed("read"))?;
                write_all_at(&to, &piece[..read], at).map_err(failed)?;
                at += read as u64;
                if read < piece.len() {
                    break;
                }
            }
        }
        copy.undo_unfinished(cancel)?;
        Ok(is_quiet()?.then_some((copy, folder)))
    }
}

impl PageSink for Rehearsal {
    fn put(&self, first: u32, content: &[u8], page_size: usize) -> Result<()> {
        // Of a first copy only the number of pages counts.
        if self.existing.is_some() { self.staged.put(first, content, page_size) } else { Ok(()) }
    }

    fn reset(&self) -> Result<()> {
        self.staged.reset()
    }
}

impl Import for Rehearsal {
    fn known(&self) -> Option<&Mark> {
        self.idle.as_ref().map(|state| &state.source)
    }

    fn confirm(self: Box<Self>, _seen: &Seen) -> Result<()> {
        Ok(())
    }

    fn open(&mut self, _seen: &Seen) -> Result<Base> {
        self.standby.require_ours()?;
        if self.standby.path.exists() && journal::place(&self.standby.path).exists() {
            let undone = self.standby.undone(&self.order.cancel)?;
            let (standby, folder) = undone.ok_or_else(|| self.standby.busy())?;
            (self.standby, self.undone) = (standby, Some(folder));
        }
        let standby = &self.standby;
        let scratch = std::env::temp_dir();
        let found = if standby.path.exists() {
            if standby.has_companions() {
                return Err(standby.busy());
            }
            standby.existing(self.order.verify, &self.order.cancel)?
        } else {
            Found::Missing
        };
        let Found::Existing(existing) = found else {
            return Ok(Base { seed: Seed::new(), hashes: Arc::new([]), layout: None, mark: None, scratch });
        };
        let base = standby.base(&existing, &self.order, scratch)?;
        self.existing = Some((*existing, Arc::clone(&base.hashes)));
        Ok(base)
    }

    fn commit(self: Box<Self>, exported: Exported) -> Result<PairOutcome> {
        let mut outcome = PairOutcome::default();
        let Some((existing, hashes)) = &self.existing else {
            outcome.moved = whole(exported.pages, exported.layout.page_size);
            return Ok(outcome);
        };
        let is_same = existing.is_in(&exported, hashes);
        let has_to_check = existing.has_to_check(&self.order, &exported, is_same);
        let ready = self.staged.finish();
        let accepted = self.order.accept_deletions || is_same;
        let before = Before::of(&self.standby, existing, &exported, &ready, accepted, self.order.now)?;
        if has_to_check || before.has_to_be_judged() {
            let file = tempfile::NamedTempFile::new();
            let file = file.map_err(|cause| Error::io("write", &std::env::temp_dir(), &cause))?;
            let after = self.standby.with(existing, &ready, &exported, file)?;
            if has_to_check {
                let known = existing.known().map(|known| known.checked.findings.clone()).unwrap_or_default();
                let suspect = exported.suspects.first();
                damage::check(after.path(), suspect, &self.order.source, &known, self.order.verify)?;
            }
            before.judge(after.path()).map_err(|error| {
                before.naming_rows(error, self.standby.path(), &self.order.cancel, || Ok(&after))
            })?;
        }
        if !is_same {
            outcome.moved = existing.moves(&exported, &ready);
        }
        outcome.warnings.extend(before.warnings());
        Ok(outcome)
    }
}
