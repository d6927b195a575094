//! One run over a pair: install, copy or continue, catch up to a consistent point, commit, prune.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio_util::sync::CancellationToken;

use super::capture;
use super::damage::{self, Copying, DAMAGED};
use super::datum::Row;
use super::fresh::rights_of;
use super::import::Import;
use super::look::of_database;
use super::schema::Table;
use super::seen;
use super::source::{
    BATCH_CHANGES, LOCK_PATIENCE, Slice, Source, is_damage_at, is_log_damage, is_schema_change, of_the_log,
    patiently, while_busy,
};
use super::standby;
use super::start::{Reason, Start};
use super::{restore, sequences, shadow, traces};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::{Access, OpenedFile, open, sqlite_error, tighten_database};
use crate::store::user::{Cursor, PairObservation, PairOutcome, UserStorePair, Work};
use crate::store::{Progress, Trace};
use crate::topology::UserStoreConfig;

/// How often a run begins again because the server changed its schema meanwhile.
const SCHEMA_ATTEMPTS: u32 = 5;

/// How much of the standby is held in memory while changes are written to it, as SQLite counts KiB. What does not fit is
/// written, and the journal synced, before the transaction ends.
const STANDBY_CACHE_KIB: i64 = -32 * 1024;

/// How long a look at the stores waits for a lock: whoever asks would rather know that they are busy.
const OBSERVE_PATIENCE: Duration = Duration::from_secs(2);

/// A pair of SQLite databases.
pub struct SqlitePair {
    pub(super) source: PathBuf,
    pub(super) standby: PathBuf,
    pub(super) config: UserStoreConfig,
    /// How many batches beyond the backlog a run follows a source that goes on changing.
    max_batches: u64,
}

impl SqlitePair {
    /// The pair of a pool's user store and the copy of it at this place.
    ///
    /// # Errors
    /// `UnsupportedStore` for the URL of another engine.
    pub fn new(config: UserStoreConfig, standby: &Path, max_batches: u64) -> Result<Self> {
        let source = config.url.local_path()?.to_owned();
        Ok(SqlitePair { source, standby: standby.to_owned(), config, max_batches })
    }

    /// How many changes one batch carries: what fits into it is a steady state.
    pub const fn batch_changes() -> u64 {
        BATCH_CHANGES
    }

    fn require_source(&self) -> Result<()> {
        crate::bound::touching(&self.source)?;
        if self.source.exists() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::StoreUnavailable,
            format!("The user store {} does not exist.", self.source.display()),
            "Mount its file system or start its server once. If it is lost, run Invoke-CsBackupServiceSync for the backup pool, which gives it back.",
        )
        .at("path", self.source.display())
        .on(Side::Export))
    }

    fn run_once(
        &self,
        connection: &mut Connection,
        file: &OpenedFile,
        work: &Work<'_>,
    ) -> Result<PairOutcome> {
        let mut capture = while_busy(work.cancel, LOCK_PATIENCE, || {
            capture::install(connection, &self.source, &self.config, work.now).map_err(of_the_log)
        })
        .map_err(Side::Export.failed())?;
        let start = while_busy(work.cancel, LOCK_PATIENCE, || {
            self.starting_point(connection, &capture, work.verify)
        })?;
        if let Start::Anew { restored: true, .. } = start {
            capture.store_id =
                patiently(&self.source, "write to", work, || capture::begin_timeline(connection))
                    .map_err(Side::Export.failed())?;
        }
        let source = Source { connection, path: &self.source, file, capture: &capture };
        let mut run = Run::new(&source, work, self.max_batches);
        run.outcome.details.extend(capture.details.iter().cloned());
        run.outcome.warnings.extend(capture.schema.warnings.iter().cloned());
        let outcome = run.outcome.clone();
        let cursor = match start {
            Start::Continue { position, confirmed, reasons } => {
                run.reasons = reasons;
                match run.go_on(&self.standby, position, confirmed.as_ref()) {
                    Err(error) if is_damage_at(&error, &self.standby) => {
                        run.outcome = outcome;
                        Some(run.copy_anew(&self.standby, Some(DAMAGED))?)
                    }
                    done => done?,
                }
            }
            Start::Anew { wrong, .. } => Some(run.copy_anew(&self.standby, wrong)?),
        };
        if let Some(cursor) = cursor {
            source.prune(&cursor, work)?;
        }
        for (table, reason) in &capture.schema.skipped {
            run.outcome.quarantined.push(crate::report::QuarantinedItem {
                item: format!("table {table}"),
                reason: reason.clone(),
                advice: "Leave the table out with exclude in the topology if its content need not travel."
                    .to_owned(),
            });
        }
        Ok(run.outcome)
    }
}

impl UserStorePair for SqlitePair {
    fn observe(&self, cancel: &CancellationToken) -> Result<PairObservation> {
        self.require_source()?;
        while_busy(cancel, OBSERVE_PATIENCE, || self.observe_once())
    }

    fn synchronize(&self, work: &Work<'_>) -> Result<PairOutcome> {
        crate::failpoint::fail_point!("store.user.synchronize");
        self.require_source()?;
        let file = OpenedFile::at(&self.source);
        let mut connection = while_busy(work.cancel, LOCK_PATIENCE, || open(&self.source, Access::Write))
            .map_err(Side::Export.failed())?;
        let mut attempt = 1;
        let mut renewed = None;
        loop {
            work.check()?;
            match self.run_once(&mut connection, &file, work) {
                Err(error) if is_schema_change(&error) && attempt < SCHEMA_ATTEMPTS => attempt += 1,
                Err(error) if is_log_damage(&error) && renewed.is_none() => {
                    // Where that is not possible the damage is worse than that of the log.
                    let done = damage::renew_log(&connection, &self.source, work).map_err(|_| error)?;
                    renewed = Some(done);
                }
                Ok(mut outcome) => {
                    outcome.warnings.extend(renewed);
                    return Ok(outcome);
                }
                failed => return failed,
            }
        }
    }

    fn lost(&self) -> Result<Option<u64>> {
        restore::lost(self)
    }

    fn restore(&self, work: &Work<'_>) -> Result<PairOutcome> {
        restore::restore(self, work)
    }

    fn remove_traces(&self, dry_run: bool) -> Result<Vec<Trace>> {
        traces::remove(self, dry_run)
    }
}

/// One run over a pair.
pub(super) struct Run<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) work: &'a Work<'a>,
    pub(super) outcome: PairOutcome,
    /// Why everything is to be compared, until it has been.
    pub(super) reasons: Vec<Reason>,
    max_batches: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(source: &'a Source<'a>, work: &'a Work<'a>, max_batches: u64) -> Self {
        Run { source, work, outcome: PairOutcome::default(), reasons: Vec::new(), max_batches }
    }
}

impl Run<'_> {
    /// Brings an existing copy up to the source; none where nothing had changed.
    fn go_on(&mut self, standby: &Path, position: i64, confirmed: Option<&Cursor>) -> Result<Option<Cursor>> {
        let failed = |cause| sqlite_error("write the standby copy to", standby, &cause);
        let file = OpenedFile::at(standby);
        // A copy that was made before copies got the rights of what they hold.
        tighten_database(standby, rights_of(self.source.path)?);
        let connection = while_busy(self.work.cancel, LOCK_PATIENCE, || open(standby, Access::Write))?;
        if self.is_idle(&connection, standby, position)? {
            return Ok(None);
        }
        if self.reasons.contains(&Reason::Touched) {
            // With a write-ahead log the file would not show what is written to it next.
            patiently(standby, "write the standby copy to", self.work, || {
                connection.pragma_update(None, "journal_mode", "DELETE")
            })?;
        }
        connection.pragma_update(None, "cache_size", STANDBY_CACHE_KIB).map_err(failed)?;
        let transaction = patiently(standby, "write the standby copy to", self.work, || {
            Transaction::new_unchecked(&connection, TransactionBehavior::Immediate)
        })?;
        standby::check_generation(&transaction, standby, self.work.generation)?;
        if confirmed.is_none() {
            standby::create(&transaction).map_err(failed)?;
        }
        let cursor = self.import(&transaction, standby, position, confirmed)?;
        self.source.file.check()?;
        file.check()?;
        let version = seen::data_version(&transaction).map_err(failed)?;
        transaction.commit().map_err(failed)?;
        seen::keep(&connection, standby, cursor.token, version);
        Ok(Some(cursor))
    }

    /// Whether there is nothing to do at all, so that an idle run writes to neither side.
    fn is_idle(&self, standby: &Connection, path: &Path, position: i64) -> Result<bool> {
        let failed = |cause| sqlite_error("read", path, &cause);
        let schema = &self.source.capture.schema;
        Ok(self.reasons.is_empty()
            && self.source.last_position(self.work)? == position
            && !standby::has_quarantined(standby).map_err(failed)?
            && shadow::is_untouched(
                schema,
                &shadow::known(standby).map_err(failed)?,
                of_database(self.source.path).as_ref(),
            )
            && self.source.objects(self.work)? == schema.objects_of(standby).map_err(failed)?
            && match self.source.sequences(self.work)? {
                Some(wanted) => sequences::are(standby, &schema.objects, &wanted).map_err(failed)?,
                None => false,
            })
    }

    /// Fills a copy from a position on until it equals the source at one position, and moves its cursor there. Rows
    /// that were copied whole while the source went on changing are put right by the log.
    pub(super) fn import(
        &mut self,
        destination: &Connection,
        path: &Path,
        start: i64,
        confirmed: Option<&Cursor>,
    ) -> Result<Cursor> {
        let failed = |cause| sqlite_error("write the standby copy to", path, &cause);
        // The standby is a copy, not a judge: a row that the server wrote without its CHECK constraints is copied.
        destination.pragma_update(None, "ignore_check_constraints", true).map_err(failed)?;
        let wanted = self.source.objects(self.work)?;
        self.name_intruders(destination, path, &wanted)?;
        let changes_before = destination.total_changes();
        let verifies = !self.reasons.is_empty();
        let mut import = self.begin_import(destination, path);
        let aligned = import.align_tables(&wanted, &self.source.capture.schema)?;
        let mut renewed = aligned.clone();
        renewed.extend(standby::take_damaged(destination).map_err(failed)?);
        self.retry_quarantined(&mut import, path, &renewed)?;
        self.copy_whole(&mut import, &renewed)?;
        import.create_what_fits(&wanted, &self.source.capture.schema)?;
        let mut position = self.replay(&mut import, start, renewed)?;
        let followed = loop {
            while !self.reasons.is_empty() {
                self.mend_fence(destination, path, &wanted)?;
                let reasons = std::mem::take(&mut self.reasons);
                self.compare(&mut import, position, &reasons)?;
                position = self.replay(&mut import, position, BTreeSet::new())?;
            }
            let followed;
            (position, followed) = self.follow_virtual_tables(&mut import, position, &aligned, verifies)?;
            if self.reasons.is_empty() {
                break followed;
            }
        };
        import.create_rest(&wanted, &self.source.capture.schema)?;
        let is_as_before =
            !verifies && !import.schema_differs && destination.total_changes() == changes_before;
        let cursor = match confirmed.filter(|confirmed| is_as_before && confirmed.position == position) {
            // The source may have been written to where nothing is copied from.
            Some(confirmed) => confirmed.clone(),
            None => {
                let token = self.source.barrier(position, confirmed, self.work)?;
                Cursor { store_id: self.source.capture.store_id, position, token }
            }
        };
        self.remember_virtual_tables(destination, path, followed)?;
        standby::set_cursor(destination, &cursor, self.work.generation).map_err(failed)?;
        self.end_import(import);
        Ok(cursor)
    }

    /// Replays the log after a position until a slice of it reaches its end; the position there. The tables that were
    /// just copied whole need not be again because the log says so.
    pub(super) fn replay(
        &mut self,
        import: &mut Import<'_>,
        start: i64,
        copied: BTreeSet<String>,
    ) -> Result<i64> {
        let mut whole = copied;
        let mut missing = 0;
        let mut renewed = BTreeSet::new();
        let backlog_end = self.source.last_position(self.work)?;
        let mut position = start;
        let mut replayed = 0;
        let mut chases_left = self.max_batches;
        let mut unindexed = BTreeSet::new();
        loop {
            let slice = self.source.changes(position, self.work)?;
            self.replace_slice(import, &slice)?;
            whole = slice.whole.iter().filter(|name| !whole.contains(*name)).cloned().collect();
            whole.extend(slice.unindexed.iter().cloned());
            self.copy_whole(import, &whole)?;
            renewed.extend(whole.iter().cloned());
            unindexed.extend(slice.unindexed);
            position = slice.end;
            missing += slice.missing;
            replayed += slice.changes;
            if slice.changes > 0 {
                import.moved.batches += 1;
                (self.work.progress)(Progress {
                    activity: "Replaying changes",
                    items_done: replayed,
                    bytes_done: import.moved.bytes,
                    ..Progress::default()
                });
            }
            if slice.exhausted && whole.is_empty() {
                import.set_sequences(&self.source.capture.schema.objects, &slice.sequences)?;
                break;
            }
            if position > backlog_end {
                chases_left = chases_left.checked_sub(1).ok_or_else(|| source_too_busy(self.source.path))?;
            }
        }
        if replayed > 0 {
            self.outcome.details.push(format!("Replayed {replayed} changes up to position {position}."));
        }
        self.outcome.warnings.extend(unindexed.iter().map(|table| damage::unindexed_warning(table)));
        // A log that was begun anew has everything copied whole.
        if missing > 0 && !self.source.capture.schema.tables.iter().all(|table| renewed.contains(&table.name))
        {
            self.reasons.push(Reason::LogGap(missing));
        }
        Ok(position)
    }

    /// Replaces the rows of the keys that a slice of the log names.
    pub(super) fn replace_slice(&self, import: &mut Import<'_>, slice: &Slice) -> Result<()> {
        for (name, batch) in &slice.tables {
            if let Some(table) = self.source.capture.schema.table(name) {
                import.replace(table, batch)?;
            }
        }
        Ok(())
    }

    /// An import that goes on counting what the run did.
    pub(super) fn begin_import<'i>(&mut self, destination: &'i Connection, path: &'i Path) -> Import<'i> {
        Import {
            connection: destination,
            path,
            moved: std::mem::take(&mut self.outcome.moved),
            quarantined: std::mem::take(&mut self.outcome.quarantined),
            schema_differs: false,
            damaged: BTreeSet::new(),
        }
    }

    pub(super) fn end_import(&mut self, import: Import<'_>) {
        self.outcome.moved = import.moved;
        self.outcome.quarantined = import.quarantined;
    }

    pub(super) fn copy_whole(&mut self, import: &mut Import<'_>, names: &BTreeSet<String>) -> Result<()> {
        let total = self.source.row_estimate(|table| names.contains(&table.name), self.work)?;
        let mut done = 0;
        let schema = &self.source.capture.schema;
        for table in schema.tables.iter().filter(|table| names.contains(&table.name)) {
            let copied =
                Copying { source: self.source, work: self.work, table, done: Cell::new(done), total }
                    .into(import)?;
            self.outcome.details.push(format!("Copied {} rows of table {}.", copied - done, table.name));
            done = copied;
        }
        Ok(())
    }

    /// Tries what could not be copied before, but for tables that are copied whole.
    fn retry_quarantined(
        &mut self,
        import: &mut Import<'_>,
        path: &Path,
        whole: &BTreeSet<String>,
    ) -> Result<()> {
        let failed = |cause| sqlite_error("write the standby copy to", path, &cause);
        if !standby::has_quarantined(import.connection).map_err(failed)? {
            return Ok(());
        }
        for table in self.source.capture.schema.tables.iter().filter(|table| !whole.contains(&table.name)) {
            let keys = standby::take_quarantined(import.connection, table).map_err(failed)?;
            self.replace_keys(import, table, &keys)?;
        }
        Ok(())
    }

    /// Replaces all rows of some keys with the source's rows of now; the whole table where a damaged index does not lead
    /// to them.
    pub(super) fn replace_keys(
        &mut self,
        import: &mut Import<'_>,
        table: &Table,
        keys: &[Row],
    ) -> Result<()> {
        let mut rest = keys;
        while !rest.is_empty() {
            self.work.check()?;
            let Some(batch) = self.source.rows_of(table, rest, self.work)? else {
                return self.copy_whole(import, &BTreeSet::from([table.name.clone()]));
            };
            rest = rest.get(batch.keys.len() + batch.unreadable.len()..).unwrap_or_default();
            import.replace(table, &batch)?;
        }
        Ok(())
    }
}

fn source_too_busy(path: &Path) -> Error {
    Error::new(
        ErrorKind::SourceTooBusy,
        format!("{} changes faster than it can be copied in one consistent piece.", path.display()),
        "Run the command again when the server is less busy, or raise MaxBatchesPerUserStoreSync.",
    )
    .on(Side::Export)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::testing::{with_pair, with_work};
    use super::*;
    use crate::store::Generation;
    use crate::topology::StoreUrl;

    /// A run whose server changes the schema whenever the run says how far it is, up to a number of times.
    fn beside_an_upgrade(pair: &SqlitePair, server: &Connection, changes: u32) -> (u32, Result<PairOutcome>) {
        let made = Cell::new(0);
        let progress = |_| {
            if made.get() < changes {
                made.set(made.get() + 1);
                let sql = format!("CREATE TABLE IF NOT EXISTS more_{} (id INTEGER PRIMARY KEY)", made.get());
                server.execute_batch(&sql).unwrap();
            }
        };
        let cancel = CancellationToken::new();
        let now = jiff::Timestamp::now();
        let work =
            Work { generation: Generation(1), verify: false, cancel: &cancel, progress: &progress, now };
        let done = pair.synchronize(&work);
        (made.get(), done)
    }

    #[test]
    fn a_user_store_that_is_gone_is_an_error_that_says_how_to_get_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let url = StoreUrl::try_from(format!("sqlite:{}/users.sqlite", folder.path().display())).unwrap();
        let config = UserStoreConfig { url, keys: Default::default(), exclude: Vec::new() };
        let pair = SqlitePair::new(config, &folder.path().join("standby.sqlite"), 10).unwrap();
        with_work(|work| {
            let error = pair.synchronize(work).unwrap_err();
            assert!(error.advice.contains("Invoke-CsBackupServiceSync"), "{error:?}");
        });
    }

    #[test]
    fn a_run_whose_schema_changes_begins_again_but_not_for_ever() {
        with_pair("CREATE TABLE t (id INTEGER PRIMARY KEY)", |pair, server| {
            // Between two tables that are copied whole the schema is looked at again.
            server
                .execute_batch(
                    "CREATE TABLE u (id INTEGER PRIMARY KEY); CREATE TABLE v (id INTEGER PRIMARY KEY)",
                )
                .unwrap();
            let (attempts, done) = beside_an_upgrade(pair, server, 20);
            assert_eq!((attempts, done.unwrap_err().kind), (SCHEMA_ATTEMPTS, ErrorKind::SourceTooBusy));
            let (_, done) = beside_an_upgrade(pair, server, 2);
            assert!(done.is_ok(), "{done:?}");
        });
    }

    #[test]
    fn a_run_says_how_much_it_replayed_and_copied() {
        with_pair("CREATE TABLE t (id INTEGER PRIMARY KEY)", |pair, server| {
            with_work(|work| {
                assert_eq!(pair.synchronize(work).unwrap().details, Vec::<String>::new());
                server.execute_batch("INSERT INTO t VALUES (1), (2)").unwrap();
                let outcome = pair.synchronize(work).unwrap();
                assert_eq!(outcome.details, ["Replayed 2 changes up to position 3."]);
                // Each row is a batch where reading one takes as long as a batch may.
                assert_eq!(outcome.moved.items_written, 2);
                assert!((1..=2).contains(&outcome.moved.batches), "{outcome:?}");
                std::fs::remove_file(&pair.standby).unwrap();
                let outcome = pair.synchronize(work).unwrap();
                let bytes = std::fs::metadata(&pair.source).unwrap().len();
                let moved = crate::report::Moved { items_written: 2, items_deleted: 0, bytes, batches: 1 };
                assert_eq!(outcome.moved, moved);
                assert!(!outcome.details.iter().any(|line| line.starts_with("Replayed")), "{outcome:?}");
            });
        });
    }

    #[test]
    fn a_run_tells_what_it_is_at_and_how_far() {
        with_pair("CREATE TABLE t (id INTEGER PRIMARY KEY)", |pair, server| {
            server
                .execute_batch(
                    "INSERT INTO t VALUES (1), (2); CREATE TABLE u (id INTEGER PRIMARY KEY, v);
                     INSERT INTO u VALUES (1, 'abc'), (2, 'abc'), (3, 'abc')",
                )
                .unwrap();
            let seen = std::cell::RefCell::new(std::collections::BTreeMap::new());
            let progress = |told: Progress| {
                seen.borrow_mut().insert(told.activity, told);
            };
            let cancel = CancellationToken::new();
            let now = jiff::Timestamp::now();
            let work =
                Work { generation: Generation(1), verify: true, cancel: &cancel, progress: &progress, now };
            pair.synchronize(&work).unwrap();
            let last: Vec<_> = seen
                .into_inner()
                .into_iter()
                .map(|(activity, told)| (activity, told.items_done, told.items_total, told.bytes_done))
                .collect();
            assert_eq!(
                last,
                [
                    ("Comparing rows", 5, Some(5), 0),
                    ("Copying tables", 3, Some(3), 3 * 11),
                    ("Replaying changes", 3, None, 3 * 11 + 2 * 8),
                ]
            );
        });
    }
}
