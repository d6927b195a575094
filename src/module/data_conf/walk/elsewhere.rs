//! The walk of a source at another machine, which finds by itself what is not as it is known.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, Walk};
use crate::error::{Error, Result};
use crate::store::content::hints::{FoundFolder, KnownListings};
use crate::store::content::{ContentPath, ContentStore, Listing, ObjectKind};

/// Of folders of which not everything in them is to be visited: what is.
#[derive(Default)]
struct Narrowed(BTreeMap<ContentPath, BTreeSet<ContentPath>>);

impl Narrowed {
    /// Whether a folder, or one that it is in, is not to be visited.
    fn leaves_out(&self, folder: &ContentPath) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let mut path = folder.clone();
        while let Some((above, _)) = path.split() {
            if self.0.get(&above).is_some_and(|visited| !visited.contains(&path)) {
                return true;
            }
            path = above;
        }
        false
    }
}

/// Hands over what is found.
pub(super) fn walk(mut walk: Walk<'_>, take: &mut dyn FnMut(Finding) -> Result<()>) -> Result<()> {
    let (source, cancel) = (walk.source, walk.cancel);
    let reader = walk.index.as_ref().map(super::ContentIndex::reader).transpose()?;
    // Where names are refused it depends on more than the listing what of it is held.
    let is_plain = walk.places.is_none_or(|places| places.abilities.holds_every_name());
    let known = reader.as_ref().filter(|_| is_plain).map(|index| index as &dyn KnownListings);
    let mut narrowed = Narrowed::default();
    source
        .walk(known, cancel, &mut |found| {
            if cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            match found {
                FoundFolder::Same { count, has_files } => take(Finding::Listed { count, has_files }),
                FoundFolder::Listed { folder, .. } if narrowed.leaves_out(&folder) => Ok(()),
                FoundFolder::Listed { folder, listing, is_as_walked } => {
                    let found = listing.as_ref().map_or(0, folders_in);
                    let next = walk.look_into(&folder, listing, take)?;
                    if !is_as_walked || next.len() != found {
                        narrowed.0.insert(folder, next.into_iter().collect());
                    }
                    Ok(())
                }
            }
        })
        .map(|_| ())
}

fn folders_in(listing: &Listing) -> usize {
    let is_folder = |kind| matches!(kind, ObjectKind::Folder);
    listing.iter().filter(|entry| entry.object.is_ok_and(|meta| is_folder(meta.kind))).count()
}
