//! A source's pages as they were at one moment, wherever they lie: in the database, in its log, or in a journal that a server left behind.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use super::end::PageSink;
use super::hashes::Seed;
use crate::error::{Error, Result};
use crate::platform::{RawFile, read_whole};
use crate::store::sqlite::format::check::{Suspect, fault};
use crate::store::sqlite::format::header::{Layout, blank, lock_page};

/// How much is read at once.
pub(super) const CHUNK_BYTES: u32 = 1 << 20;

/// How many threads read: more than this the memory of a machine does not keep busy.
const MOST_THREADS: usize = 4;

/// The pages of a database at one moment, as long as what keeps them so holds.
pub(super) struct Snapshot<'a> {
    pub(super) path: &'a Path,
    pub(super) database: &'a RawFile,
    /// What lies in another file, and where.
    pub(super) instead: Option<(&'a RawFile, HashMap<u32, u64>)>,
    pub(super) layout: Layout,
    pub(super) pages: u32,
}

/// What a pass over all pages found.
pub(super) struct Passed {
    /// One for each page.
    pub(super) hashes: Vec<u128>,
    pub(super) suspects: Vec<Suspect>,
}

impl Snapshot<'_> {
    fn failed(&self) -> impl Fn(std::io::Error) -> Error + Copy {
        let path = self.path;
        move |cause| Error::io("read", path, &cause)
    }

    /// One page.
    ///
    /// # Errors
    /// Failures of the device; `Io` where the file ends before it.
    pub(super) fn page(&self, page: u32) -> Result<Vec<u8>> {
        let mut content = vec![0; self.layout.page_size as usize];
        self.read(page, &mut content)?;
        Ok(content)
    }

    /// Consecutive pages from this one on.
    fn read(&self, first: u32, into: &mut [u8]) -> Result<()> {
        let size = self.layout.page_size as usize;
        let at = u64::from(first - 1) * size as u64;
        let read = read_whole(self.database, into, at).map_err(self.failed())?;
        for (page, content) in (first..).zip(into.chunks_exact_mut(size)) {
            let instead = self.instead.as_ref().and_then(|(file, places)| Some((*file, *places.get(&page)?)));
            let is_there = match instead {
                Some((file, at)) => read_whole(file, content, at).map_err(self.failed())? == size,
                None => {
                    read >= (page - first + 1) as usize * size || page == lock_page(self.layout.page_size)
                }
            };
            if !is_there {
                let cause = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(Error::io("read", self.path, &cause));
            }
        }
        Ok(())
    }

    /// The hash by which a page is compared.
    fn hash(&self, seed: Seed, page: u32, content: &[u8]) -> u128 {
        if page > 1 {
            return seed.of(content);
        }
        let mut first = content.to_vec();
        blank(&mut first, self.pages);
        seed.of(&first)
    }

    /// Reads all pages on several threads. Those whose hash is not in the base go to the sink, runs of them together.
    ///
    /// # Errors
    /// Failures of the device; those of the sink; cancelled.
    pub(super) fn pass(
        &self,
        base: &[u128],
        seed: Seed,
        sink: &dyn PageSink,
        cancel: &CancellationToken,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Passed> {
        let at_once = (CHUNK_BYTES / self.layout.page_size) as usize;
        let mut hashes = vec![0_u128; self.pages as usize];
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = threads.min(MOST_THREADS).min(hashes.len().div_ceil(at_once));
        let total = u64::from(self.pages) * u64::from(self.layout.page_size);
        let queue = Mutex::new(hashes.chunks_mut(at_once).enumerate());
        let work = || -> Result<Vec<Suspect>> {
            let mut buffer = vec![0; at_once * self.layout.page_size as usize];
            let mut suspects = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((chunk, hashes)) = next else { return Ok(suspects) };
                if cancel.is_cancelled() {
                    return Err(Error::cancelled());
                }
                let first = u32::try_from(chunk * at_once + 1).unwrap_or(u32::MAX);
                let content = &mut buffer[..hashes.len() * self.layout.page_size as usize];
                self.chunk(first, content, hashes, base, seed, sink, &mut suspects)?;
                progress(u64::from(first) * u64::from(self.layout.page_size), total);
            }
        };
        let mut suspects = Vec::new();
        let ended: Vec<Result<Vec<Suspect>>> = std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let own = work();
            let join = |other: std::thread::ScopedJoinHandle<'_, _>| {
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(own).chain(others.into_iter().map(join)).collect()
        });
        for ended in ended {
            suspects.extend(ended?);
        }
        Ok(Passed { hashes, suspects })
    }

    /// Hashes consecutive pages and hands on those that differ.
    #[expect(clippy::too_many_arguments, reason = "the inside of one loop")]
    fn chunk(
        &self,
        first: u32,
        content: &mut [u8],
        hashes: &mut [u128],
        base: &[u128],
        seed: Seed,
        sink: &dyn PageSink,
        suspects: &mut Vec<Suspect>,
    ) -> Result<()> {
        let size = self.layout.page_size as usize;
        self.read(first, content)?;
        let never = lock_page(self.layout.page_size);
        let mut run: Option<usize> = None;
        for (at, hash) in hashes.iter_mut().enumerate() {
            let page = first + u32::try_from(at).unwrap_or(0);
            let one = &mut content[at * size..(at + 1) * size];
            *hash = if page == never { 0 } else { self.hash(seed, page, one) };
            let is_known = page == never || base.get(page as usize - 1) == Some(hash);
            if is_known {
                if let Some(from) = run.take() {
                    sink.put(
                        first + u32::try_from(from).unwrap_or(0),
                        &content[from * size..at * size],
                        size,
                    )?;
                }
                continue;
            }
            run.get_or_insert(at);
            *hash = self.examine(seed, page, one, *hash, suspects)?;
        }
        if let Some(from) = run {
            sink.put(first + u32::try_from(from).unwrap_or(0), &content[from * size..], size)?;
        }
        Ok(())
    }

    /// The hash of a page that is about to be handed on, and what is wrong with it. One that looks wrong is read and hashed once more: it may
    /// have been written while it was read. What comes the second time counts.
    fn examine(
        &self,
        seed: Seed,
        page: u32,
        content: &mut [u8],
        hash: u128,
        suspects: &mut Vec<Suspect>,
    ) -> Result<u128> {
        let faulty = |content: &[u8]| fault(page, content, &self.layout, self.pages);
        if faulty(content).is_none() {
            return Ok(hash);
        }
        self.read(page, content)?;
        suspects.extend(faulty(content).map(|fault| Suspect { page, fault: fault.into() }));
        Ok(self.hash(seed, page, content))
    }

    /// Reads some pages only, and hands on those whose hash is not in the list, which is brought up to them.
    ///
    /// # Errors
    /// As for [`Snapshot::pass`].
    pub(super) fn some(
        &self,
        mut pages: Vec<u32>,
        hashes: &mut Vec<u128>,
        seed: Seed,
        sink: &dyn PageSink,
        cancel: &CancellationToken,
    ) -> Result<Vec<Suspect>> {
        hashes.resize(self.pages as usize, 0);
        pages.retain(|page| *page <= self.pages);
        pages.sort_unstable();
        let mut content = vec![0; self.layout.page_size as usize];
        let mut suspects = Vec::new();
        for page in pages {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            self.read(page, &mut content)?;
            let hash = self.hash(seed, page, &content);
            let known = &mut hashes[page as usize - 1];
            if *known != hash {
                *known = self.examine(seed, page, &mut content, hash, &mut suspects)?;
                sink.put(page, &content, content.len())?;
            }
        }
        Ok(suspects)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::format::header::Header;

    #[test]
    fn a_page_that_was_torn_while_it_was_read_is_read_once_more_and_one_that_stays_wrong_is_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = rusqlite::Connection::open(&path).unwrap();
        server.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        let database = RawFile::open(&path, true).unwrap();
        let layout = Header::of(&database).unwrap().unwrap().layout;
        let snapshot = Snapshot { path: &path, database: &database, instead: None, layout, pages: 2 };
        let whole = snapshot.page(2).unwrap();
        let (seed, mut suspects) = (Seed::new(), Vec::new());
        let mut torn = whole.clone();
        torn[..2_048].fill(0xff);
        assert_eq!(
            snapshot.examine(seed, 2, &mut torn.clone(), seed.of(&torn), &mut suspects).unwrap(),
            seed.of(&whole)
        );
        assert!(suspects.is_empty());
        crate::platform::write_all_at(&database, &torn, 4_096).unwrap();
        assert_eq!(
            snapshot.examine(seed, 2, &mut torn.clone(), seed.of(&torn), &mut suspects).unwrap(),
            seed.of(&torn)
        );
        assert_eq!(suspects.iter().map(|suspect| suspect.page).collect::<Vec<_>>(), [2]);
    }
}
