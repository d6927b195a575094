//! How a pair looks from outside, without writing to either side.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};

use super::capture;
use super::estimate::row_count;
use super::look::of_database;
use super::pair::SqlitePair;
use super::schema::Schema;
use super::seen;
use super::shadow;
use super::standby::{self, Found};
use super::start::{Reason, Standing, standing};
use crate::error::{Result, Side};
use crate::store::sqlite::{Access, open, sqlite_error};
use crate::store::user::{Cursor, PairObservation};

impl SqlitePair {
    /// Looks once at both sides.
    ///
    /// # Errors
    /// When one of them exists and cannot be read.
    pub(super) fn observe_once(&self) -> Result<PairObservation> {
        let connection = open(&self.source, Access::Read).map_err(Side::Export.failed())?;
        let failed = |cause| sqlite_error("read", &self.source, &cause).on(Side::Export);
        let source = connection.unchecked_transaction().map_err(failed)?;
        let cursor = match standby::examine(&self.standby).map_err(Side::Import.failed())? {
            Found::Copy(cursor) => cursor,
            Found::WithoutCursor => {
                let to_compare = Some(Reason::CursorLost.outlook());
                return Ok(PairObservation { initialized: true, to_compare, ..PairObservation::default() });
            }
            Found::Missing | Found::Former | Found::Damaged => return self.before_first_copy(&source),
            Found::Foreign => {
                let seen = self.before_first_copy(&source)?;
                return Ok(PairObservation { refused: Some(self.foreign_standby()), ..seen });
            }
        };
        let store = capture::store_id(&source).map_err(failed)?;
        if store != Some(cursor.store_id) {
            return self.before_first_copy(&source);
        }
        let reason = match standing(&source, store, &cursor).map_err(failed)? {
            Standing::Behind => Some(Reason::Behind),
            Standing::Known if !seen::is_as_left(&self.standby, cursor.token) => Some(Reason::Touched),
            _ => None,
        };
        let mut seen = pending(&source, &cursor).map_err(failed)?;
        seen.pending += self.changed_virtual_tables(&source)?;
        seen.to_compare = reason.map(|reason| reason.outlook());
        drop(source);
        connection.check_alone()?;
        Ok(seen)
    }

    /// How many virtual tables may have been written to since the last job.
    fn changed_virtual_tables(&self, source: &Connection) -> Result<u64> {
        let standby = open(&self.standby, Access::Read).map_err(Side::Import.failed())?;
        let known = shadow::known(&standby)
            .map_err(|cause| sqlite_error("read", &self.standby, &cause).on(Side::Import))?;
        if known.is_empty() {
            return Ok(0);
        }
        let schema = Schema::read(source, &self.source, &self.config)?;
        if shadow::is_untouched(&schema, &known, of_database(&self.source).as_ref()) {
            return Ok(0);
        }
        shadow::count_changed(source, &schema, &known)
            .map_err(|cause| sqlite_error("read", &self.source, &cause))
    }

    fn before_first_copy(&self, source: &Connection) -> Result<PairObservation> {
        let schema = Schema::read(source, &self.source, &self.config)?;
        let pending =
            row_count(source, &schema.tables).map_err(|cause| sqlite_error("read", &self.source, &cause))?;
        Ok(PairObservation { pending, is_estimate: true, ..PairObservation::default() })
    }
}

/// What lies after a cursor. Positions have no gaps, so their difference counts the changes.
fn pending(source: &Connection, cursor: &Cursor) -> rusqlite::Result<PairObservation> {
    let last = capture::last_position(source)?;
    let oldest: Option<i64> = source
        .query_row(
            "SELECT at_ms FROM csb_change WHERE position > ?1 ORDER BY position LIMIT 1",
            [cursor.position],
            |row| row.get(0),
        )
        .optional()?;
    Ok(PairObservation {
        initialized: true,
        pending: u64::try_from(last - cursor.position).unwrap_or(0),
        oldest: oldest.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        position: Some(cursor.position),
        ..PairObservation::default()
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{with_pair, with_work};
    use super::*;
    use crate::store::user::UserStorePair;

    #[test]
    fn a_copy_that_is_going_to_be_compared_is_there_and_says_why() {
        with_pair("CREATE TABLE t (id INTEGER PRIMARY KEY)", |pair, server| {
            let why = || pair.observe_once().unwrap();
            assert!(why().initialized && why().to_compare.is_none());
            let earlier = std::fs::read(&pair.standby).unwrap();
            for id in 0..2 {
                server.execute("INSERT INTO t VALUES (?1)", [id]).unwrap();
                with_work(|work| drop(pair.synchronize(work).unwrap()));
            }
            std::fs::write(&pair.standby, earlier).unwrap();
            assert!(why().to_compare.unwrap().starts_with(&Reason::Behind.sentence()));
            let standby = Connection::open(&pair.standby).unwrap();
            standby.execute_batch("DELETE FROM csb_standby").unwrap();
            assert!(
                why().initialized && why().to_compare.unwrap().starts_with(&Reason::CursorLost.sentence())
            );
        });
    }
}
