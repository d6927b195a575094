//! Which two stores an index is of, and in which state the standby is.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::{ContentIndex, IndexedObject};
use crate::error::Result;
use crate::store::Generation;
use crate::store::content::history::Revision;
use crate::store::content::{ContentPath, ObjectMeta};

/// Both stores of a pair, as the index knows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedPair {
    /// The marker of the source.
    pub source_id: Uuid,
    /// The marker of the standby.
    pub standby_id: Uuid,
    /// How many cycles have been completed.
    pub scan: u64,
    /// When the last of them was; none before the first.
    pub scanned_at: Option<Timestamp>,
    /// When others could begin to write to what the standby is now, in nanoseconds since 1970 by its clock, where this
    /// pair has not completed a cycle since it took the standby over.
    pub adopted_ns: Option<i64>,
    /// The state that the standby is in, or was before the cycle that has not ended; none before the first copy is complete.
    pub revision: Option<Revision>,
}

/// What is known of a standby that a new pair begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// See [`IndexedPair::adopted_ns`].
    pub since_ns: Option<i64>,
    /// See [`IndexedPair::revision`].
    pub revision: Option<Revision>,
}

impl ContentIndex {
    /// Both stores; none before the first cycle.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn pair(&self) -> Result<Option<IndexedPair>> {
        self.connection
            .query_row(
                "SELECT source_id, standby_id, scan, scanned_ms, adopted_ns, revision, revision_ms, revision_job,
                     revision_bytes FROM csb_content_store WHERE pool = ?1",
                [self.pool.as_str()],
                pair,
            )
            .optional()
            .map_err(self.failed("read"))
    }

    /// Begins anew for these two stores: nothing is known to be at the standby but what is named here, as it was
    /// found there, and of that not which version of the source's it is.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written; what taking a name fails with.
    pub fn establish(
        &mut self,
        generation: Generation,
        source_id: Uuid,
        standby_id: Uuid,
        adopted: Adopted,
        held: impl Iterator<Item = Result<(ContentPath, ObjectMeta)>>,
    ) -> Result<()> {
        self.write(generation, |rows| {
            rows.clear()?;
            rows.transaction.execute(
                "INSERT INTO csb_content_store (pool, source_id, standby_id, scan, adopted_ns, revision, revision_bytes)
                 VALUES (?1, ?2, ?3, 0, ?4, 0, 0)",
                params![rows.pool, source_id.to_string(), standby_id.to_string(), adopted.since_ns],
            )?;
            adopted.revision.map_or(Ok(()), |revision| rows.put_revision(&revision))?;
            for held in held {
                let (path, meta) =
                    held.map_err(|cause| rusqlite::Error::ToSqlConversionFailure(Box::new(cause)))?;
                let object =
                    IndexedObject { meta, hash: None, extended: None, indexed_ns: 0, settled: false };
                rows.put(&path, &object)?;
            }
            Ok(())
        })
    }

    /// Says that nothing that was kept leads to what the standby holds from now on: its state gets another number.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn skip_revision(&mut self, generation: Generation) -> Result<()> {
        self.write(generation, |rows| {
            rows.transaction.execute(
                "UPDATE csb_content_store SET revision = revision + 1 WHERE pool = ?1 AND revision > 0",
                [rows.pool],
            )?;
            Ok(())
        })
    }

    /// Counts a completed cycle, and says in which state the standby is now, where that is another one.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn finish_scan(
        &mut self,
        generation: Generation,
        at: Timestamp,
        revision: Option<&Revision>,
    ) -> Result<()> {
        self.write_for_now(generation, |rows| {
            rows.transaction.execute(
                "UPDATE csb_content_store SET scan = scan + 1, scanned_ms = ?2, adopted_ns = NULL WHERE pool = ?1",
                params![rows.pool, at.as_millisecond()],
            )?;
            revision.map_or(Ok(()), |revision| rows.put_revision(revision))
        })
    }

    /// Says that another store is the source from now on, whose content the standby is to follow.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn adopt_source(&mut self, generation: Generation, source_id: Uuid) -> Result<()> {
        self.write(generation, |rows| {
            rows.transaction.execute(
                "UPDATE csb_content_store SET source_id = ?2 WHERE pool = ?1",
                [rows.pool, &source_id.to_string()],
            )?;
            Ok(())
        })
    }
}

/// A row of the table of pairs.
fn pair(row: &Row<'_>) -> rusqlite::Result<IndexedPair> {
    let id = |column| row.get::<_, String>(column).map(|id| Uuid::parse_str(&id).unwrap_or_default());
    let time = |column| {
        row.get::<_, Option<i64>>(column).map(|ms| ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    };
    let job: Option<String> = row.get(7)?;
    let revision = Revision {
        number: row.get(5)?,
        since: time(6)?.unwrap_or_default(),
        job: job.and_then(|job| job.parse().ok()),
        bytes: u64::try_from(row.get::<_, i64>(8)?).unwrap_or_default(),
    };
    Ok(IndexedPair {
        source_id: id(0)?,
        standby_id: id(1)?,
        scan: u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default(),
        scanned_at: time(3)?,
        adopted_ns: row.get(4)?,
        revision: Some(revision).filter(|revision| revision.number > 0),
    })
}
