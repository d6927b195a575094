//! Listings in parts: there may be a million names in a folder.

use serde::{Deserialize, Serialize};

use super::messages::{Failure, ListingEnd};
use super::stream::{Item, ItemReader, ItemWriter, Parts, Tag, not_understood};
use crate::error::Result;
use crate::store::content::{ContentPath, Listing, ObjectMeta, ObjectResult, Refusal};

/// How many bytes of entries go into one item.
const ENTRIES_BYTES: usize = 32 << 10;

/// How many names a folder at another machine may have: whoever says that there are more means to fill this one's memory.
const MOST_NAMES: usize = 8 << 20;

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    name: &'a [u8],
    object: std::result::Result<ObjectMeta, (String, String)>,
}

/// Writes a listing.
pub(super) fn write<P: FnMut(&[u8]) -> Result<()>>(
    writer: &mut ItemWriter<P>,
    listing: &ObjectResult<Listing>,
) -> Result<()> {
    let listing = match listing {
        Ok(listing) => listing,
        Err(failure) => return writer.value(Tag::ListingEnd, &ListingEnd::Failed(Failure::of(failure)?)),
    };
    let mut entries = Vec::new();
    for entry in listing.iter() {
        let object = match entry.object {
            Ok(meta) => Ok(*meta),
            Err(Refusal { reason, advice }) => Err((reason.clone(), advice.clone())),
        };
        let entry = Entry { name: entry.name, object };
        entries = postcard::to_extend(&entry, entries).map_err(|_| not_understood())?;
        if entries.len() >= ENTRIES_BYTES {
            writer.bytes(Tag::Entries, &entries)?;
            entries.clear();
        }
    }
    if !entries.is_empty() {
        writer.bytes(Tag::Entries, &entries)?;
    }
    writer.value(Tag::ListingEnd, &ListingEnd::Whole)
}

/// Reads a listing.
pub(super) fn read(reader: &mut ItemReader<impl Parts>) -> Result<ObjectResult<Listing>> {
    let mut listing = Listing::default();
    loop {
        let item = reader.next()?.ok_or_else(not_understood)?;
        match item.tag {
            Tag::Entries => add(&mut listing, &item)?,
            Tag::ListingEnd => {
                return Ok(match item.value()? {
                    ListingEnd::Whole => Ok(listing),
                    ListingEnd::Failed(why) => Err(why.error()),
                });
            }
            _ => return Err(not_understood()),
        }
    }
}

fn add(listing: &mut Listing, item: &Item<'_>) -> Result<()> {
    let mut rest = item.bytes;
    let root = ContentPath::root();
    while !rest.is_empty() {
        let (entry, next): (Entry<'_>, _) = postcard::take_from_bytes(rest).map_err(|_| not_understood())?;
        let Entry { name, object } = entry;
        let object = object.map_err(|(reason, advice)| Refusal::new(reason, advice));
        let is_name = root.join(name).is_some();
        if !is_name || listing.count() >= MOST_NAMES || !listing.push(name, object) {
            return Err(not_understood());
        }
        rest = next;
    }
    Ok(())
}
