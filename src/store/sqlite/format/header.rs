//! The first hundred bytes of a database (<https://sqlite.org/fileformat2.html#the_database_header>), and which of them a copy has of its own.

use std::fs::File;
use std::io;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::platform::read_whole;

/// How many bytes the header has.
pub(in crate::store) const HEADER_BYTES: usize = 100;

/// What every database begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// A write version that no SQLite knows: it then refuses to write, and goes on reading.
pub(in crate::store) const FENCED: u8 = 3;

/// The byte at which locks lie. The page that holds it is never used.
const LOCK_BYTE: u64 = 0x4000_0000;

/// What a copy's first page has of its own: versions for writing and reading, change counter, schema cookie, what the page count is valid
/// for, and which SQLite wrote it.
const OWN: [Range<usize>; 4] = [18..20, 24..28, 40..44, 92..100];

/// What decides how the pages of a database are laid out: where one of these differs, a copy is made anew in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::store) struct Layout {
    pub(in crate::store) page_size: u32,
    pub(in crate::store) reserved: u8,
    /// 1: UTF-8; 2 and 3: UTF-16.
    pub(in crate::store) encoding: u32,
    /// Whether there are pointer maps.
    pub(in crate::store) has_pointer_map: bool,
    pub(in crate::store) is_incremental: bool,
}

/// What a database says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Header {
    pub(in crate::store) layout: Layout,
    pub(in crate::store) write_version: u8,
    pub(in crate::store) read_version: u8,
    pub(in crate::store) change_counter: u32,
    pub(in crate::store) schema_cookie: u32,
    /// Pages that hold nothing.
    pub(in crate::store) free_pages: u32,
    pages: u32,
    valid_for: u32,
}

impl Header {
    /// Reads a first page, or as much of it as there is; none where it is no database's.
    pub(in crate::store) fn read(page: &[u8]) -> Option<Self> {
        if page.len() < HEADER_BYTES || !page.starts_with(MAGIC) {
            return None;
        }
        let page_size = match u16::from_be_bytes([page[16], page[17]]) {
            1 => 65_536,
            size => u32::from(size),
        };
        if !(512..=65_536).contains(&page_size) || !page_size.is_power_of_two() {
            return None;
        }
        Some(Header {
            layout: Layout {
                page_size,
                reserved: page[20],
                encoding: number(page, 56),
                has_pointer_map: number(page, 52) != 0,
                is_incremental: number(page, 64) != 0,
            },
            write_version: page[18],
            read_version: page[19],
            change_counter: number(page, 24),
            schema_cookie: number(page, 40),
            free_pages: number(page, 36),
            pages: number(page, 28),
            valid_for: number(page, 92),
        })
    }

    /// Reads that of a file; none where it is no database.
    ///
    /// # Errors
    /// Failures of the device.
    pub(in crate::store) fn of(file: &File) -> io::Result<Option<Self>> {
        let mut first = [0; HEADER_BYTES];
        read_whole(file, &mut first, 0)?;
        Ok(Header::read(&first))
    }

    /// How many pages a database in a file of this size has. An SQLite before 3.7.0 does not keep the count in the header.
    pub(in crate::store) fn page_count(&self, file_size: u64) -> u32 {
        if self.pages > 0 && self.change_counter == self.valid_for {
            return self.pages;
        }
        u32::try_from(file_size / u64::from(self.layout.page_size)).unwrap_or(u32::MAX)
    }

    /// Whether readers look for a write-ahead log.
    pub(in crate::store) fn has_log(&self) -> bool {
        self.read_version == 2
    }

    /// Whether every SQLite refuses to write to it.
    pub(in crate::store) fn is_fenced(&self) -> bool {
        self.write_version >= FENCED
    }
}

/// A number of four bytes, the highest first.
pub(in crate::store) fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn set(page: &mut [u8], at: usize, value: u32) {
    page[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// The page that holds the bytes at which locks lie: it is never read or written.
pub(in crate::store) fn lock_page(page_size: u32) -> u32 {
    u32::try_from(LOCK_BYTE / u64::from(page_size)).unwrap_or(u32::MAX - 1) + 1
}

/// Blanks what a copy has of its own, so that the first pages of a database and of its copy can be compared.
pub(in crate::store) fn blank(first_page: &mut [u8], pages: u32) {
    for own in OWN {
        first_page[own].fill(0);
    }
    set(first_page, 28, pages);
}

/// What a copy's first page has of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Own {
    pub(in crate::store) change_counter: u32,
    /// It only grows, so that open readers read the schema again.
    pub(in crate::store) schema_cookie: u32,
    /// Versions for writing and reading; none for a fenced copy, which is read without a log.
    pub(in crate::store) versions: Option<(u8, u8)>,
}

impl Own {
    /// Writes it into a first page.
    pub(in crate::store) fn put(self, first_page: &mut [u8], pages: u32) {
        let (write, read) = self.versions.unwrap_or((FENCED, 1));
        first_page[18] = write;
        first_page[19] = read;
        set(first_page, 24, self.change_counter);
        set(first_page, 28, pages);
        set(first_page, 40, self.schema_cookie);
        set(first_page, 92, self.change_counter);
        set(first_page, 96, rusqlite::version_number().unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_header_is_what_sqlite_says_of_the_database() {
        let folder = tempfile::tempdir().unwrap();
        for (size, encoding, vacuum) in [(512, "UTF-8", 0), (4_096, "UTF-16le", 1), (65_536, "UTF-16be", 2)] {
            let path = folder.path().join(size.to_string());
            let server = Connection::open(&path).unwrap();
            let settings = format!(
                "PRAGMA page_size = {size}; PRAGMA encoding = '{encoding}'; PRAGMA auto_vacuum = {vacuum}"
            );
            server
                .execute_batch(&format!("{settings}; CREATE TABLE t (x); PRAGMA user_version = 7"))
                .unwrap();
            let file = std::fs::read(&path).unwrap();
            let header = Header::read(&file).unwrap();
            assert_eq!(header.layout.page_size, size);
            assert_eq!(
                (header.layout.has_pointer_map, header.layout.is_incremental),
                (vacuum > 0, vacuum == 2)
            );
            assert_eq!(header.page_count(0), u32::try_from(file.len()).unwrap() / size);
            assert!(!header.has_log() && !header.is_fenced());
        }
        assert_eq!(Header::read(&[0; 100]), None);
        assert_eq!(Header::read(b"SQLite format 3\0"), None);
    }

    #[test]
    fn the_page_of_the_locks_is_where_sqlite_has_it() {
        assert_eq!(lock_page(4_096), 262_145);
        assert_eq!(lock_page(65_536), 16_385);
        assert_eq!(lock_page(512), 2_097_153);
    }
}
