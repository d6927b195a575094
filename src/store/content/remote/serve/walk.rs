//! Walks a store where it lies.

use tokio_util::sync::CancellationToken;

use super::super::listing;
use super::super::messages::{MOST_PATH_BYTES, MOST_WANTED, Root, WalkEnd, WalkedFolder};
use super::super::stream::{ItemReader, ItemWriter, Tag, not_understood};
use crate::error::Result;
use crate::store::content::folder::FolderStore;
use crate::store::content::lister::{self, Visitor};
use crate::store::content::spool::Spool;
use crate::store::content::{ContentPath, ContentStore, Listing, ObjectError, ObjectKind, ObjectResult};
use crate::wire::Served;

/// How many folders are listed at a time.
const THREADS: usize = 4;

/// Lists folders; only the digests are handed over where the listings are compared first.
struct Lister<'a> {
    store: &'a FolderStore,
    cancel: &'a CancellationToken,
    keeps_listings: bool,
}

struct Visited {
    folder: WalkedFolder,
    listing: Option<ObjectResult<Listing>>,
}

impl Visitor<Visited> for Lister<'_> {
    fn visit(
        &mut self,
        path: &ContentPath,
        found: &mut dyn FnMut(Visited) -> Result<()>,
    ) -> Result<Vec<ContentPath>> {
        let listing = match self.store.list(path, self.cancel) {
            Err(ObjectError::Store(error)) => return Err(error),
            // Gone since its parent was listed.
            Err(ObjectError::Gone) if !path.is_root() => return Ok(Vec::new()),
            listing => listing,
        };
        let mut folder = WalkedFolder { path: path.clone(), digest: None, count: 0, has_files: false };
        let mut next = Vec::new();
        if let Ok(listing) = &listing {
            folder.count = listing.count() as u64;
            folder.digest = if self.keeps_listings { None } else { listing.digest() };
            for entry in listing.iter() {
                match entry.object {
                    Ok(meta) if meta.kind == ObjectKind::Folder => next.extend(path.join(entry.name)),
                    object => folder.has_files |= object.is_ok(),
                }
            }
        }
        found(Visited { folder, listing: self.keeps_listings.then_some(listing) })?;
        Ok(next)
    }
}

/// Walks all folders, each after the one that it is in, and says what they list; where that is known, which differ.
pub(super) fn walk(store: &FolderStore, known: Option<Root>, call: &Served) -> Result<()> {
    let cancel = call.cancel();
    let keeps_listings = known.is_none();
    let listers = std::iter::repeat_with(|| Lister { store, cancel, keeps_listings }).take(THREADS).collect();
    let mut writer = ItemWriter::new(|part: &[u8]| call.put(part));
    let mut end = WalkEnd::default();
    let mut seen = known.map(|known| Root::empty(known.key));
    let mut is_whole = true;
    let mut walked: Spool<WalkedFolder> = Spool::new(&std::env::temp_dir());
    lister::visit_all(listers, cancel, &mut |visited: Visited| {
        let Visited { folder, listing } = visited;
        end.count += folder.count;
        end.has_files |= folder.has_files;
        if let Some(listing) = listing {
            writer.value(Tag::Path, &folder.path)?;
            return listing::write(&mut writer, &listing);
        }
        match (&mut seen, &folder.digest) {
            (Some(seen), Some(digest)) => seen.add(folder.path.as_bytes(), digest),
            _ => is_whole = false,
        }
        walked.push(&folder)
    })?;
    end.is_same = is_whole && seen.is_some() && seen == known;
    if !end.is_same {
        walked.iter().try_for_each(|folder| writer.value(Tag::Folder, &folder?))?;
    }
    writer.value(Tag::WalkEnd, &end)?;
    writer.flush()
}

/// Lists the folders that are asked for.
pub(super) fn list(store: &FolderStore, call: &Served) -> Result<()> {
    let mut reader = ItemReader::new(call);
    let (mut folders, mut bytes) = (Vec::new(), 0);
    while let Some(item) = reader.next()? {
        let folder: ContentPath = item.value()?;
        bytes += folder.as_bytes().len();
        folders.push(folder);
        if folders.len() > MOST_WANTED || bytes > MOST_PATH_BYTES {
            return Err(not_understood());
        }
    }
    let mut writer = ItemWriter::new(|part: &[u8]| call.put(part));
    for folder in &folders {
        let listing = store.list(folder, call.cancel());
        listing::write(&mut writer, &listing)?;
    }
    writer.flush()
}
