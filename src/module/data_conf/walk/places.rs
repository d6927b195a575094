//! Names that the destination cannot hold, or takes for one: which of them has the place, and what becomes of the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::Result;
use crate::store::content::abilities::{Abilities, same_names};
use crate::store::content::index::ContentIndex;
use crate::store::content::{ContentPath, ListedObject, Listing, ObjectMeta, Refusal};

/// The store's own folder, whose name no content can have where it is taken for the same.
const OWN_FOLDER: &[u8] = b".csb";

/// What the destination of a copy can hold, and what came of trying.
pub(in super::super) struct Places {
    pub(in super::super) abilities: Arc<Abilities>,
    /// What could not be given another spelling, by the path that it would have.
    pub(in super::super) failed: BTreeMap<ContentPath, Refusal>,
    /// What the destination has proved to tell apart, whatever is known of it.
    pub(in super::super) apart: BTreeSet<ContentPath>,
}

/// What the destination holds under a name that the source spells otherwise by now.
#[derive(Clone, Debug)]
pub(in super::super) struct Respelling {
    pub(in super::super) from: ContentPath,
    pub(in super::super) to: ContentPath,
    /// Whether both names were believed to be held.
    pub(in super::super) is_known_twice: bool,
}

/// What the destination holds of a folder under other names than the source has.
#[derive(Default)]
pub(super) struct Spelled {
    /// What is to get another spelling.
    pub(super) respelled: Vec<Respelling>,
    /// Of which nothing can be said: what may be the same cannot be looked at, or cannot be given its spelling.
    pub(super) hidden: Vec<Box<[u8]>>,
}

impl Places {
    pub(in super::super) fn new(abilities: Arc<Abilities>) -> Self {
        Places { abilities, failed: BTreeMap::new(), apart: BTreeSet::new() }
    }

    /// Refuses what the destination cannot hold. Of names that are one there the one that it holds has the place, else the
    /// first.
    pub(super) fn refuse_names(
        &self,
        folder: &ContentPath,
        listing: &mut Listing,
        index: Option<&ContentIndex>,
    ) -> Result<()> {
        if self.abilities.holds_every_name() {
            return Ok(());
        }
        let own_key = folder.is_root().then(|| self.abilities.key(OWN_FOLDER));
        listing.refuse_each(|name, meta| {
            let unfit = self.abilities.refusal(name, meta.kind);
            let is_own = || own_key.as_ref().is_some_and(|own| *own == self.abilities.key(name));
            unfit.or_else(|| is_own().then(own_folder))
        });
        if self.abilities.tells_all_apart() {
            return Ok(());
        }
        let mut refusals: BTreeMap<Box<[u8]>, Refusal> = BTreeMap::new();
        for names in self.classes(folder, listing).into_values().filter(|names| names.len() > 1) {
            let Some(keeper) = keeper(folder, &names, index)? else { continue };
            let others = names.iter().filter(|entry| entry.name != keeper && entry.object.is_ok());
            refusals.extend(others.map(|entry| (entry.name.into(), collides(folder, keeper))));
        }
        refusals.extend(self.failed.iter().filter_map(|(path, refusal)| {
            let (above, name) = path.split()?;
            (above == *folder).then(|| (name.into(), refusal.clone()))
        }));
        listing.refuse_each(|name, _: &ObjectMeta| refusals.get(name).cloned());
        Ok(())
    }

    /// What the destination holds of a folder under other spellings than those that have the place.
    pub(super) fn respelled(
        &self,
        folder: &ContentPath,
        listing: &Listing,
        index: &ContentIndex,
    ) -> Result<Spelled> {
        let mut spelled = Spelled::default();
        if self.abilities.tells_all_apart() {
            return Ok(spelled);
        }
        let held: BTreeSet<Box<[u8]>> =
            index.read_folder(folder, |names| names.map(|held| held.map(|(name, _)| name)).collect())?;
        let classes = self.classes(folder, listing);
        for name in held.iter().filter(|name| !self.is_apart(folder, name)) {
            let Some(names) = classes.get(&self.abilities.key(name)) else { continue };
            match names.iter().find(|entry| entry.object.is_ok()) {
                Some(keeper) if *keeper.name == **name => {}
                Some(keeper) => {
                    let (Some(from), Some(to)) = (folder.join(name), folder.join(keeper.name)) else {
                        continue;
                    };
                    spelled.respelled.push(Respelling {
                        from,
                        to,
                        is_known_twice: held.contains(keeper.name),
                    });
                }
                None => spelled.hidden.push(name.clone()),
            }
        }
        Ok(spelled)
    }

    fn is_apart(&self, folder: &ContentPath, name: &[u8]) -> bool {
        !self.apart.is_empty() && folder.join(name).is_some_and(|path| self.apart.contains(&path))
    }

    /// The objects of a folder, by what their names have in common.
    fn classes<'l>(
        &self,
        folder: &ContentPath,
        listing: &'l Listing,
    ) -> BTreeMap<Box<[u8]>, Vec<ListedObject<'l>>> {
        let entries = listing.iter().filter(|entry| !self.is_apart(folder, entry.name));
        same_names(&self.abilities, entries, |entry| entry.name)
    }
}

/// Which of several names has the place at the destination; none where nothing can be copied of them.
fn keeper<'l>(
    folder: &ContentPath,
    names: &[ListedObject<'l>],
    index: Option<&ContentIndex>,
) -> Result<Option<&'l [u8]>> {
    // What it holds for certain, what it may hold, and what it does not.
    let mut best: Option<(u8, &[u8])> = None;
    for entry in names {
        let held = match (index, folder.join(entry.name)) {
            (Some(index), Some(path)) => index.held(&path)?,
            _ => None,
        };
        let rank = held.map_or(0, |held| 1 + u8::from(held.object.settled));
        let is_possible = rank > 0 || entry.object.is_ok();
        if is_possible && best.is_none_or(|(best, _)| rank > best) {
            best = Some((rank, entry.name));
        }
    }
    Ok(best.map(|(_, name)| name))
}

fn collides(folder: &ContentPath, keeper: &[u8]) -> Refusal {
    let keeper = folder.join(keeper).unwrap_or_default();
    Refusal::new(
        format!("The destination's file system takes its name for that of {keeper}, which is copied."),
        "Rename one of both, or put the destination on a file system that tells such names apart.",
    )
}

fn own_folder() -> Refusal {
    Refusal::new(
        "The destination's file system takes its name for .csb, where this product keeps what is not content.",
        "Rename it, or put the destination on a file system that tells such names apart.",
    )
}
