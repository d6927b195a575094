//! Committing one page to a log as a writer beside connected servers, who all see it with their next transaction.

use std::path::Path;

use super::super::locks;
use super::{FRAME_HEADER_BYTES, LogHeader, LogIndex, checksum, content_at, follow};
use crate::error::{Error, Result};
use crate::platform::{RawFile, read_whole, write_all_at};

/// Pages whose frames one block of the index finds; the first block has fewer, because the head lies in it.
const IN_BLOCK: u32 = 4_096;
const HEAD_BYTES: u32 = 136;
const IN_FIRST: u32 = IN_BLOCK - HEAD_BYTES / 4;
/// A block: the numbers of the pages, then the places of a hash table, of two bytes each.
const BLOCK_BYTES: u64 = 32_768;
const TABLE_AT: u64 = 16_384;
const TABLE: u32 = 8_192;
/// How often the index counts a change, and where what is checked of its head ends.
const CHANGES_AT: usize = 8;
const CHECKED: usize = 40;
const HEAD: usize = 48;

/// Commits a page of which `change` makes the new content, unless it says that nothing has to change. False where somebody else writes, or
/// log and index do not fit together just now.
///
/// # Errors
/// Failures of the device; the log ends where it ended before.
pub(in crate::store) fn commit(
    database: &RawFile,
    (log, log_path): (&RawFile, &Path),
    index: &RawFile,
    page: u32,
    change: impl FnOnce(&mut [u8]) -> bool,
) -> Result<bool> {
    let failed = |cause| Error::io("write", log_path, &cause);
    let Some(_writing) = locks::write_to_log(index).map_err(failed)? else { return Ok(false) };
    let (Some(header), Some(now)) =
        (LogHeader::read(log).map_err(failed)?, LogIndex::read(index).map_err(failed)?)
    else {
        return Ok(false);
    };
    if !header.has(&now.end()) {
        return Ok(false);
    }
    let (found, end) = follow(log, log_path, &header, header.start(), Some(now.frames))?;
    if end != now.end() {
        return Ok(false);
    }
    let size = header.page_size as usize;
    let mut frame = vec![0; FRAME_HEADER_BYTES + size];
    let content = &mut frame[FRAME_HEADER_BYTES..];
    // As long as nobody else writes, the log is not begun anew, and what is carried back of it stays in it.
    let read = match found.of_page.get(&page) {
        Some(frame) => read_whole(log, content, content_at(*frame, header.page_size)),
        None => read_whole(database, content, u64::from(page - 1) * size as u64),
    };
    if read.map_err(failed)? < size {
        return Ok(false);
    }
    if !change(content) {
        return Ok(true);
    }
    let number = now.frames + 1;
    frame[..4].copy_from_slice(&page.to_be_bytes());
    frame[4..8].copy_from_slice(&now.pages.to_be_bytes());
    frame[8..16].copy_from_slice(&now.salts);
    let chain = checksum(now.chain, &frame[..8], header.big_endian);
    let chain = checksum(chain, &frame[FRAME_HEADER_BYTES..], header.big_endian);
    frame[16..20].copy_from_slice(&chain.0.to_be_bytes());
    frame[20..24].copy_from_slice(&chain.1.to_be_bytes());
    let at = content_at(number, header.page_size) - FRAME_HEADER_BYTES as u64;
    write_all_at(log, &frame, at).map_err(failed)?;
    log.sync_data().map_err(failed)?;
    enter(index, number, page).and_then(|()| say(index, number, chain)).map_err(failed)?;
    Ok(true)
}

/// Lets readers find a page by its frame (`walIndexAppend` of SQLite).
fn enter(index: &RawFile, frame: u32, page: u32) -> std::io::Result<()> {
    let block = (frame + IN_BLOCK - IN_FIRST - 1) / IN_BLOCK;
    let before = if block == 0 { 0 } else { IN_FIRST + (block - 1) * IN_BLOCK };
    let place = frame - before;
    let base = u64::from(block) * BLOCK_BYTES;
    let numbers_at = base + if block == 0 { u64::from(HEAD_BYTES) } else { 0 };
    if index.metadata()?.len() < base + BLOCK_BYTES {
        index.set_len(base + BLOCK_BYTES)?;
    }
    let number_at = numbers_at + 4 * u64::from(place - 1);
    let mut table = vec![0; TABLE as usize * 2];
    read_whole(index, &mut table, base + TABLE_AT)?;
    let entry = |table: &[u8], key: u32| {
        let at = key as usize * 2;
        u16::from_ne_bytes([table[at], table[at + 1]])
    };
    // Whoever rolled a transaction back left frames behind that are none.
    let stale: Vec<u32> = (0..TABLE).filter(|key| u32::from(entry(&table, *key)) >= place).collect();
    for key in stale {
        table[key as usize * 2..key as usize * 2 + 2].fill(0);
        write_all_at(index, &[0; 2], base + TABLE_AT + u64::from(key) * 2)?;
    }
    let rest = base + TABLE_AT - number_at;
    write_all_at(index, &vec![0; usize::try_from(rest).unwrap_or(0)], number_at)?;
    write_all_at(index, &page.to_ne_bytes(), number_at)?;
    let mut key = page.wrapping_mul(383) % TABLE;
    while entry(&table, key) != 0 {
        key = (key + 1) % TABLE;
    }
    let place = u16::try_from(place).unwrap_or(u16::MAX);
    write_all_at(index, &place.to_ne_bytes(), base + TABLE_AT + u64::from(key) * 2)
}

/// Says in the head of the index how far the log goes now (`walIndexWriteHdr`): the second copy first.
fn say(index: &RawFile, frames: u32, chain: super::Chain) -> std::io::Result<()> {
    let mut head = [0; HEAD];
    read_whole(index, &mut head, 0)?;
    let at =
        |head: &[u8], at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let changes = at(&head, CHANGES_AT).wrapping_add(1);
    for (at, value) in [(CHANGES_AT, changes), (16, frames), (24, chain.0), (28, chain.1)] {
        head[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    let sum = checksum((0, 0), &head[..CHECKED], cfg!(target_endian = "big"));
    head[CHECKED..CHECKED + 4].copy_from_slice(&sum.0.to_ne_bytes());
    head[CHECKED + 4..].copy_from_slice(&sum.1.to_ne_bytes());
    write_all_at(index, &head, HEAD as u64)?;
    write_all_at(index, &head, 0)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::files::with_suffix;

    fn version(server: &Connection) -> u32 {
        server.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn connected_servers_see_a_page_that_was_committed_beside_them_and_go_on_after_it() {
        let folder = tempfile::tempdir().unwrap();
        // Around the ends of the blocks of the index.
        for frames in
            [1, 2, IN_FIRST - 1, IN_FIRST, IN_FIRST + 1, IN_FIRST + IN_BLOCK, IN_FIRST + IN_BLOCK + 1]
        {
            let path = folder.path().join(frames.to_string());
            let server = Connection::open(&path).unwrap();
            let settings = "PRAGMA page_size = 512; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF";
            server
                .execute_batch(&format!("{settings}; CREATE TABLE t (x); PRAGMA wal_autocheckpoint = 0"))
                .unwrap();
            server.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            for number in 1..frames {
                server.pragma_update(None, "user_version", number).unwrap();
            }
            // What is rolled back may have left frames behind, and entries of the index.
            let spilled = "PRAGMA cache_size = 1; BEGIN; INSERT INTO t SELECT randomblob(400) FROM pragma_function_list LIMIT 50; ROLLBACK";
            server
                .execute_batch(&format!("{spilled}; PRAGMA user_version = 77; PRAGMA cache_size = 100"))
                .unwrap();
            let reader = Connection::open(&path).unwrap();
            assert_eq!(version(&reader), 77);

            let (log_path, database) = (with_suffix(&path, "-wal"), RawFile::open(&path, true).unwrap());
            let open = |path: &Path| RawFile::open(path, true).unwrap();
            let (log, index) = (open(&log_path), open(&with_suffix(&path, "-shm")));
            assert_eq!(LogIndex::read(&index).unwrap().unwrap().frames, frames);
            let set = |value: u32| {
                commit(&database, (&log, &log_path), &index, 1, |first| {
                    first[60..64].copy_from_slice(&value.to_be_bytes());
                    true
                })
            };
            server.execute_batch("BEGIN IMMEDIATE").unwrap();
            assert!(!set(1).unwrap(), "somebody writes");
            server.execute_batch("ROLLBACK").unwrap();
            for value in [4_242, 4_243] {
                assert!(set(value).unwrap());
                assert_eq!([version(&server), version(&reader)], [value; 2], "{frames}");
            }
            server.execute_batch("INSERT INTO t VALUES (randomblob(2000)); PRAGMA user_version = 5").unwrap();
            assert_eq!(version(&reader), 5);
            assert!(set(6).unwrap());
            // Who opens the database without the index reads the log from its beginning.
            let copy = folder.path().join(format!("{frames}-copy"));
            std::fs::copy(&path, &copy).unwrap();
            std::fs::copy(&log_path, with_suffix(&copy, "-wal")).unwrap();
            for server in [reader, Connection::open(&copy).unwrap()] {
                let sound: String = server.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
                let rows: u32 = server.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
                assert_eq!((sound.as_str(), rows, version(&server)), ("ok", 1, 6), "{frames}");
            }
        }
    }
}
