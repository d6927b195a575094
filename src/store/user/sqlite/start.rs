//! Where a run over a pair begins: whether the copy that is there can be continued, must be compared first, or is
//! left aside for a new one.

use rusqlite::Connection;

use super::capture::{self, Capture};
use super::damage::DAMAGED;
use super::pair::SqlitePair;
use super::seen;
use super::source::of_the_log;
use super::standby::{self, Found};
use crate::error::{Error, ErrorKind, Result, Side};
use crate::store::sqlite::sqlite_error;
use crate::store::user::Cursor;

/// Where a run begins.
pub(super) enum Start {
    /// With the copy that is there, which holds everything up to a position once it is compared for these reasons.
    /// What it has confirmed is none where nobody knows.
    Continue { position: i64, confirmed: Option<Cursor>, reasons: Vec<Reason> },
    /// With a new copy. What was found wrong with the one that is there is none where it was given up on purpose.
    Anew { wrong: Option<&'static str>, restored: bool },
}

/// Why everything is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Requested,
    CursorLost,
    Behind,
    Touched,
    LogGap(i64),
}

impl Reason {
    pub(super) fn sentence(&self) -> String {
        match self {
            Reason::Requested => "It was asked for.".to_owned(),
            Reason::CursorLost => "The standby copy had lost its cursor.".to_owned(),
            Reason::Behind => "The standby copy was an older state of itself.".to_owned(),
            Reason::Touched => {
                "Since the last job somebody else wrote to the standby copy, or a job was killed while it did.".to_owned()
            }
            Reason::LogGap(missing) => format!("{missing} entries had been removed from the change log."),
        }
    }

    /// What a status says before the comparison was made.
    pub(super) fn outlook(&self) -> String {
        format!("{} The next job compares it with the user store.", self.sentence())
    }
}

/// How a cursor stands to the source.
pub(super) enum Standing {
    /// The source wrote its token down, and has kept everything since.
    Known,
    /// The source has confirmed a later one.
    Behind,
    /// The source does not know it, because it is an earlier state of itself.
    Newer,
    /// It is of another source.
    Foreign,
}

/// Looks a cursor up in the source.
///
/// A copy that stands before everything the source remembers was put back from a backup of the standby: the source
/// has confirmed what came after it, so whatever the copy holds was the source's once. One that stands after what
/// the source remembers may hold what the source has lost.
pub(super) fn standing(
    source: &Connection,
    store: Option<uuid::Uuid>,
    cursor: &Cursor,
) -> rusqlite::Result<Standing> {
    if store != Some(cursor.store_id) {
        return Ok(Standing::Foreign);
    }
    if capture::last_position(source)? < cursor.position {
        return Ok(Standing::Newer);
    }
    if capture::knows_token(source, cursor.token)? {
        return Ok(Standing::Known);
    }
    let is_before = capture::oldest_barrier(source)?.is_some_and(|oldest| cursor.position < oldest);
    Ok(if is_before { Standing::Behind } else { Standing::Newer })
}

impl SqlitePair {
    /// Looks at what is there.
    ///
    /// # Errors
    /// `ForeignContent` for a database that is no copy of ours; when one cannot be read.
    pub(super) fn starting_point(
        &self,
        source: &Connection,
        capture: &Capture,
        verify: bool,
    ) -> Result<Start> {
        let failed = |cause| sqlite_error("read", &self.source, &cause).on(Side::Export);
        let mut reasons: Vec<Reason> = verify.then_some(Reason::Requested).into_iter().collect();
        let from_now = |mut reasons: Vec<Reason>, reason| -> Result<Start> {
            reasons.push(reason);
            let position = capture::last_position(source).map_err(|cause| of_the_log(failed(cause)))?;
            Ok(Start::Continue { position, confirmed: None, reasons })
        };
        let cursor = match standby::examine(&self.standby)? {
            Found::Missing | Found::Former => return Ok(Start::Anew { wrong: None, restored: false }),
            Found::Damaged => return Ok(Start::Anew { wrong: Some(DAMAGED), restored: false }),
            Found::Foreign => return Err(self.foreign_standby()),
            Found::WithoutCursor => return from_now(reasons, Reason::CursorLost),
            Found::Copy(cursor) => cursor,
        };
        match standing(source, Some(capture.store_id), &cursor).map_err(|cause| of_the_log(failed(cause)))? {
            Standing::Foreign => {
                Ok(Start::Anew { wrong: Some("was copied from another user store"), restored: false })
            }
            Standing::Newer => Ok(Start::Anew {
                wrong: Some("is newer than the user store, which was restored to an earlier state"),
                restored: true,
            }),
            Standing::Behind => from_now(reasons, Reason::Behind),
            Standing::Known => {
                if !seen::is_as_left(&self.standby, cursor.token) {
                    reasons.push(Reason::Touched);
                }
                Ok(Start::Continue { position: cursor.position, confirmed: Some(cursor), reasons })
            }
        }
    }

    pub(super) fn foreign_standby(&self) -> Error {
        Error::new(
            ErrorKind::ForeignContent,
            format!(
                "{} is to become a standby copy, but is not one of this product's.",
                self.standby.display()
            ),
            "Move that file away, or name another place as standby.user_store in the topology.",
        )
        .at("path", self.standby.display())
        .on(Side::Import)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::testing::with_source;
    use super::*;

    #[test]
    fn a_cursor_whose_token_is_unknown_is_behind_only_before_the_oldest_that_is_known() {
        with_source("CREATE TABLE t (id INTEGER PRIMARY KEY)", |source, _| {
            let store_id = source.capture.store_id;
            let known = capture::write_barrier(source.connection, 5).unwrap();
            let unknown = Uuid::new_v4();
            let cursor = |position, token| Cursor { store_id, position, token };
            let stands = |cursor: Cursor| standing(source.connection, Some(store_id), &cursor).unwrap();
            assert!(matches!(stands(cursor(5, known)), Standing::Known));
            assert!(matches!(stands(cursor(6, known)), Standing::Newer));
            assert!(matches!(stands(cursor(5, unknown)), Standing::Newer));
            assert!(matches!(stands(cursor(4, unknown)), Standing::Behind));
            let foreign = Cursor { store_id: unknown, ..cursor(5, known) };
            assert!(matches!(stands(foreign), Standing::Foreign));
        });
    }
}
