//! The states of a copy: the current one and those that its history keeps, handed on for restoring.

use tokio_util::sync::CancellationToken;

use super::super::end::{Order, PageSink, Published, Sent};
use super::super::snapshot::CHUNK_BYTES;
use super::history::{Entry, Link};
use super::importer::{Importer, Owner};
use super::{Existing, Found, Stand, Standby, whole};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::platform::{RawFile, read_whole};
use crate::report::Moved;
use crate::store::Generation;
use crate::store::user::StoreState;

impl Standby {
    /// The pages and bytes that there are to give back; none where no copy of ours is there.
    ///
    /// # Errors
    /// `Corrupt`; failures of the file system.
    pub(in super::super) fn size(&self) -> Result<Option<Moved>> {
        let glance = self.glance()?;
        let Some(file) = &glance.file else { return Ok(None) };
        if self.is_foreign(&glance)? || self.is_former()? {
            return Ok(None);
        }
        let size = file.len();
        let header = glance.header.ok_or_else(|| self.unreadable())?;
        Ok(Some(whole(header.page_count(size), header.layout.page_size)))
    }

    /// The error of a copy that cannot be given back.
    pub(super) fn unreadable(&self) -> Error {
        Error::new(
            ErrorKind::Corrupt,
            format!("The copy {} cannot be read.", self.path.display()),
            "An earlier state may be in the history: Get-CsPoolBackupHistory, Restore-CsPoolBackup.",
        )
        .at("path", self.path.display())
        .on(Side::Export)
    }

    /// The states that can be restored, the newest first.
    ///
    /// # Errors
    /// Failures of the file system.
    pub(in super::super) fn states(&self) -> Result<Vec<StoreState>> {
        let Some(stand) = self.stand(&self.glance()?)? else { return Ok(Vec::new()) };
        let history = self.history();
        // What lies before an entry that cannot be read is lost.
        let earlier = history.list(stand.revision)?.into_iter().map_while(|link| {
            let entry = history.entry(&link)?;
            Some(earlier_state(&link, &entry, history.size(&link)))
        });
        Ok(std::iter::once(stand.state()).chain(earlier).collect())
    }

    /// Hands on all pages of a state: those of the copy, and over them what the history has.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::send`].
    pub(in super::super) fn send(
        &self,
        revision: Option<u32>,
        generation: Generation,
        to: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<Sent> {
        let importer = Importer::enter(&self.path, Owner { generation, job: None }, cancel)?;
        let existing = match self.settle(&importer, false, cancel)? {
            Found::Existing(existing) => existing,
            Found::Missing | Found::Unreadable => return Err(self.unreadable()),
        };
        let history = self.history();
        let current = existing.header.change_counter;
        let wanted = revision.unwrap_or(current);
        let chain = history.list(current)?;
        let until = chain.iter().position(|link| link.revision == wanted).map_or(0, |at| at + 1);
        if until == 0 && wanted != current {
            return Err(no_such_state(wanted));
        }
        self.send_current(&existing, to, cancel)?;
        history.undo(&chain[..until], to)?;
        let last = chain[..until].last().and_then(|link| Some((link, history.entry(link)?)));
        let (state, pages, page_size) = match last {
            Some((link, entry)) => {
                (earlier_state(link, &entry, history.size(link)), entry.pages, entry.page_size)
            }
            None => {
                let stand = self.stand(&self.glance()?)?.ok_or_else(|| self.unreadable())?;
                (stand.state(), existing.pages, existing.header.layout.page_size)
            }
        };
        let findings = existing.known().map(|known| known.checked.findings.clone()).unwrap_or_default();
        Ok(Sent { from: self.path.clone(), state, pages, page_size, versions: existing.versions(), findings })
    }

    pub(super) fn send_current(
        &self,
        existing: &Existing,
        to: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let failed = |cause| Error::io("read", &self.path, &cause).on(Side::Export);
        let copy = RawFile::open(&self.path, false).map_err(failed)?;
        let page_size = existing.header.layout.page_size as usize;
        let size = u64::from(existing.pages) * page_size as u64;
        let mut piece = vec![0; CHUNK_BYTES as usize];
        let mut done = 0;
        while done < size {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            let part = usize::try_from(size - done).unwrap_or(usize::MAX).min(piece.len());
            if read_whole(&copy, &mut piece[..part], done).map_err(failed)? < part {
                return Err(self.unreadable());
            }
            let first = u32::try_from(done / page_size as u64 + 1).unwrap_or(u32::MAX);
            to.put(first, &piece[..part], page_size)?;
            done += part as u64;
            to.tell(done, size);
        }
        Ok(())
    }

    /// Notes that the source was made anew from the copy.
    ///
    /// # Errors
    /// As for [`super::super::end::UserEnd::note_replaced`].
    pub(in super::super) fn note_replaced(
        &self,
        sent: &Sent,
        published: &Published,
        order: &Order,
    ) -> Result<()> {
        let _importer = Importer::enter(&self.path, Owner::of(order), &order.cancel)?;
        let remembered = self.remembered()?.filter(|state| state.change_counter == sent.state.revision);
        let Some(mut state) = remembered else { return Ok(()) };
        state.source = published.mark.clone();
        self.state_file().touch(&state)
    }
}

impl Stand {
    /// As it is listed.
    fn state(&self) -> StoreState {
        StoreState {
            revision: self.revision,
            at: self.at,
            job_id: self.job.map(|made_by| made_by.job),
            job_kind: self.job.and_then(|made_by| made_by.kind),
            bytes: self.bytes,
            kept_bytes: 0,
            reason: None,
        }
    }
}

/// A state of the history, as it is listed.
fn earlier_state(link: &Link, entry: &Entry, kept_bytes: u64) -> StoreState {
    StoreState {
        revision: link.revision,
        at: link.at,
        job_id: entry.job.map(|made_by| made_by.job),
        job_kind: entry.job.and_then(|made_by| made_by.kind),
        bytes: u64::from(entry.pages) * u64::from(entry.page_size),
        kept_bytes,
        reason: entry.reason.clone(),
    }
}

fn no_such_state(revision: u32) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("There is no state {revision} in the history."),
        "Get-CsPoolBackupHistory lists the states that there are.",
    )
}
