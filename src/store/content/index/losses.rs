//! What the standby lost within a day: names that were deleted there, or got another content, each of them once.
//!
//! A name that changes often is no loss, and neither is what came after the day began. So a name counts when it is the
//! first time in a fortnight that this happens to it. How much the standby held is noted once an hour at most, and only
//! by cycles that may take something away: the oldest note of a day says when the day began.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::rows::Rows;
use super::{ContentIndex, IndexedObject};
use crate::error::Result;
use crate::store::Generation;
use crate::store::content::{ContentPath, ObjectKind, ObjectMeta};

const HOUR_MS: i64 = 3_600_000;

/// What is counted together, in milliseconds.
const DAY_MS: i64 = 24 * HOUR_MS;

/// A name to which this happens again within that time counts no more, in milliseconds.
const OFTEN_MS: i64 = 14 * DAY_MS;

/// Added to an index that lacks them: an older build leaves them alone.
pub(super) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS csb_content_loss (
    pool TEXT NOT NULL,
    folder BLOB NOT NULL,
    name BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    counted_ms INTEGER,
    deleted INTEGER NOT NULL CHECK (deleted IN (0, 1)),
    PRIMARY KEY (pool, folder, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS csb_content_loss_counted
    ON csb_content_loss (pool, counted_ms, deleted) WHERE counted_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS csb_content_held (
    pool TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    began_ms INTEGER NOT NULL,
    held INTEGER NOT NULL,
    PRIMARY KEY (pool, at_ms)
) STRICT, WITHOUT ROWID;
";

/// What was lost within the day that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Now, in milliseconds since 1970.
    now_ms: i64,
    /// When the day began: with the last complete cycle before the first loss that is not forgotten. What came later the
    /// standby did not hold then.
    began_ms: i64,
    /// When it was noted last how much the standby held; none where no loss is remembered.
    noted_ms: Option<i64>,
    /// How many objects the standby held when the day began; 0 until that is noted.
    pub held: u64,
    /// How many of these were deleted since.
    pub deleted: u64,
    /// How many got another content since.
    pub replaced: u64,
}

impl Day {
    /// Whether something was a version that the standby held already when the day began. Its store says when it changed last,
    /// which nobody can set.
    pub fn had(&self, version: &ObjectMeta) -> bool {
        version.kind != ObjectKind::Folder && version.ctime_ns / 1_000_000 < self.began_ms
    }

    /// Whether any loss is remembered.
    pub fn is_begun(&self) -> bool {
        self.noted_ms.is_some()
    }
}

/// One object that the standby is about to have no more, or with another content.
#[derive(Clone, Debug)]
pub struct ObjectLoss {
    /// The name.
    pub path: ContentPath,
    /// The version that goes.
    pub version: ObjectMeta,
    /// Whether nothing comes in its place.
    pub is_deletion: bool,
}

impl ContentIndex {
    /// The day that ends now.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn day(&self, now: Timestamp) -> Result<Day> {
        let now_ms = now.as_millisecond();
        let began_ms = self.scanned_ms(now_ms)?;
        let day = Day { now_ms, began_ms, noted_ms: None, held: 0, deleted: 0, replaced: 0 };
        read_day(&self.connection, self.pool.as_str(), day).map_err(self.failed("read"))
    }

    /// When the last cycle was completed, which may have been long ago; now, where none was.
    fn scanned_ms(&self, now_ms: i64) -> Result<i64> {
        let scanned = self.pair()?.and_then(|pair| pair.scanned_at);
        Ok(scanned.map_or(now_ms, |at| at.as_millisecond().min(now_ms)))
    }

    /// Notes how much the standby holds now, unless that was done within the hour. Forgets what is too old to count.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be read or written.
    pub fn note_held(&mut self, generation: Generation, day: &mut Day) -> Result<()> {
        let is_recent = |noted: i64| (0..HOUR_MS).contains(&(day.now_ms - noted));
        if day.noted_ms.is_some_and(is_recent) {
            return Ok(());
        }
        let (held, now_ms, began_ms) = (self.count()?, day.now_ms, self.scanned_ms(day.now_ms)?);
        self.write_for_now(generation, |rows| {
            let (pool, changes) = (rows.pool, rows.transaction);
            changes.execute(
                "INSERT OR REPLACE INTO csb_content_held (pool, at_ms, began_ms, held) VALUES (?1, ?2, ?3, ?4)",
                params![pool, now_ms, began_ms, i64::try_from(held).unwrap_or(i64::MAX)],
            )?;
            for (table, kept_ms) in [("csb_content_held", DAY_MS), ("csb_content_loss", OFTEN_MS)] {
                changes.execute(
                    &format!("DELETE FROM {table} WHERE pool = ?1 AND NOT at_ms BETWEEN ?2 AND ?3"),
                    // A clock that was far ahead leaves nothing for ever.
                    params![pool, now_ms - kept_ms, now_ms + kept_ms],
                )?;
            }
            Ok(())
        })?;
        if day.noted_ms.is_none() {
            day.held = held;
        }
        day.noted_ms = Some(now_ms);
        Ok(())
    }

    /// Whether a name has changed within the last fortnight; of one that is deleted, whether it was deleted.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn changes_often(&self, path: &ContentPath, is_deletion: bool, day: &Day) -> Result<bool> {
        let Some((folder, name)) = path.split() else { return Ok(false) };
        let read = || {
            self.connection
                .prepare_cached(
                    "SELECT at_ms FROM csb_content_loss
                     WHERE pool = ?1 AND folder = ?2 AND name = ?3 AND deleted >= ?4",
                )?
                .query_row(params![self.pool.as_str(), folder.as_bytes(), name, is_deletion], |row| {
                    row.get::<_, i64>(0)
                })
                .optional()
        };
        let at_ms = read().map_err(self.failed("read"))?;
        Ok(at_ms.is_some_and(|at_ms| (day.now_ms - at_ms).abs() < OFTEN_MS))
    }

    /// Whether the standby holds this version of a file under another name, too.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn has_other_name(&self, path: &ContentPath, version: &ObjectMeta) -> Result<bool> {
        has_other_name(&self.connection, self.pool.as_str(), path, version).map_err(self.failed("read"))
    }

    /// As [`ContentIndex::settle`], and remembers what was lost with it.
    ///
    /// # Errors
    /// As for [`ContentIndex::settle`].
    pub fn settle_losing(
        &mut self,
        generation: Generation,
        held: &[(ContentPath, IndexedObject)],
        removed: &[ContentPath],
        losses: &[ObjectLoss],
        day: &Day,
    ) -> Result<()> {
        self.write_for_now(generation, |rows| {
            held.iter().try_for_each(|(path, object)| rows.put(path, object))?;
            removed.iter().try_for_each(|path| rows.delete(path))?;
            losses.iter().try_for_each(|loss| rows.lose(loss, day))
        })
    }

    /// Begins a new day: what was lost until now was meant to go.
    ///
    /// # Errors
    /// `Fenced`; when the index cannot be written.
    pub fn forget_losses(&mut self, generation: Generation) -> Result<()> {
        self.write_for_now(generation, |rows| {
            for sql in [
                "UPDATE csb_content_loss SET counted_ms = NULL WHERE pool = ?1 AND counted_ms IS NOT NULL",
                "DELETE FROM csb_content_held WHERE pool = ?1",
            ] {
                rows.transaction.execute(sql, [rows.pool])?;
            }
            Ok(())
        })
    }
}

fn read_day(connection: &Connection, pool: &str, day: Day) -> rusqlite::Result<Day> {
    let within = params![pool, day.now_ms - DAY_MS, day.now_ms + DAY_MS];
    let mut held = connection.prepare_cached(
        "SELECT at_ms, began_ms, held FROM csb_content_held WHERE pool = ?1 AND at_ms BETWEEN ?2 AND ?3
         ORDER BY at_ms",
    )?;
    let noted: Vec<(i64, i64, i64)> = held
        .query_map(within, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let (Some((_, began_ms, held)), Some((noted_ms, ..))) = (noted.first(), noted.last()) else {
        return Ok(day);
    };
    let mut lost = connection.prepare_cached(
        "SELECT deleted, count(*) FROM csb_content_loss
         WHERE pool = ?1 AND counted_ms BETWEEN ?2 AND ?3 GROUP BY deleted",
    )?;
    let mut day = Day {
        began_ms: *began_ms,
        noted_ms: Some(*noted_ms),
        held: u64::try_from(*held).unwrap_or_default(),
        ..day
    };
    let mut rows = lost.query(within)?;
    while let Some(row) = rows.next()? {
        let count = u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default();
        if row.get(0)? { day.deleted = count } else { day.replaced = count }
    }
    Ok(day)
}

impl Rows<'_> {
    /// What only has another name now is not lost, and what came after the day began was not held then; but that it
    /// changed is remembered.
    // SQLite has no unsigned numbers: inodes and devices are kept bit by bit.
    #[allow(clippy::cast_possible_wrap)]
    fn lose(&mut self, loss: &ObjectLoss, day: &Day) -> rusqlite::Result<()> {
        let ObjectLoss { path, version, is_deletion } = loss;
        let counts = day.had(version);
        let Some((folder, name)) = path.split() else { return Ok(()) };
        if *is_deletion && (!counts || has_other_name(self.transaction, self.pool, path, version)?) {
            return Ok(());
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO csb_content_loss (pool, folder, name, at_ms, counted_ms, deleted)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (pool, folder, name) DO UPDATE SET deleted = excluded.deleted, at_ms = excluded.at_ms,
                     counted_ms = CASE WHEN abs(excluded.at_ms - at_ms) < ?7 AND deleted >= excluded.deleted
                         THEN counted_ms ELSE excluded.counted_ms END",
            )?
            .execute(params![
                self.pool,
                folder.as_bytes(),
                name,
                day.now_ms,
                counts.then_some(day.now_ms),
                is_deletion,
                OFTEN_MS
            ])?;
        Ok(())
    }
}

#[allow(clippy::cast_possible_wrap)]
fn has_other_name(
    connection: &Connection,
    pool: &str,
    path: &ContentPath,
    version: &ObjectMeta,
) -> rusqlite::Result<bool> {
    let Some((folder, name)) = path.split() else { return Ok(false) };
    let (inode, device, size) = (version.inode as i64, version.device as i64, version.size as i64);
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM csb_content_object INDEXED BY csb_content_inode
             WHERE pool = ?1 AND inode = ?2 AND device = ?3 AND kind = 'file' AND size = ?4 AND mtime_ns = ?5
                 AND NOT (folder = ?6 AND name = ?7))",
        )?
        .query_row(params![pool, inode, device, size, version.mtime_ns, folder.as_bytes(), name], |row| {
            row.get(0)
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_index;
    use super::*;
    use crate::store::content::Ownership;

    fn version(at_ms: i64) -> ObjectMeta {
        let (ctime_ns, owner) = (at_ms * 1_000_000, Ownership { user: 1, group: 2 });
        let mtime_ns = ctime_ns;
        ObjectMeta {
            kind: ObjectKind::File,
            size: 3,
            mtime_ns,
            ctime_ns,
            inode: 6,
            device: 7,
            mode: 0o644,
            owner,
        }
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + hours * HOUR_MS).unwrap()
    }

    struct Days(
        ContentIndex,
        Generation,
        #[expect(dead_code, reason = "it goes with this")] tempfile::TempDir,
    );

    impl Days {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (index, generation) = new_index(&folder.path().join("index.sqlite"));
            Days(index, generation, folder)
        }

        /// Loses a version of that time, after so many hours; the day then.
        fn lose(&mut self, hours: i64, name: &str, age_hours: i64, is_deletion: bool) -> (u64, u64) {
            let mut day = self.0.day(at(hours)).unwrap();
            self.0.note_held(self.1, &mut day).unwrap();
            let path = ContentPath::from_bytes(name.as_bytes()).unwrap();
            let version = version(at(hours - age_hours).as_millisecond());
            let loss = ObjectLoss { path, version, is_deletion };
            self.0.settle_losing(self.1, &[], &[], &[loss], &day).unwrap();
            self.counted(hours)
        }

        fn counted(&self, hours: i64) -> (u64, u64) {
            let day = self.0.day(at(hours)).unwrap();
            (day.deleted, day.replaced)
        }
    }

    #[test]
    fn a_name_counts_once_in_a_day_and_no_more_while_it_changes_often() {
        let mut days = Days::new();
        assert_eq!(days.lose(0, "a", 100, false), (0, 1));
        assert_eq!(days.lose(1, "a", 100, false), (0, 1), "the same name");
        assert_eq!(days.lose(2, "b", 100, true), (1, 1));
        assert_eq!(
            days.lose(3, "a", 100, true),
            (2, 0),
            "a name that goes after it changed is one that goes"
        );
        assert_eq!(days.counted(23), (2, 0));
        assert_eq!(days.counted(28), (0, 0), "a day later nothing counts");
        for day in 1..20 {
            assert_eq!(days.lose(day * 28, "a", 100, false), (0, 0), "it changes every day");
        }
        assert_eq!(days.lose(20 * 28 + 15 * 24, "a", 100, false), (0, 1), "it had not for a fortnight");
    }

    #[test]
    fn what_came_after_the_day_began_is_no_loss() {
        let mut days = Days::new();
        assert_eq!(days.lose(0, "a", 1, true), (1, 0));
        assert_eq!(days.lose(10, "temporary", 5, true), (1, 0));
        assert_eq!(days.lose(10, "draft", 5, false), (1, 0));
        assert_eq!(days.lose(10, "old", 11, true), (2, 0));
    }

    #[test]
    fn what_was_accepted_begins_a_new_day() {
        let mut days = Days::new();
        assert_eq!(days.lose(0, "a", 100, true), (1, 0));
        assert!(days.0.day(at(1)).unwrap().is_begun());
        days.0.forget_losses(days.1).unwrap();
        let day = days.0.day(at(1)).unwrap();
        assert_eq!((day.deleted, day.replaced, day.is_begun()), (0, 0, false));
        assert_eq!(days.lose(2, "a", 100, true), (0, 0), "it was accepted a moment ago");
        assert_eq!(days.lose(2, "b", 100, true), (1, 0));
    }

    #[test]
    fn a_clock_that_was_far_ahead_leaves_nothing_for_ever() {
        let mut days = Days::new();
        days.lose(100_000, "a", 100, true);
        assert_eq!(days.counted(0), (0, 0));
        assert_eq!(days.lose(0, "a", 100, true), (1, 0));
        let rows = |table: &str| -> i64 {
            let sql = format!("SELECT count(*) FROM {table}");
            days.0.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        };
        assert_eq!((rows("csb_content_loss"), rows("csb_content_held")), (1, 1));
    }
}
