//! Whether a new state of a copy lacks more than anybody would delete.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use super::super::compare;
use super::super::damage::{open_alone, read_what_can_be_read};
use super::super::end::Exported;
use super::super::exclude::is_excluded;
use super::staged::Ready;
use super::state::Day;
use super::{Existing, Standby};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::format::check::is_empty_leaf;
use crate::store::sqlite::format::header::Header;
use crate::store::sqlite::{Access, open, quote, tables};

/// A table with fewer rows, or a smaller part of all rows, may go unasked.
const FEW_ROWS: u64 = 1_000;
const SMALL_SHARE: f64 = 0.1;
/// How long a day is in which no more may go than in one sync.
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// A store with fewer pages may shrink as it likes.
const FEW_PAGES: u32 = 64;

/// The tables of a copy and how many rows each has, those included that need what only the server has. What cannot be counted is left out.
fn count(connection: &Connection, exclude: &[String]) -> rusqlite::Result<BTreeMap<String, u64>> {
    let counted = tables(connection)?.into_iter().filter(|table| !is_excluded(table, exclude));
    let counted =
        counted.filter_map(|table| compare::count(connection, "main", &table).ok().map(|rows| (table, rows)));
    Ok(counted.collect())
}

/// Whether one of these pages, which hold nothing any more, is all that a table of many rows has left.
fn has_lost_a_table(connection: &Connection, emptied: &[u32], exclude: &[String]) -> rusqlite::Result<bool> {
    let mut tables = connection
        .prepare("SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0")?;
    let tables: Vec<(String, u32)> =
        tables.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let is_lost = |(table, root): &(String, u32)| emptied.contains(root) && !is_excluded(table, exclude);
    for (table, _) in tables.iter().filter(|table| is_lost(table)) {
        let sql = format!(
            "SELECT count(*) FROM (SELECT 1 FROM {} NOT INDEXED LIMIT {})",
            quote(table),
            FEW_ROWS + 1
        );
        let few = connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
        if few.or_else(|_| compare::count(connection, "main", table))? > FEW_ROWS {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The day that a sync is a part of: the one that is known, as long as it is no day old, or one that begins with it. What was accepted
/// begins another one.
fn day_of(known: Option<Day>, accepted: bool, now: Timestamp, (before, after): (u32, u32)) -> Day {
    match known {
        _ if accepted => Day { since: now, used: after },
        Some(day) if now.duration_since(day.since) < DAY => day,
        _ => Day { since: now, used: before },
    }
}

/// What the copy held before a commit that may take away more than anybody would delete.
#[derive(Debug, Default)]
pub(super) struct Before {
    /// Rows by table; none where nothing looks like a loss, or it was accepted.
    rows: Option<BTreeMap<String, u64>>,
    exclude: Vec<String>,
    /// Used pages before and after.
    used: (u32, u32),
    /// The day that this is a part of, and whether what goes in it counts.
    day: Option<Day>,
    counts_by_day: bool,
    /// Whether the source is another file than before.
    is_other: bool,
    is_older: bool,
}

impl Before {
    /// Counts what the copy holds, where the staged pages look as if a table had gone or been emptied.
    ///
    /// # Errors
    /// Failures to read the copy.
    pub(super) fn of(
        standby: &Standby,
        existing: &Existing,
        exported: &Exported,
        ready: &Ready,
        accepted: bool,
        now: Timestamp,
    ) -> Result<Self> {
        let known = existing.known();
        let free = exported.first_page.as_deref().and_then(Header::read).map(|header| header.free_pages);
        let used_before = existing.pages.saturating_sub(existing.header.free_pages);
        let used = exported.pages.saturating_sub(free.unwrap_or(existing.header.free_pages));
        let is_other = known.is_some_and(|known| !known.source.is_of_same_file(&exported.mark));
        let mut before = Before {
            rows: None,
            exclude: standby.exclude.clone(),
            used: (used_before, used),
            day: Some(day_of(known.and_then(|known| known.day), accepted, now, (used_before, used))),
            // Whoever writes from another machine could take a little with each of many syncs.
            counts_by_day: standby.limits.is_strict,
            is_other,
            is_older: known.is_some_and(|known| {
                exported.mark.change_counter.wrapping_sub(known.source.change_counter) > u32::MAX / 2
            }),
        };
        let has_new_schema =
            known.is_none_or(|known| known.source.schema_cookie != exported.mark.schema_cookie);
        let mut emptied = Vec::new();
        ready.each(|page, content| {
            emptied.extend(is_empty_leaf(page, content).then_some(page));
            Ok(())
        })?;
        let looks_like_loss = before.is_half_gone() || is_other || before.is_older || has_new_schema;
        if accepted || !looks_like_loss && emptied.is_empty() {
            return Ok(before);
        }
        // Of a database without the fence SQLite might make a log.
        let (shared, alone);
        let connection: &Connection = if existing.header.is_fenced() {
            shared = open(standby.path(), Access::Read)?;
            &shared
        } else {
            alone = open_alone(standby.path())?;
            &alone
        };
        // What cannot be read by this SQLite at all counts nothing, and refuses nothing.
        let _ = read_what_can_be_read(connection);
        if looks_like_loss || has_lost_a_table(connection, &emptied, &before.exclude).unwrap_or(false) {
            before.rows = count(connection, &before.exclude).ok();
        }
        Ok(before)
    }

    /// Whether what comes has to be looked into.
    pub(super) fn has_to_be_judged(&self) -> bool {
        self.rows.is_some()
    }

    /// Whether the source is another file than before.
    pub(super) fn is_other(&self) -> bool {
        self.is_other
    }

    fn is_half_gone(&self) -> bool {
        let is_half = |before: u32| before > FEW_PAGES && self.used.1 < before / 2;
        is_half(self.used.0) || self.counts_by_day && self.day.is_some_and(|day| is_half(day.used))
    }

    /// The day that this sync is a part of.
    pub(super) fn day(&self) -> Option<Day> {
        self.day
    }

    /// Why the copy is changed, for the history.
    pub(super) fn reason(&self) -> Option<String> {
        if self.is_older {
            return Some("The source was set back to an older state.".to_owned());
        }
        self.is_other.then(|| "The source is another file than before.".to_owned())
    }

    /// What the report says of it.
    pub(super) fn warnings(&self) -> Option<String> {
        let undo = "The copy follows; Restore-CsPoolBackup brings back what it was before.";
        self.reason().map(|reason| format!("{reason} {undo}"))
    }

    /// Refuses a state that lacks too much.
    ///
    /// # Errors
    /// `SafetyShareExceeded`, with tables and rows.
    pub(super) fn judge(&self, path: &Path) -> Result<()> {
        let Some(before) = &self.rows else { return Ok(()) };
        let connection = open_alone(path)?;
        let _ = read_what_can_be_read(&connection);
        let Ok(after) = count(&connection, &self.exclude) else { return Ok(()) };
        let (all, left): (u64, u64) = (before.values().sum(), after.values().sum());
        let left_of = |table: &str| after.get(table).copied().unwrap_or(0);
        let share = |rows: u64| rows as f64 / all.max(1) as f64;
        let mut missing: Vec<String> = Vec::new();
        for (table, rows) in before {
            let is_gone = left_of(table) == 0 && *rows > FEW_ROWS && share(*rows) >= SMALL_SHARE;
            if is_gone {
                let how = if after.contains_key(table) { "is empty" } else { "is gone" };
                missing.push(format!("{table} {how} ({rows} rows before)"));
            }
        }
        let is_made_anew = self.is_other && left * 2 < all;
        if (is_made_anew || self.is_half_gone()) && missing.is_empty() {
            let less = before.iter().filter(|(table, rows)| left_of(table) < **rows);
            missing
                .extend(less.map(|(table, rows)| format!("{table} has {} of {rows} rows", left_of(table))));
            if self.is_half_gone() && missing.is_empty() {
                // Free pages were given back, and no row is missing.
                return Ok(());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let made_anew = if self.is_other { " It is another file than before." } else { "" };
        Err(Error::new(
            ErrorKind::SafetyShareExceeded,
            format!("The user store lacks more than anybody deletes in a while: {}.{made_anew}", missing.join(", ")),
            "The copy keeps what it has. If the rows were lost, restore them from it (Restore-CsPoolBackup); if they were meant to go, run the command with -AcceptDeletions.",
        )
        .at("rowsBefore", all)
        .at("rowsAfter", left)
        .on(Side::Export))
    }

    /// Adds to a refusal which rows of the copy are missing in the new state, which is made for that where it is not at hand.
    pub(super) fn naming_rows<F: AsRef<Path>>(
        &self,
        error: Error,
        copy: &Path,
        cancel: &CancellationToken,
        new_state: impl FnOnce() -> Result<F>,
    ) -> Error {
        if error.kind != ErrorKind::SafetyShareExceeded {
            return error;
        }
        let compared = new_state().and_then(|new| compare::compare(copy, new.as_ref(), cancel));
        let said = match compared {
            Ok(compared) => compared.missing(|table| !is_excluded(table, &self.exclude)).join("; "),
            Err(cause) => format!("not named: {}", cause.message),
        };
        let mut error = error;
        error.message = format!("{} Rows: {said}.", error.message);
        error.at("missing", said)
    }
}
