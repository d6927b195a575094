//! The caller's end of a walk.

use tokio_util::sync::CancellationToken;

use super::Reached;
use super::listing;
use super::messages::{Key, MOST_PATH_BYTES, MOST_WANTED, Root, Walk, WalkEnd, WalkedFolder, message};
use super::stream::{ItemReader, ItemWriter, Tag, not_understood};
use crate::error::Result;
use crate::store::content::hints::{FoundFolder, KnownListings};
use crate::store::content::{ContentPath, Listing, ObjectResult};
use crate::wire::Call;

/// All that is known as one number.
pub(super) fn root(known: &dyn KnownListings, key: Key) -> Result<Root> {
    let mut root = Root::empty(key);
    known.each(&mut |folder, listing| root.add(folder, listing))?;
    Ok(root)
}

/// Folders that differ from what is known, and the digests that they were walked with.
#[derive(Default)]
struct Differing {
    folders: Vec<(ContentPath, Option<[u8; 32]>)>,
    bytes: usize,
}

impl Differing {
    fn is_full(&self) -> bool {
        self.folders.len() >= MOST_WANTED || self.bytes >= MOST_PATH_BYTES / 2
    }
}

/// Hands over what is not as it is known. The walk may have been begun when the store was opened.
pub(super) fn walk(
    at: &Reached,
    begun: Option<(Root, &mut ItemReader<Call>)>,
    known: Option<&dyn KnownListings>,
    cancel: &CancellationToken,
    take: &mut dyn FnMut(FoundFolder) -> Result<()>,
) -> Result<()> {
    let key = begun.as_ref().map_or_else(Key::new, |(root, _)| root.key);
    let now = known.map(|known| root(known, key)).transpose()?.filter(|root| root.folders > 0);
    // What was known when it was begun may be known no longer.
    let begun = begun.filter(|(root, _)| Some(*root) == now).map(|(_, items)| items);
    let asked = match begun {
        Some(_) => None,
        None => Some(at.session.call(message::WALK, &Walk { number: at.number, known: now }, cancel)?),
    };
    let mut own = asked.map(ItemReader::new);
    let items = begun.or(own.as_mut()).ok_or_else(not_understood)?;
    let mut differing = Differing::default();
    let end = loop {
        let item = items.next()?.ok_or_else(not_understood)?;
        match (item.tag, known.filter(|_| now.is_some())) {
            (Tag::Path, None) => {
                let folder: ContentPath = item.value()?;
                let listing = listing::read(items)?;
                take(FoundFolder::Listed { folder, listing, is_as_walked: true })?;
            }
            (Tag::Folder, Some(known)) => {
                let WalkedFolder { path, digest, count, has_files } = item.value()?;
                if digest.is_some() && known.of(&path)? == digest {
                    take(FoundFolder::Same { count, has_files })?;
                    continue;
                }
                differing.bytes += path.as_bytes().len();
                differing.folders.push((path, digest));
                if differing.is_full() {
                    look_at(at, std::mem::take(&mut differing), cancel, take)?;
                }
            }
            (Tag::WalkEnd, _) => break item.value()?,
            _ => return Err(not_understood()),
        }
    };
    if let Some(asked) = own {
        let () = asked.into_parts().answer()?;
    }
    let WalkEnd { is_same, count, has_files } = end;
    if is_same {
        take(FoundFolder::Same { count, has_files })?;
    }
    look_at(at, differing, cancel, take)
}

/// Lists the folders that differ.
fn look_at(
    at: &Reached,
    differing: Differing,
    cancel: &CancellationToken,
    take: &mut dyn FnMut(FoundFolder) -> Result<()>,
) -> Result<()> {
    if differing.folders.is_empty() {
        return Ok(());
    }
    let mut items = ask(at, differing.folders.iter().map(|(folder, _)| folder), cancel)?;
    for (folder, digest) in differing.folders {
        let listing = listing::read(&mut items)?;
        let is_as_walked =
            digest.is_some() && listing.as_ref().is_ok_and(|listing| listing.digest() == digest);
        take(FoundFolder::Listed { folder, listing, is_as_walked })?;
    }
    items.into_parts().answer()
}

fn ask<'f>(
    at: &Reached,
    folders: impl Iterator<Item = &'f ContentPath>,
    cancel: &CancellationToken,
) -> Result<ItemReader<Call>> {
    let mut call = at.session.call(message::LISTINGS, &at.number, cancel)?;
    let mut writer = ItemWriter::new(|part: &[u8]| call.send(part));
    for folder in folders {
        writer.value(Tag::Path, folder)?;
    }
    writer.flush()?;
    drop(writer);
    call.end_parts()?;
    Ok(ItemReader::new(call))
}

/// Lists one folder.
pub(super) fn list(
    at: &Reached,
    folder: &ContentPath,
    cancel: &CancellationToken,
) -> Result<ObjectResult<Listing>> {
    let mut items = ask(at, std::iter::once(folder), cancel)?;
    let listing = listing::read(&mut items)?;
    let () = items.into_parts().answer()?;
    Ok(listing)
}
