//! SQLite's locks (<https://sqlite.org/lockingv3.html>), taken as it takes them, but by the open file and not by the process.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::log::{LogIndex, SLOTS_AT, UNUSED};
use crate::error::{Error, Result};
use crate::platform::{
    FileId, RangeLock, RawFile, lock_range, range_lock_of_others, unlock_range, write_all_at,
};

const PENDING: Range<u64> = 0x4000_0000..0x4000_0001;
const RESERVED: Range<u64> = 0x4000_0001..0x4000_0002;
const SHARED: Range<u64> = 0x4000_0002..0x4000_0002 + 510;
/// Where a log's index has its locks: writing, carrying back, recovering, and a slot for each kind of reader.
const LOG_SLOTS: u64 = 123;
const WRITING: Range<u64> = 120..121;
/// Everybody who has the index open shares this one.
const CONNECTED: Range<u64> = 128..129;

/// Pauses between two tries to get a lock.
const PAUSE: Duration = Duration::from_millis(1);

/// A part of a file that is locked until this is dropped.
#[derive(Debug)]
pub(in crate::store) struct Held<'a> {
    file: &'a RawFile,
    range: Range<u64>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A lock that cannot be given up goes with the file.
        let _ = unlock_range(self.file, self.range.clone());
    }
}

fn take<'a>(file: &'a RawFile, lock: RangeLock, range: Range<u64>) -> io::Result<Option<Held<'a>>> {
    Ok(lock_range(file, lock, range.clone())?.then_some(Held { file, range }))
}

/// The right to read a database without a log: nobody writes to it meanwhile.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn share(database: &RawFile) -> io::Result<Option<Held<'_>>> {
    // Whoever waits to write holds this one, and lets no new reader in.
    let Some(_door) = take(database, RangeLock::Shared, PENDING)? else { return Ok(None) };
    take(database, RangeLock::Shared, SHARED)
}

/// Who has locked a database, as far as a look without a lock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Holder {
    /// Nobody, or readers only.
    Readers,
    /// Somebody who writes, or is about to.
    Writer,
    /// Somebody who lets nobody else in.
    Exclusive,
}

/// Looks for locks, and takes none.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn holder(database: &RawFile) -> io::Result<Holder> {
    if range_lock_of_others(database, RangeLock::Shared, SHARED)?.is_some() {
        return Ok(Holder::Exclusive);
    }
    // Readers hold the first of these for a moment, as readers.
    let writes = range_lock_of_others(database, RangeLock::Shared, PENDING.start..RESERVED.end)?;
    Ok(if writes.is_some() { Holder::Writer } else { Holder::Readers })
}

/// Whether somebody has the index of a log open.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn is_connected(index: &RawFile) -> io::Result<bool> {
    Ok(range_lock_of_others(index, RangeLock::Exclusive, CONNECTED)?.is_some())
}

/// A slot that keeps the database as a log's index says it is: what lies in it is not overwritten by what was committed later.
#[derive(Debug)]
pub(in crate::store) struct Slot<'a> {
    _held: Held<'a>,
    /// What the index said when the slot was taken.
    pub(in crate::store) index: LogIndex,
    /// Whether the log is not needed: everything in it is in the database.
    pub(in crate::store) is_carried: bool,
}

/// Takes a reader's slot as SQLite does (`walTryBeginRead`); none where somebody came between, or no slot can be had. The caller holds
/// [`share`] of the database, so that nobody removes the log.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn take_slot(shm: &RawFile, may_write: bool) -> io::Result<Option<Slot<'_>>> {
    let Some(index) = LogIndex::read(shm)? else { return Ok(None) };
    slot_for(shm, index, may_write)
}

/// As [`take_slot`], for what the index said a moment ago.
fn slot_for(shm: &RawFile, index: LogIndex, may_write: bool) -> io::Result<Option<Slot<'_>>> {
    let lock_of = |slot: usize| LOG_SLOTS + slot as u64..LOG_SLOTS + slot as u64 + 1;
    let is_same = |slot: usize| -> io::Result<bool> {
        // What a server did to the slot before it was ours shows now.
        Ok(LogIndex::read(shm)?.is_some_and(|now| {
            now.end() == index.end() && now.pages == index.pages && now.slots[slot] == index.slots[slot]
        }))
    };
    if index.carried == index.frames {
        let Some(held) = take(shm, RangeLock::Shared, lock_of(0))? else { return Ok(None) };
        return Ok(is_same(0)?.then_some(Slot { _held: held, index, is_carried: true }));
    }
    let usable = |slot: &usize| index.slots[*slot] != UNUSED && index.slots[*slot] <= index.frames;
    let best = (1..5).filter(usable).max_by_key(|slot| index.slots[*slot]);
    let slot = match best {
        Some(slot) if index.slots[slot] == index.frames || !may_write => slot,
        _ if may_write => match move_a_slot(shm, index.frames, lock_of)? {
            Some(slot) => {
                let Some(held) = take(shm, RangeLock::Shared, lock_of(slot))? else { return Ok(None) };
                let is_ours = LogIndex::read(shm)?
                    .is_some_and(|now| now.end() == index.end() && now.slots[slot] == index.frames);
                return Ok(is_ours.then_some(Slot { _held: held, index, is_carried: false }));
            }
            None => match best {
                Some(slot) => slot,
                None => return Ok(None),
            },
        },
        _ => return Ok(None),
    };
    let Some(held) = take(shm, RangeLock::Shared, lock_of(slot))? else { return Ok(None) };
    Ok(is_same(slot)?.then_some(Slot { _held: held, index, is_carried: false }))
}

/// Says in a slot that nobody holds that its readers need the log up to this frame.
fn move_a_slot(
    shm: &RawFile,
    frames: u32,
    lock_of: impl Fn(usize) -> Range<u64>,
) -> io::Result<Option<usize>> {
    for slot in 1..5 {
        if let Some(_alone) = take(shm, RangeLock::Exclusive, lock_of(slot))? {
            write_all_at(shm, &frames.to_ne_bytes(), SLOTS_AT + 4 * slot as u64)?;
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// The right to write to a log, of which this is the index; none where somebody else writes.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn write_to_log(index: &RawFile) -> io::Result<Option<Held<'_>>> {
    take(index, RangeLock::Exclusive, WRITING)
}

/// The right to write to a database: readers go on, and no other writer begins.
#[derive(Debug)]
pub(in crate::store) struct Reserved<'a> {
    file: &'a RawFile,
    _shared: Held<'a>,
    _reserved: Held<'a>,
}

/// Takes it; none where somebody else writes, or waits to.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn reserve(database: &RawFile) -> io::Result<Option<Reserved<'_>>> {
    let Some(shared) = share(database)? else { return Ok(None) };
    let Some(reserved) = take(database, RangeLock::Exclusive, RESERVED)? else { return Ok(None) };
    Ok(Some(Reserved { file: database, _shared: shared, _reserved: reserved }))
}

impl Reserved<'_> {
    /// Lets no new reader in and waits until the last one has gone; false where that takes longer than the limit. Nobody reads or writes
    /// until what it returns is dropped.
    ///
    /// # Errors
    /// Failures of the file system; cancelled.
    pub(in crate::store) fn shut(
        &self,
        path: &Path,
        patience: Duration,
        cancel: &CancellationToken,
    ) -> Result<Option<Shut<'_>>> {
        let failed = |cause: io::Error| Error::io("lock", path, &cause);
        let started = Instant::now();
        let mut door = None;
        loop {
            if door.is_none() {
                door = take(self.file, RangeLock::Exclusive, PENDING).map_err(failed)?;
            }
            if door.is_some() && lock_range(self.file, RangeLock::Exclusive, SHARED).map_err(failed)? {
                return Ok(door.map(|door| Shut { file: self.file, _door: door }));
            }
            if started.elapsed() >= patience {
                return Ok(None);
            }
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Nobody else reads or writes a database.
#[derive(Debug)]
pub(in crate::store) struct Shut<'a> {
    file: &'a RawFile,
    _door: Held<'a>,
}

impl Drop for Shut<'_> {
    fn drop(&mut self) {
        // Readers may come again; what shuts out other writers is held on.
        let _ = lock_range(self.file, RangeLock::Shared, SHARED);
    }
}

/// Whether the file that was opened still has its name: a lock on another one is none.
pub(in crate::store) fn is_still_at(file: &RawFile, path: &Path) -> bool {
    FileId::of(path).is_ok_and(|id| id == file.id())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::files::with_suffix;

    #[test]
    fn who_reads_writes_and_waits_to_write_is_seen_and_nobody_gets_before_whoever_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let connect = || {
            let connection = Connection::open(&path).unwrap();
            connection.busy_timeout(Duration::ZERO).unwrap();
            connection
        };
        let (server, reader) = (connect(), connect());
        server.execute_batch("CREATE TABLE t (x)").unwrap();
        let file = RawFile::open(&path, true).unwrap();
        let seen = || (holder(&file).unwrap(), share(&file).unwrap().is_some());
        assert_eq!(seen(), (Holder::Readers, true));
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        assert_eq!(seen(), (Holder::Readers, true));
        server.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        assert_eq!(seen(), (Holder::Writer, true));
        // It cannot commit as long as somebody reads, and lets nobody else begin to.
        server.execute_batch("COMMIT").unwrap_err();
        assert_eq!(seen(), (Holder::Writer, false));
        reader.execute_batch("COMMIT").unwrap();
        server.execute_batch("COMMIT; BEGIN EXCLUSIVE").unwrap();
        assert_eq!(seen(), (Holder::Exclusive, false));
        server.execute_batch("COMMIT").unwrap();
        assert_eq!(seen(), (Holder::Readers, true));
        // Ours, seen by SQLite.
        let reserved = reserve(&file).unwrap().unwrap();
        reader.execute_batch("SELECT count(*) FROM t").unwrap();
        server.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        let shut = reserved.shut(&path, Duration::ZERO, &CancellationToken::new()).unwrap().unwrap();
        reader.execute_batch("SELECT count(*) FROM t").unwrap_err();
        drop(shut);
        reader.execute_batch("SELECT count(*) FROM t").unwrap();
        server.execute_batch("BEGIN IMMEDIATE").unwrap_err();
        drop(reserved);
        server.execute_batch("BEGIN IMMEDIATE; COMMIT").unwrap();
    }

    #[test]
    fn a_slot_is_none_where_somebody_committed_after_the_index_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        let run = |sql: &str| server.execute_batch(sql).unwrap();
        let carry = || server.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
        run("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)");
        let shm = RawFile::open(&with_suffix(&path, "-shm"), true).unwrap();
        let said = || LogIndex::read(&shm).unwrap().unwrap();
        let is_taken = |index, may_write| slot_for(&shm, index, may_write).unwrap().is_some();
        for may_write in [true, false] {
            // Nothing is carried; everything is; a part of it is.
            for step in 0..3 {
                if step == 1 {
                    carry();
                }
                let before = said();
                assert!(is_taken(before, may_write) || !may_write, "{step}");
                run("INSERT INTO t VALUES (randomblob(9000))");
                carry();
                assert!(!is_taken(before, may_write), "{step}, may write: {may_write}");
            }
        }
    }
}
