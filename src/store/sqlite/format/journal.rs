//! Rollback journals (<https://sqlite.org/fileformat2.html#the_rollback_journal>): the pages of a database as they were before a transaction.
//!
//! An import writes one of its own, so that every SQLite undoes it should we be killed. One that a server left behind is only read: its
//! pages stand for those of the database.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::header::{lock_page, number};
use crate::error::{Error, Result};
use crate::platform::{RawFile, Rights, create_file, read_whole, sync_folder, write_all_at};
use crate::store::files::{remove, with_suffix};

const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// How much of a sector the head of a part takes, and what is written at once without being torn.
const SECTOR_BYTES: usize = 512;
/// "As many as there are."
const ALL: u32 = u32::MAX;

/// Where a database's journal lies.
pub(in crate::store) fn place(database: &Path) -> PathBuf {
    with_suffix(database, "-journal")
}

/// Some of a page, from its end on in steps of 200 bytes (`pager_cksum` of SQLite).
fn checksum(nonce: u32, page: &[u8]) -> u32 {
    let mut sum = nonce;
    let mut at = page.len().saturating_sub(200);
    while at > 0 {
        sum = sum.wrapping_add(u32::from(page[at]));
        at = at.saturating_sub(200);
    }
    sum
}

/// The pages of a database as they were before a transaction that was not finished.
#[derive(Debug)]
pub(in crate::store) struct Before {
    /// How many pages the database had.
    pub(in crate::store) pages: u32,
    pub(in crate::store) page_size: u32,
    /// Where the content of each page that was changed lies in the journal.
    pub(in crate::store) of_page: HashMap<u32, u64>,
}

/// Whether a journal says anything: one that was finished was removed, emptied, or begins with a zero.
///
/// # Errors
/// Failures of the device.
pub(in crate::store) fn is_unfinished(journal: &RawFile) -> io::Result<bool> {
    let mut first = [0];
    Ok(read_whole(journal, &mut first, 0)? == 1 && first[0] != 0)
}

/// Reads an unfinished journal. None where SQLite would remove it unread: it was not begun, or belongs to a transaction over several
/// databases that was finished.
///
/// # Errors
/// Failures of the device.
pub(in crate::store) fn read(journal: &RawFile, path: &Path) -> Result<Option<Before>> {
    let failed = |cause: io::Error| Error::io("read", path, &cause);
    let size = journal.metadata().map_err(failed)?.len();
    if super_journal(journal, size).map_err(failed)?.is_some_and(|super_journal| !super_journal.exists()) {
        return Ok(None);
    }
    let mut found: Option<Before> = None;
    let mut at = 0;
    loop {
        let mut head = [0; 28];
        if read_whole(journal, &mut head, at).map_err(failed)? < head.len() || head[..8] != MAGIC {
            return Ok(found);
        }
        let (sector, page_size) = (u64::from(number(&head, 20)), number(&head, 24));
        let is_valid = (512..=65_536).contains(&page_size)
            && page_size.is_power_of_two()
            && (32..=65_536).contains(&sector)
            && sector.is_power_of_two();
        if !is_valid || found.as_ref().is_some_and(|found| found.page_size != page_size) {
            return Ok(found);
        }
        let nonce = number(&head, 12);
        let before = found.get_or_insert_with(|| Before {
            pages: number(&head, 16),
            page_size,
            of_page: HashMap::new(),
        });
        at += sector;
        let each = u64::from(page_size) + 8;
        let records = match number(&head, 8) {
            ALL => size.saturating_sub(at) / each,
            records => u64::from(records),
        };
        let mut record = vec![0; page_size as usize + 8];
        for _ in 0..records {
            let is_whole = read_whole(journal, &mut record, at).map_err(failed)? == record.len();
            let (page, content) = (number(&record, 0), &record[4..record.len() - 4]);
            if !is_whole || page == 0 || checksum(nonce, content) != number(&record, record.len() - 4) {
                return Ok(found);
            }
            if page <= before.pages {
                before.of_page.entry(page).or_insert(at + 4);
            }
            at += each;
        }
        at = at.next_multiple_of(sector);
    }
}

/// How long what SQLite adds to the name of a database is for a journal of several ones: `-mj`, a number, a `9` and another number.
const SUPER_NAME_BYTES: usize = 12;

/// Whether a name is one that SQLite gives to the journal of several databases. It rolls back what names another one.
fn is_super_name(name: &[u8]) -> bool {
    let Some(number) = name.last_chunk::<SUPER_NAME_BYTES>().and_then(|added| added.strip_prefix(b"-mj"))
    else {
        return false;
    };
    number.iter().all(u8::is_ascii_hexdigit) && number[6] == b'9'
}

/// The journal of a transaction over several databases that this one belongs to.
fn super_journal(journal: &RawFile, size: u64) -> io::Result<Option<PathBuf>> {
    let mut tail = [0; 16];
    if size < 16 || read_whole(journal, &mut tail, size - 16)? < 16 || tail[8..] != MAGIC {
        return Ok(None);
    }
    let length = u64::from(number(&tail, 0));
    if length == 0 || length > 4_096 || length + 16 > size {
        return Ok(None);
    }
    let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
    read_whole(journal, &mut name, size - 16 - length)?;
    let sum =
        name.iter().fold(0_u32, |sum, byte| sum.wrapping_add(i32::from(byte.cast_signed()).cast_unsigned()));
    let is_one = sum == number(&tail, 4) && is_super_name(&name);
    Ok(is_one.then(|| PathBuf::from(String::from_utf8_lossy(&name).into_owned())))
}

/// Removes what lies beside a database of transactions over several ones, unless a journal of one of them is left: without it that one
/// would count as ended.
///
/// # Errors
/// Failures of the file system.
pub(in crate::store) fn remove_super_journals(database: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (database.parent(), database.file_name()) else { return Ok(()) };
    let failed = |cause: io::Error| Error::io("list", folder, &cause);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let found = entry.map_err(failed)?.file_name();
        let found_bytes = found.as_encoded_bytes();
        let is_one = found_bytes.len() == name.len() + SUPER_NAME_BYTES
            && found_bytes.starts_with(name.as_encoded_bytes())
            && is_super_name(found_bytes);
        let path = folder.join(&found);
        if is_one && !is_named_by_a_journal(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Whether one of the journals is there that a transaction over several databases has.
fn is_named_by_a_journal(super_journal: &Path) -> bool {
    // One that cannot be read stays.
    let Ok(names) = std::fs::read(super_journal) else { return true };
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.into_iter().any(|name| Path::new(&*String::from_utf8_lossy(name)).exists())
}

/// The journal of an import. Whoever holds the database's lock on writing writes it; while that is held nobody else takes it for one that
/// was left behind.
#[derive(Debug)]
pub(in crate::store) struct Journal {
    path: PathBuf,
    file: RawFile,
    /// The page of the locks: it belongs to nobody, and SQLite ends a journal where it is named.
    never: u32,
    nonce: u32,
    records: u32,
    end: u64,
    buffer: Vec<u8>,
}

/// Records are written in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;

impl Journal {
    /// Begins one for a database of so many pages. Nothing can be undone with it before [`Journal::seal`].
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(in crate::store) fn begin(
        database: &Path,
        page_size: u32,
        pages: u32,
        rights: Rights,
    ) -> Result<Self> {
        let path = place(database);
        let failed = |cause: io::Error| Error::io("write", &path, &cause);
        let file = RawFile::make(|| create_file(&path, rights)).map_err(failed)?;
        let nonce = fastrand::u32(..);
        let mut head = [0; SECTOR_BYTES];
        head[..8].copy_from_slice(&MAGIC);
        for (at, value) in [(8, 0), (12, nonce), (16, pages), (20, 512), (24, page_size)] {
            head[at..at + 4].copy_from_slice(&u32::to_be_bytes(value));
        }
        write_all_at(&file, &head, 0).map_err(failed)?;
        let never = lock_page(page_size);
        Ok(Journal { path, file, never, nonce, records: 0, end: SECTOR_BYTES as u64, buffer: Vec::new() })
    }

    /// Adds a page as it is now; that of the locks is left out.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(in crate::store) fn add(&mut self, page: u32, content: &[u8]) -> Result<()> {
        if page == self.never {
            return Ok(());
        }
        self.buffer.extend(page.to_be_bytes());
        self.buffer.extend(content);
        self.buffer.extend(checksum(self.nonce, content).to_be_bytes());
        self.records += 1;
        if self.buffer.len() >= PIECE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let written = write_all_at(&self.file, &self.buffer, self.end);
        written.map_err(|cause| Error::io("write", &self.path, &cause))?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Makes it durable, and good for undoing: only now the database may be written to. The number of records is written once they
    /// are on the device, as SQLite does it: their checksums look at some bytes only.
    ///
    /// # Errors
    /// `DiskFull`, `Io`.
    pub(in crate::store) fn seal(&mut self) -> Result<()> {
        self.flush()?;
        let failed = |cause: io::Error| Error::io("write", &self.path, &cause);
        self.file.sync_data().map_err(failed)?;
        sync_folder(self.path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        write_all_at(&self.file, &self.records.to_be_bytes(), 8).map_err(failed)?;
        self.file.sync_data().map_err(failed)
    }

    /// Removes it, which is what commits the transaction.
    ///
    /// # Errors
    /// Failures of the file system: the transaction is then undone by whoever opens the database next.
    pub(in crate::store) fn finish(self) -> Result<()> {
        let failed = |cause: io::Error| Error::io("remove", &self.path, &cause);
        std::fs::remove_file(&self.path).map_err(failed)?;
        sync_folder(self.path.parent().unwrap_or(Path::new("."))).map_err(failed)
    }

    /// Writes every page back as it was, and removes the journal.
    ///
    /// # Errors
    /// `Io`: the journal stays, and whoever opens the database next undoes the transaction.
    pub(in crate::store) fn undo(mut self, database: &RawFile, path: &Path) -> Result<()> {
        self.flush()?;
        if let Some(before) = read(&self.file, &self.path)? {
            put_back(&before, &self.file, &self.path, database, path)?;
        }
        self.finish()
    }
}

/// Writes the pages of a journal into the database that it belongs to, and makes them durable.
///
/// # Errors
/// Failures of the device.
pub(in crate::store) fn put_back(
    before: &Before,
    journal: &RawFile,
    journal_path: &Path,
    database: &RawFile,
    path: &Path,
) -> Result<()> {
    let failed = |cause: io::Error| Error::io("write", path, &cause);
    let size = before.page_size as usize;
    let mut content = vec![0; size];
    for (page, at) in &before.of_page {
        let read = read_whole(journal, &mut content, *at)
            .map_err(|cause| Error::io("read", journal_path, &cause))?;
        if read == size {
            write_all_at(database, &content, u64::from(page - 1) * size as u64).map_err(failed)?;
        }
    }
    database.set_len(u64::from(before.pages) * size as u64).map_err(failed)?;
    database.sync_data().map_err(failed)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    fn database(folder: &Path) -> PathBuf {
        let path = folder.join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        server.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(20000))").unwrap();
        path
    }

    #[test]
    fn every_sqlite_undoes_an_import_that_was_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let before = std::fs::read(&path).unwrap();
        let file = RawFile::open(&path, true).unwrap();
        let pages = u32::try_from(before.len()).unwrap() / 4_096;
        let mut journal = Journal::begin(&path, 4_096, pages, Rights::PRIVATE).unwrap();
        let page_of = |page: usize| &before[(page - 1) * 4_096..page * 4_096];
        journal.add(1, page_of(1)).unwrap();
        // Where every page is kept, that of the locks comes between others; SQLite would undo nothing of what follows it.
        journal.add(262_145, &[0; 4_096]).unwrap();
        journal.add(3, page_of(3)).unwrap();
        journal.seal().unwrap();
        write_all_at(&file, &[7; 4_096], 0).unwrap();
        write_all_at(&file, &[7; 4_096], 2 * 4_096).unwrap();
        write_all_at(&file, &[7; 4_096], before.len() as u64).unwrap();
        drop((journal, file));
        Connection::open(&path).unwrap().query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(!place(&path).exists());
    }

    #[test]
    fn what_sqlite_leaves_behind_is_read_as_it_would_play_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let before = std::fs::read(&path).unwrap();
        let server = Connection::open(&path).unwrap();
        server.execute_batch("PRAGMA cache_size = 2; BEGIN; UPDATE t SET x = randomblob(60000)").unwrap();
        let copy = folder.path().join("copy.sqlite");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(place(&path), place(&copy)).unwrap();
        assert_ne!(std::fs::read(&copy).unwrap(), before, "it was written to before its transaction ended");
        let journal = RawFile::open(&place(&copy), false).unwrap();
        assert!(is_unfinished(&journal).unwrap());
        let found = read(&journal, &place(&copy)).unwrap().unwrap();
        let file = RawFile::open(&copy, true).unwrap();
        put_back(&found, &journal, &place(&copy), &file, &copy).unwrap();
        assert_eq!(std::fs::read(&copy).unwrap(), before);
    }

    /// As it is named at the end of a journal.
    fn named(super_journal: &Path) -> Vec<u8> {
        let name = super_journal.to_str().unwrap().as_bytes();
        let sum: u32 = name.iter().map(|byte| u32::from(*byte)).sum();
        let mut tail = (0x4000_0000_u32 / 4_096 + 1).to_be_bytes().to_vec();
        tail.extend(name);
        tail.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        tail.extend(sum.to_be_bytes());
        tail.extend(MAGIC);
        tail
    }

    #[test]
    fn the_journal_of_a_transaction_over_several_databases_counts_as_long_as_their_common_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path());
        let server = Connection::open(&path).unwrap();
        server.execute_batch("PRAGMA cache_size = 2; BEGIN; UPDATE t SET x = randomblob(60000)").unwrap();
        let (left, journal) = (std::fs::read(&path).unwrap(), std::fs::read(place(&path)).unwrap());
        // There; not there; and of a name that SQLite never gives.
        for (suffix, is_there) in [("-mj0123AB9CD", true), ("-mj0123AB9CD", false), ("-mj0123ABCDE", false)] {
            let is_played = is_there || !is_super_name(suffix.as_bytes());
            let lay = |name: &str| {
                let copy = folder.path().join(format!("{name}-{is_there}-{is_played}"));
                let super_journal = with_suffix(&copy, suffix);
                std::fs::write(&copy, &left).unwrap();
                std::fs::write(place(&copy), [journal.as_slice(), &named(&super_journal)].concat()).unwrap();
                if is_there {
                    let children = format!("{}\0", place(&copy).display());
                    std::fs::write(super_journal, children).unwrap();
                }
                copy
            };
            let theirs = lay("theirs");
            let reader = Connection::open(&theirs).unwrap();
            reader.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
            drop(reader);
            let ours = lay("ours");
            let (opened, file) =
                (RawFile::open(&place(&ours), false).unwrap(), RawFile::open(&ours, true).unwrap());
            let found = read(&opened, &place(&ours)).unwrap();
            assert_eq!(found.is_some(), is_played);
            if let Some(before) = found {
                put_back(&before, &opened, &place(&ours), &file, &ours).unwrap();
            }
            assert!(std::fs::read(&ours).unwrap() == std::fs::read(&theirs).unwrap(), "{suffix}, {is_there}");
            assert_eq!(std::fs::read(&ours).unwrap() == left, !is_played);
        }
    }

    #[test]
    fn what_several_databases_have_in_common_stays_as_long_as_one_of_them_needs_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let (theirs, ours) = (folder.path().join("theirs-journal"), place(&path));
        let names = [".mj0123AB9CD", "-mj0123AB9CD", "-mj1234AB9EF", "-mj1234ABCEF", "-mj"];
        let [_, needed, not_needed, ..] = names.map(|name| with_suffix(&path, name));
        for name in names {
            std::fs::write(with_suffix(&path, name), "").unwrap();
        }
        std::fs::write(&theirs, "x").unwrap();
        std::fs::write(&needed, format!("{}\0{}\0", ours.display(), theirs.display())).unwrap();
        std::fs::write(&not_needed, format!("{}\0", ours.display())).unwrap();
        remove_super_journals(&path).unwrap();
        let there = |path: &PathBuf| path.exists();
        assert_eq!(names.map(|name| there(&with_suffix(&path, name))), [true, true, false, true, true]);
        std::fs::remove_file(theirs).unwrap();
        remove_super_journals(&path).unwrap();
        assert!(!needed.exists());
    }
}
