//! Write-ahead logs (<https://sqlite.org/walformat.html>): frames, the chain of their checksums, and the index beside them.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::header::number;
use crate::error::{Error, Result};
use crate::platform::{RawFile, read_whole};

pub(in crate::store) mod append;

/// The version of the format, and there was never another one.
const VERSION: u32 = 3_007_000;
/// What a log begins with; the last bit says in which order checksums read their bytes.
const MAGIC: u32 = 0x377f_0682;
pub(in crate::store) const LOG_HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// How much of a log is read at once, about.
const CHUNK_BYTES: usize = 1 << 20;

/// Two sums that go on from frame to frame.
pub(in crate::store) type Chain = (u32, u32);

/// A position in a log, up to which everything is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct LogMark {
    /// Which log: a log that is begun anew has other ones.
    salts: [u8; 8],
    /// How many frames.
    pub(in crate::store) frames: u32,
    /// The sums after the last of them.
    chain: Chain,
}

/// Goes on with a chain over words of eight bytes.
fn checksum(mut chain: Chain, bytes: &[u8], big_endian: bool) -> Chain {
    let word = |four: &[u8]| {
        let four = [four[0], four[1], four[2], four[3]];
        if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    for eight in bytes.chunks_exact(8) {
        chain.0 = chain.0.wrapping_add(word(&eight[..4])).wrapping_add(chain.1);
        chain.1 = chain.1.wrapping_add(word(&eight[4..])).wrapping_add(chain.0);
    }
    chain
}

/// The beginning of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct LogHeader {
    pub(in crate::store) page_size: u32,
    big_endian: bool,
    salts: [u8; 8],
    chain: Chain,
}

impl LogHeader {
    /// Reads it; none where the log is empty or begins with something else, so that SQLite ignores it as a whole.
    ///
    /// # Errors
    /// Failures of the device.
    pub(in crate::store) fn read(log: &RawFile) -> io::Result<Option<Self>> {
        let mut bytes = [0; 32];
        if read_whole(log, &mut bytes, 0)? < bytes.len() {
            return Ok(None);
        }
        let magic = number(&bytes, 0);
        let big_endian = magic & 1 == 1;
        let page_size = number(&bytes, 8);
        let chain = checksum((0, 0), &bytes[..24], big_endian);
        let is_whole = magic & !1 == MAGIC
            && number(&bytes, 4) == VERSION
            && (512..=65_536).contains(&page_size)
            && page_size.is_power_of_two()
            && chain == (number(&bytes, 24), number(&bytes, 28));
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[16..24]);
        Ok(is_whole.then_some(LogHeader { page_size, big_endian, salts, chain }))
    }

    /// The position before the first frame.
    pub(in crate::store) fn start(&self) -> LogMark {
        LogMark { salts: self.salts, frames: 0, chain: self.chain }
    }

    /// Whether a position is one of this log.
    pub(in crate::store) fn has(&self, mark: &LogMark) -> bool {
        self.salts == mark.salts
    }
}

/// What the index of a log says, which connected servers share (`-shm`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct LogIndex {
    /// How many frames are committed.
    pub(in crate::store) frames: u32,
    /// How many pages the database has.
    pub(in crate::store) pages: u32,
    chain: Chain,
    salts: [u8; 8],
    /// How many frames are in the database already.
    pub(in crate::store) carried: u32,
    /// Up to which frame readers may need the log, by slot.
    pub(in crate::store) slots: [u32; 5],
    pub(in crate::store) page_size: u32,
}

/// Where the slots for readers lie in the index.
pub(in crate::store) const SLOTS_AT: u64 = 100;
/// What an unused slot says.
pub(in crate::store) const UNUSED: u32 = u32::MAX;

impl LogIndex {
    /// Reads it; none where it is not there yet, or is being written.
    ///
    /// # Errors
    /// Failures of the device.
    pub(in crate::store) fn read(index: &RawFile) -> io::Result<Option<Self>> {
        let mut bytes = [0; 136];
        if read_whole(index, &mut bytes, 0)? < bytes.len() {
            return Ok(None);
        }
        let native = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let sum = checksum((0, 0), &bytes[..40], cfg!(target_endian = "big"));
        let is_whole = bytes[..48] == bytes[48..96]
            && bytes[12] != 0
            && native(0) == VERSION
            && sum == (native(40), native(44));
        if !is_whole {
            return Ok(None);
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&bytes[32..40]);
        let page_size = u32::from(u16::from_ne_bytes([bytes[14], bytes[15]]));
        Ok(Some(LogIndex {
            frames: native(16),
            pages: native(20),
            chain: (native(24), native(28)),
            salts,
            carried: native(96),
            slots: std::array::from_fn(|slot| native(100 + 4 * slot)),
            page_size: if page_size == 1 { 65_536 } else { page_size },
        }))
    }

    /// Whether it is the one of the log that a position is in; where there are no frames there may be no log yet.
    pub(in crate::store) fn belongs_to(&self, mark: &LogMark) -> bool {
        self.salts == mark.salts
    }

    /// Where the log ends by this index.
    pub(in crate::store) fn end(&self) -> LogMark {
        LogMark { salts: self.salts, frames: self.frames, chain: self.chain }
    }
}

/// Where the pages of a database lie that a log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct Frames {
    /// The frame of each page that has one, counted from 1.
    pub(in crate::store) of_page: HashMap<u32, u32>,
    /// How many pages the database has after the last commit; none where there was none.
    pub(in crate::store) pages: Option<u32>,
}

/// Where a page's content begins in the log.
pub(in crate::store) fn content_at(frame: u32, page_size: u32) -> u64 {
    let each = FRAME_HEADER_BYTES as u64 + u64::from(page_size);
    LOG_HEADER_BYTES + u64::from(frame - 1) * each + FRAME_HEADER_BYTES as u64
}

/// Reads the frames after a position, up to a number of them or as far as the chain goes on, and keeps those of whole commits. The
/// position after the last commit.
///
/// # Errors
/// Failures of the device.
pub(in crate::store) fn follow(
    log: &RawFile,
    path: &Path,
    header: &LogHeader,
    from: LogMark,
    until: Option<u32>,
) -> Result<(Frames, LogMark)> {
    let each = FRAME_HEADER_BYTES + header.page_size as usize;
    let at_once = (CHUNK_BYTES / each).max(1);
    let mut buffer = vec![0; at_once * each];
    let (mut found, mut end) = (Frames::default(), from);
    let mut open = Vec::new();
    let mut mark = from;
    'log: while until.is_none_or(|until| mark.frames < until) {
        let at = content_at(mark.frames + 1, header.page_size) - FRAME_HEADER_BYTES as u64;
        let read = read_whole(log, &mut buffer, at).map_err(|cause| Error::io("read", path, &cause))?;
        for frame in buffer[..read].chunks_exact(each) {
            let (head, content) = frame.split_at(FRAME_HEADER_BYTES);
            let chain =
                checksum(checksum(mark.chain, &head[..8], header.big_endian), content, header.big_endian);
            let goes_on = head[8..16] == mark.salts && chain == (number(head, 16), number(head, 20));
            if !goes_on || until.is_some_and(|until| mark.frames >= until) {
                break 'log;
            }
            mark = LogMark { frames: mark.frames + 1, chain, ..mark };
            open.push((number(head, 0), mark.frames));
            let pages = number(head, 4);
            if pages > 0 {
                found.of_page.extend(open.drain(..));
                found.pages = Some(pages);
                end = mark;
            }
        }
        if read < buffer.len() {
            break;
        }
    }
    Ok((found, end))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::store::files::with_suffix;

    #[test]
    fn a_log_and_its_index_end_at_the_same_frame_and_a_frame_that_was_changed_ends_the_log_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        server.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x)").unwrap();
        let log_path = with_suffix(&path, "-wal");
        let log = RawFile::open(&log_path, false).unwrap();
        let index = RawFile::open(&with_suffix(&path, "-shm"), false).unwrap();
        let header = LogHeader::read(&log).unwrap().unwrap();
        let read = |from, until| follow(&log, &log_path, &header, from, until).unwrap();
        let (first, middle) = read(header.start(), None);
        server.execute_batch("INSERT INTO t VALUES (randomblob(9000))").unwrap();
        let said = LogIndex::read(&index).unwrap().unwrap();
        let (_, end) = read(header.start(), None);
        assert_eq!((end, said.page_size), (said.end(), header.page_size));
        assert!(said.belongs_to(&end) && header.has(&end));
        let (later, same_end) = read(middle, Some(said.frames));
        assert_eq!(same_end, end);
        assert_eq!(later.pages, Some(said.pages));
        assert!(later.of_page.len() >= 3 && first.of_page.contains_key(&1));

        let copy = folder.path().join("copy-wal");
        let mut bytes = std::fs::read(&log_path).unwrap();
        let last = usize::try_from(content_at(said.frames, header.page_size)).unwrap();
        bytes[last + 17] ^= 1;
        std::fs::write(&copy, bytes).unwrap();
        let copy = RawFile::open(&copy, false).unwrap();
        let (_, before) = follow(&copy, &log_path, &header, header.start(), None).unwrap();
        assert_eq!(before, middle, "the commit whose last frame was changed is none");
    }
}
