//! What a source lacks of what its standby holds, found by one walk that writes nothing.

use std::collections::{BTreeSet, HashSet};

use super::super::DataConf;
use super::super::cycle::{exceeds, identity};
use super::super::walk::{self, Finder, Lacking, ObjectDifference};
use super::{check_stores, is_there_otherwise};
use crate::error::Result;
use crate::module::{Look, Loss};
use crate::store::content::abilities::Abilities;
use crate::store::content::spool::Spool;
use crate::store::content::{ContentPath, ContentStore, ObjectKind};

/// How many names are told.
const NAMED: usize = 10;

/// Looks at the source, whose role is that of the store which would be written.
pub(in super::super) fn look(module: &DataConf, look: &Look) -> Result<Loss> {
    let Some((index, pair)) = module.existing_index()? else { return Ok(Loss::default()) };
    module.source.begin(Some(&index), &look.cancel)?;
    module.standby.begin(None, &look.cancel)?;
    let is_marked = check_stores(module, &pair)?;
    let abilities = module.source.foreseen_abilities();
    let mut lacked = Lacked {
        module,
        abilities: &abilities,
        first: BTreeSet::new(),
        identities: Spool::new(module.index.folder()),
        lacks_files: false,
        present: HashSet::new(),
    };
    let lacking = Lacking::FoldersFirst;
    let walked =
        walk::walk(&module.source, Some(&index), None, lacking, i64::MAX, &look.cancel, &mut lacked)?;
    let items = lacked.identities.len();
    let is_emptied = lacked.lacks_files && !walked.has_files;
    let held = if items > 0 { index.count()? } else { 0 };
    Ok(Loss {
        items,
        is_store_lost: !is_marked || is_emptied || exceeds(lacked.lost(held)?, held),
        first: lacked.first.iter().map(ContentPath::to_string).collect(),
    })
}

/// What the source lacks.
struct Lacked<'a> {
    module: &'a DataConf,
    abilities: &'a Abilities,
    first: BTreeSet<ContentPath>,
    identities: Spool<u64>,
    lacks_files: bool,
    /// What has a name that the standby does not know: it may be what lacks under another one.
    present: HashSet<u64>,
}

impl Lacked<'_> {
    /// How many of so many objects are gone, those that only have another name not counted, where that matters.
    fn lost(&self, held: u64) -> Result<u64> {
        let items = self.identities.len();
        if self.present.is_empty() || !exceeds(items, held) {
            return Ok(items);
        }
        self.identities
            .iter()
            .try_fold(0, |lost, known| Ok(lost + u64::from(!self.present.contains(&known?))))
    }
}

impl Finder for Lacked<'_> {
    fn difference(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()> {
        match difference {
            // An interrupted batch may never have brought the standby what is not settled.
            ObjectDifference::Delete { known, is_displaced: false } if known.settled => {
                if is_there_otherwise(self.module, self.abilities, &path)? {
                    return Ok(());
                }
                self.lacks_files |= known.meta.kind != ObjectKind::Folder;
                self.identities.push(&identity(&known.meta))?;
                self.first.insert(path);
                if self.first.len() > NAMED {
                    self.first.pop_last();
                }
            }
            ObjectDifference::Write { meta, .. } => {
                self.present.insert(identity(&meta));
            }
            ObjectDifference::Delete { .. } | ObjectDifference::Compare { .. } => {}
        }
        Ok(())
    }
}
