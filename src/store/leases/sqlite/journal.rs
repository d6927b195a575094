//! The journal in the service's own database.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::SqliteLeases;
use crate::error::Result;
use crate::report::Outcome;
use crate::store::Until;
use crate::store::leases::Lease;
use crate::store::leases::journal::{Journal, NotedStep, Resumed};
use crate::topology::PoolFqdn;

/// The number and the id of the note about the list itself.
const LIST: NotedStep = NotedStep { number: 0, id: String::new() };

/// How many of the last lists of a pool are kept.
const KEPT: u32 = 50;

/// What a list that never came to its end is noted with, once somebody else begins.
const INTERRUPTED: &str = "Interrupted";

const DOING: &str = "write the journal in";

impl Journal for SqliteLeases {
    fn begin_list(
        &self,
        lease: &Lease,
        command: &str,
        resumable: &[NotedStep],
        now: Timestamp,
        until: &Until,
    ) -> Result<Option<Resumed>> {
        self.write_held(lease, until, DOING, |notes| {
            let resumed = take_over(notes, lease, command, resumable, now)?;
            close(notes, &lease.pool, now)?;
            begin(notes, lease, command, &LIST, now)?;
            Ok(resumed)
        })
    }

    fn begin_step(
        &self,
        lease: &Lease,
        command: &str,
        step: &NotedStep,
        now: Timestamp,
        until: &Until,
    ) -> Result<()> {
        self.write_held(lease, until, DOING, |notes| begin(notes, lease, command, step, now))
    }

    fn end_step(
        &self,
        lease: &Lease,
        number: u32,
        outcome: Outcome,
        now: Timestamp,
        until: &Until,
    ) -> Result<()> {
        self.write_held(lease, until, DOING, |notes| end(notes, lease, number, outcome.name(), now))
    }

    fn end_list(&self, lease: &Lease, outcome: Outcome, now: Timestamp, until: &Until) -> Result<()> {
        self.end_step(lease, LIST.number, outcome, now, until)
    }
}

/// Ends what was left unfinished, and forgets the oldest lists.
fn close(notes: &Transaction<'_>, pool: &PoolFqdn, now: Timestamp) -> rusqlite::Result<()> {
    notes
        .prepare_cached(
            "UPDATE csb_journal SET ended_ms = ?1, outcome = ?2 WHERE pool = ?3 AND ended_ms IS NULL",
        )?
        .execute(params![now.as_millisecond(), INTERRUPTED, pool.as_str()])?;
    notes
        .prepare_cached(
            "DELETE FROM csb_journal WHERE pool = ?1 AND generation <=
                 (SELECT generation FROM csb_journal WHERE pool = ?1 AND step = ?2
                  ORDER BY generation DESC LIMIT 1 OFFSET ?3)",
        )?
        .execute(params![pool.as_str(), LIST.number, KEPT - 1])?;
    Ok(())
}

/// Notes as done what the unfinished list of the same command has done; none where there is no such list.
fn take_over(
    notes: &Transaction<'_>,
    lease: &Lease,
    command: &str,
    resumable: &[NotedStep],
    now: Timestamp,
) -> rusqlite::Result<Option<Resumed>> {
    let unfinished: Option<String> = notes
        .query_row(
            "SELECT job_id FROM csb_journal WHERE pool = ?1 AND step = ?2 AND ended_ms IS NULL AND command = ?3
             ORDER BY generation DESC LIMIT 1",
            params![lease.pool.as_str(), LIST.number, command],
            |row| row.get(0),
        )
        .optional()?;
    let Some(earlier) = unfinished else { return Ok(None) };
    let mut done = Vec::new();
    for step in resumable {
        let outcome: Option<String> = notes
            .query_row(
                "SELECT outcome FROM csb_journal WHERE pool = ?1 AND job_id = ?2 AND id = ?3 AND step > ?4
                 AND outcome IN (?5, ?6, ?7)",
                params![
                    lease.pool.as_str(),
                    earlier,
                    step.id,
                    LIST.number,
                    Outcome::Skipped.name(),
                    Outcome::Succeeded.name(),
                    Outcome::SucceededWithWarnings.name()
                ],
                |row| row.get(0),
            )
            .optional()?;
        if let Some(outcome) = outcome {
            begin(notes, lease, command, step, now)?;
            end(notes, lease, step.number, &outcome, now)?;
            done.push(step.id.clone());
        }
    }
    Ok(Uuid::parse_str(&earlier).ok().map(|job_id| Resumed { job_id, done }))
}

fn begin(
    notes: &Transaction<'_>,
    lease: &Lease,
    command: &str,
    step: &NotedStep,
    now: Timestamp,
) -> rusqlite::Result<()> {
    notes
        .execute(
            "INSERT OR REPLACE INTO csb_journal (pool, job_id, step, id, command, generation, began_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                lease.pool.as_str(),
                lease.job_id.to_string(),
                step.number,
                step.id,
                command,
                lease.generation.0,
                now.as_millisecond()
            ],
        )
        .map(drop)
}

fn end(
    notes: &Transaction<'_>,
    lease: &Lease,
    number: u32,
    outcome: &str,
    now: Timestamp,
) -> rusqlite::Result<()> {
    notes
        .execute(
            "UPDATE csb_journal SET ended_ms = ?1, outcome = ?2 WHERE pool = ?3 AND job_id = ?4 AND step = ?5",
            params![
                now.as_millisecond(),
                outcome,
                lease.pool.as_str(),
                lease.job_id.to_string(),
                number
            ],
        )
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::ErrorKind;
    use crate::store::leases::{Claim, LeaseOwner, Leases, PATIENCE};

    const COMMAND: &str = "Disable-CsPoolBackup";
    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    struct Fixture {
        store: SqliteLeases,
        folder: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("service.sqlite");
            Fixture { store: SqliteLeases::new(path, Arc::new(SystemClock::new())), folder }
        }

        /// A new holder; the one before is given up as one whose process died.
        fn lease(&self) -> Lease {
            let owner = LeaseOwner { started: Some(0), ..LeaseOwner::current("here") };
            let pool = PoolFqdn::parse("atl.example.com").unwrap();
            let claim = Claim { pool, owner, job_id: Uuid::new_v4() };
            self.store.acquire(&claim, &soon()).unwrap().held().unwrap()
        }

        fn begin(&self, lease: &Lease, command: &str) -> Option<Resumed> {
            self.store.begin_list(lease, command, &steps(), NOW, &soon()).unwrap()
        }

        fn step(&self, lease: &Lease, number: usize, outcome: Option<Outcome>) {
            self.store.begin_step(lease, COMMAND, &steps()[number - 1], NOW, &soon()).unwrap();
            if let Some(outcome) = outcome {
                let number = u32::try_from(number).unwrap();
                self.store.end_step(lease, number, outcome, NOW, &soon()).unwrap();
            }
        }

        fn end(&self, lease: &Lease) {
            self.store.end_list(lease, Outcome::Succeeded, NOW, &soon()).unwrap();
        }
    }

    fn soon() -> Until {
        Until::within(PATIENCE)
    }

    fn steps() -> Vec<NotedStep> {
        (1..=4).map(|number| NotedStep { number, id: format!("step {number}") }).collect()
    }

    #[test]
    fn a_list_that_was_killed_is_gone_on_with_by_the_same_command() {
        let fixture = Fixture::new();
        let first = fixture.lease();
        assert_eq!(fixture.begin(&first, COMMAND), None);
        fixture.step(&first, 1, Some(Outcome::Succeeded));
        fixture.step(&first, 2, Some(Outcome::Failed));
        fixture.step(&first, 3, None);
        let second = fixture.lease();
        let resumed = fixture.begin(&second, COMMAND).unwrap();
        assert_eq!(resumed, Resumed { job_id: first.job_id, done: vec!["step 1".to_owned()] });
        // Killed as well: what the first one did stays done.
        fixture.step(&second, 2, Some(Outcome::Succeeded));
        let third = fixture.lease();
        let resumed = fixture.begin(&third, COMMAND).unwrap();
        assert_eq!(resumed.done, ["step 1", "step 2"]);
        fixture.end(&third);
        let fourth = fixture.lease();
        assert_eq!(fixture.begin(&fourth, COMMAND), None, "it had come to its end");
    }

    #[test]
    fn a_list_of_another_command_ends_what_was_left_unfinished() {
        let fixture = Fixture::new();
        let first = fixture.lease();
        fixture.begin(&first, COMMAND);
        fixture.step(&first, 1, Some(Outcome::Succeeded));
        let second = fixture.lease();
        assert_eq!(fixture.begin(&second, "Backup-CsPool"), None);
        let third = fixture.lease();
        assert_eq!(fixture.begin(&third, COMMAND), None, "a backup has put back what was taken out");
    }

    #[test]
    fn whoever_lost_the_lease_notes_nothing() {
        let fixture = Fixture::new();
        let first = fixture.lease();
        fixture.begin(&first, COMMAND);
        let second = fixture.lease();
        let refused = fixture.store.begin_step(&first, COMMAND, &steps()[0], NOW, &soon());
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Fenced);
        let refused = fixture.store.begin_list(&first, COMMAND, &[], NOW, &soon());
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Fenced);
        assert_eq!(fixture.begin(&second, COMMAND).unwrap().done, Vec::<String>::new());
    }

    #[test]
    fn old_notes_are_forgotten() {
        let fixture = Fixture::new();
        for _ in 0..KEPT + 10 {
            let lease = fixture.lease();
            fixture.begin(&lease, COMMAND);
            fixture.step(&lease, 1, Some(Outcome::Succeeded));
            fixture.end(&lease);
        }
        let database = rusqlite::Connection::open(fixture.folder.path().join("service.sqlite")).unwrap();
        let count = "SELECT count(DISTINCT job_id) FROM csb_journal";
        let lists: u32 = database.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(lists, KEPT);
    }
}
