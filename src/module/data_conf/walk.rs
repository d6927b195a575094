//! One walk of a source, compared with what its standby is known to hold.

use tokio_util::sync::CancellationToken;

use std::collections::BTreeSet;

use super::end::End;
use crate::error::{Error, ErrorKind, Result};
use crate::report::QuarantinedItem;
use crate::store::content::index::{ContentIndex, FolderParts, HeldName, IndexedObject};
use crate::store::content::lister::{self, Visitor};
use crate::store::content::{
    COARSEST_TICK_NS, ContentPath, ContentStore, ListedObject, Listing, ObjectError, ObjectKind, ObjectMeta,
    ObjectResult, Refusal,
};

mod elsewhere;
mod places;

use places::Spelled;
pub(super) use places::{Places, Respelling};

/// How many folders are listed at a time.
const THREADS: usize = 4;

/// How many differences a thread collects before it hands them over.
const HANDED_OVER_AT_ONCE: usize = 256;

/// A time this far ahead of the clock is no time of writing: somebody set it, or the clock was set back. Clocks of two
/// machines differ by less.
const AHEAD_NS: i64 = 3_600_000_000_000;

/// How one object of the source and the index differ.
#[derive(Clone, Debug)]
pub(super) enum ObjectDifference {
    /// The standby lacks it or holds another version.
    Write {
        /// The source's object.
        meta: ObjectMeta,
        /// The standby holds something of another kind under this name.
        replaces: Option<ObjectKind>,
        /// The file or link that the standby is known to hold under this name.
        over: Option<IndexedObject>,
    },
    /// Only reading tells.
    Compare {
        /// The source's object.
        meta: ObjectMeta,
        /// What the standby holds.
        known: IndexedObject,
        /// Whether something is known to have changed, though perhaps not the content; else everything looks equal,
        /// but the file was so young when it was indexed that a change could hide.
        is_real: bool,
    },
    /// The source lacks it.
    Delete {
        /// What the standby holds.
        known: IndexedObject,
        /// Whether the source has a file where the standby has this folder, or the folder above.
        is_displaced: bool,
    },
}

/// What a walk found besides the differences.
#[derive(Default)]
pub(super) struct Walked {
    /// Objects listed.
    pub(super) listed: u64,
    /// Whether anything but folders was among them.
    pub(super) has_files: bool,
    /// What could not be looked at. Nothing that the standby holds of it is a difference.
    pub(super) quarantined: Vec<QuarantinedItem>,
}

/// In which order what the source lacks is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lacking {
    /// Folders before what is in them: they are to be made.
    FoldersFirst,
    /// Folders after what is in them: they are to be deleted.
    FoldersLast,
}

/// Who is told what a walk finds.
pub(super) trait Finder {
    /// So many objects have been listed so far.
    fn listed(&mut self, _count: u64) {}

    /// All of this is going to be said at once.
    fn differences(&mut self, _found: &[(ContentPath, ObjectDifference)]) -> Result<()> {
        Ok(())
    }

    /// Something differs. Folders come before what is in them.
    fn difference(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()>;

    /// What the standby holds has another spelling in the source: nothing else is said of it, nor of what is in it.
    fn respelled(&mut self, _respelling: Respelling) -> Result<()> {
        Ok(())
    }

    /// Nothing in a folder differs. As long as its listing has this digest there is no need to compare it again.
    fn unchanged(&mut self, _folder: ContentPath, _listing: [u8; 32]) -> Result<()> {
        Ok(())
    }
}

/// Walks the source once, at this time.
pub(super) fn walk(
    source: &End,
    index: Option<&ContentIndex>,
    places: Option<&Places>,
    lacking: Lacking,
    now_ns: i64,
    cancel: &CancellationToken,
    finder: &mut impl Finder,
) -> Result<Walked> {
    let tick_ns = source.tick_ns();
    let visitor = || {
        let index = index.map(ContentIndex::reader).transpose()?;
        Ok::<_, Error>(Walk { source, index, places, lacking, tick_ns, now_ns, cancel })
    };
    let mut walked = Walked::default();
    let mut take = |found| {
        match found {
            Finding::Listed { count, has_files } => {
                walked.listed += count;
                walked.has_files |= has_files;
                finder.listed(walked.listed);
            }
            Finding::Differences(differences) => {
                finder.differences(&differences)?;
                for (path, difference) in differences {
                    finder.difference(path, difference)?;
                }
            }
            Finding::Respelled(respelling) => finder.respelled(respelling)?,
            Finding::Unchanged(folder, listing) => finder.unchanged(folder, listing)?,
            Finding::Refused(item) => walked.quarantined.push(item),
        }
        Ok(())
    };
    if source.is_elsewhere() {
        elsewhere::walk(visitor()?, &mut take)?;
    } else {
        let visitors = std::iter::repeat_with(visitor).take(THREADS).collect::<Result<Vec<_>>>()?;
        lister::visit_all(visitors, cancel, &mut take)?;
    }
    // Folders are listed in any order.
    walked.quarantined.sort_unstable_by(|a, b| a.item.cmp(&b.item));
    Ok(walked)
}

/// What a thread found.
enum Finding {
    Listed { count: u64, has_files: bool },
    Differences(Vec<(ContentPath, ObjectDifference)>),
    Respelled(Respelling),
    Unchanged(ContentPath, [u8; 32]),
    Refused(QuarantinedItem),
}

/// One of the threads of a walk.
struct Walk<'a> {
    source: &'a End,
    index: Option<ContentIndex>,
    /// What the destination can hold; none where nothing is copied there.
    places: Option<&'a Places>,
    lacking: Lacking,
    tick_ns: i64,
    now_ns: i64,
    cancel: &'a CancellationToken,
}

impl Visitor<Finding> for Walk<'_> {
    fn visit(
        &mut self,
        folder: &ContentPath,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<Vec<ContentPath>> {
        self.look_into(folder, self.source.list(folder, self.cancel), found)
    }
}

impl Walk<'_> {
    /// Says how a folder differs, and returns the folders to visit next.
    fn look_into(
        &mut self,
        folder: &ContentPath,
        listing: ObjectResult<Listing>,
        found: &mut dyn FnMut(Finding) -> Result<()>,
    ) -> Result<Vec<ContentPath>> {
        let mut listing = match listing {
            Ok(listing) => listing,
            Err(ObjectError::Store(error)) => return Err(error),
            Err(failure) if folder.is_root() => return Err(unreadable_root(self.source, failure)),
            // Gone since its parent was listed; the next walk will not list it at all.
            Err(ObjectError::Gone) => return Ok(Vec::new()),
            Err(ObjectError::Refused(refusal)) => {
                found(Finding::Refused(quarantined(folder, refusal)))?;
                return Ok(Vec::new());
            }
        };
        if let Some(places) = self.places {
            places.refuse_names(folder, &mut listing, self.index.as_ref())?;
        }
        let is_folder =
            |entry: &ListedObject<'_>| entry.object.is_ok_and(|meta| meta.kind == ObjectKind::Folder);
        let has_files = listing.iter().any(|entry| entry.object.is_ok() && !is_folder(&entry));
        found(Finding::Listed { count: listing.count() as u64, has_files })?;
        let digest = listing.digest();
        let named = |hidden: &BTreeSet<Box<[u8]>>| {
            let folders = listing.iter().filter(is_folder).filter(|entry| !hidden.contains(entry.name));
            folders.filter_map(|entry| folder.join(entry.name)).collect()
        };
        if let Some(index) = &self.index
            && digest.is_some()
            && index.listing(folder)? == digest
        {
            return Ok(named(&BTreeSet::new()));
        }
        let spelled = match (self.places, &self.index) {
            (Some(places), Some(index)) => places.respelled(folder, &listing, index)?,
            _ => Spelled::default(),
        };
        let Spelled { respelled, hidden } = spelled;
        // Nothing is said of either name, until they are one.
        let names = respelled.iter().flat_map(|Respelling { from, to, .. }| [from, to]);
        let names = names.filter_map(|path| Some(path.split()?.1.into()));
        let hidden: BTreeSet<Box<[u8]>> = names.chain(hidden).collect();
        respelled.into_iter().try_for_each(|respelling| found(Finding::Respelled(respelling)))?;
        let next = named(&hidden);
        let differs = !hidden.is_empty();
        let mut comparison =
            FolderComparison { walk: self, folder, found, hidden, differences: Vec::new(), differs };
        match &self.index {
            Some(index) => index.read_folder(folder, |known| comparison.compare_all(&listing, known))?,
            None => comparison.compare_all(&listing, &mut std::iter::empty())?,
        }
        comparison.hand_over()?;
        if !comparison.differs
            && let Some(digest) = digest
        {
            found(Finding::Unchanged(folder.clone(), digest))?;
        }
        Ok(next)
    }
}

/// The comparison of one folder.
struct FolderComparison<'a, 'w> {
    walk: &'a Walk<'w>,
    folder: &'a ContentPath,
    found: &'a mut dyn FnMut(Finding) -> Result<()>,
    /// Names of which nothing is said.
    hidden: BTreeSet<Box<[u8]>>,
    differences: Vec<(ContentPath, ObjectDifference)>,
    differs: bool,
}

impl FolderComparison<'_, '_> {
    /// Both sorted by name.
    fn compare_all(
        &mut self,
        listing: &Listing,
        known: &mut dyn Iterator<Item = Result<HeldName>>,
    ) -> Result<()> {
        let hidden = std::mem::take(&mut self.hidden);
        let mut known = known.filter(|held| !held.as_ref().is_ok_and(|(name, _)| hidden.contains(name)));
        let mut next = known.next().transpose()?;
        for entry in listing.iter().filter(|entry| !hidden.contains(entry.name)) {
            while let Some((name, object)) = next.take_if(|(name, _)| **name < *entry.name) {
                self.lacks(&name, object, false)?;
                next = known.next().transpose()?;
            }
            let same = next.take_if(|(name, _)| **name == *entry.name).map(|(_, object)| object);
            if same.is_some() {
                next = known.next().transpose()?;
            }
            match entry.object {
                Err(refusal) => {
                    if let Some(path) = self.folder.join(entry.name) {
                        (self.found)(Finding::Refused(quarantined(&path, refusal.clone())))?;
                    }
                }
                Ok(meta) => self.compare(entry.name, *meta, same)?,
            }
        }
        while let Some((name, object)) = next {
            self.lacks(&name, object, false)?;
            next = known.next().transpose()?;
        }
        Ok(())
    }

    fn compare(&mut self, name: &[u8], meta: ObjectMeta, known: Option<IndexedObject>) -> Result<()> {
        // Files and links take each other's place at once, folders do not.
        let is_folder = |kind| matches!(kind, ObjectKind::Folder);
        let replaced = known.filter(|known| is_folder(known.meta.kind) != is_folder(meta.kind));
        if let Some(object) = replaced
            && object.meta.kind == ObjectKind::Folder
        {
            self.lacks(name, object, true)?;
        }
        let over = known.filter(|known| known.settled && !is_folder(known.meta.kind));
        let known = known.filter(|known| known.meta.kind == meta.kind);
        let mut known = known.filter(|known| known.meta.kind == meta.kind);
        if let (Some(known), Some(places)) = (&mut known, self.walk.places)
            && !known.settled
            && places.abilities.is_same_time(known.meta.mtime_ns, meta.mtime_ns)
        {
            // It was found at the destination, which may have rounded it.
            known.meta.mtime_ns = meta.mtime_ns;
        }
        let difference = match known {
            None => ObjectDifference::Write { meta, replaces: replaced.map(|known| known.meta.kind), over },
            Some(known) => match compare(&meta, known, self.walk.tick_ns, self.walk.now_ns) {
                None => return Ok(()),
                Some(difference) => difference,
            },
        };
        match self.folder.join(name) {
            Some(path) => self.differs(path, difference),
            None => Ok(()),
        }
    }

    /// The source lacks this object and everything below it.
    fn lacks(&mut self, name: &[u8], known: IndexedObject, is_displaced: bool) -> Result<()> {
        let Some(path) = self.folder.join(name) else { return Ok(()) };
        let mut open = Vec::new();
        let mut next = Some((path, known));
        loop {
            if self.walk.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            if let Some((path, known)) = next {
                let is_folder = known.meta.kind == ObjectKind::Folder;
                if is_folder {
                    open.push(Lacked::folder(path.clone(), known));
                }
                if !is_folder || self.walk.lacking == Lacking::FoldersFirst {
                    self.differs(path, ObjectDifference::Delete { known, is_displaced })?;
                }
            }
            let (Some(folder), Some(index)) = (open.last_mut(), &self.walk.index) else { return Ok(()) };
            next = folder.next(index)?;
            if next.is_none()
                && let Some(Lacked { path, known, .. }) = open.pop()
                && self.walk.lacking == Lacking::FoldersLast
            {
                self.differs(path, ObjectDifference::Delete { known, is_displaced })?;
            }
        }
    }

    fn differs(&mut self, path: ContentPath, difference: ObjectDifference) -> Result<()> {
        self.differs = true;
        self.differences.push((path, difference));
        if self.differences.len() >= HANDED_OVER_AT_ONCE { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<()> {
        if self.differences.is_empty() {
            return Ok(());
        }
        (self.found)(Finding::Differences(std::mem::take(&mut self.differences)))
    }
}

/// A folder that the source lacks.
struct Lacked {
    path: ContentPath,
    known: IndexedObject,
    parts: FolderParts,
    /// What was read and not told yet.
    part: std::vec::IntoIter<HeldName>,
}

impl Lacked {
    fn folder(path: ContentPath, known: IndexedObject) -> Self {
        Lacked { parts: FolderParts::of(path.clone()), path, known, part: Vec::new().into_iter() }
    }

    fn next(&mut self, index: &ContentIndex) -> Result<Option<(ContentPath, IndexedObject)>> {
        if self.part.as_slice().is_empty() {
            self.part = self.parts.next(index)?.unwrap_or_default().into_iter();
        }
        Ok(self.part.next().and_then(|(name, known)| Some((self.path.join(&name)?, known))))
    }
}

/// How an object differs from what the standby holds, which is of the same kind.
fn compare(meta: &ObjectMeta, known: IndexedObject, tick_ns: i64, now_ns: i64) -> Option<ObjectDifference> {
    let write = ObjectDifference::Write { meta: *meta, replaces: None, over: known.settled.then_some(known) };
    let may_be_equal = meta.size == known.meta.size && meta.mtime_ns == known.meta.mtime_ns;
    if !known.settled {
        // What is there under this name is not known, but may be read: the index may have been lost.
        let is_folder = meta.kind == ObjectKind::Folder;
        let is_real = !is_folder || meta.mode != known.meta.mode;
        let compare = ObjectDifference::Compare { meta: *meta, known, is_real };
        return Some(if is_folder || may_be_equal { compare } else { write });
    }
    if meta.kind == ObjectKind::Folder {
        // A folder's times change with every name in it, and names are compared one by one.
        let is_real = meta.mode != known.meta.mode || meta.owner != known.meta.owner;
        let compare = ObjectDifference::Compare { meta: *meta, known, is_real };
        return (is_real || !meta.is_same_version(&known.meta)).then_some(compare);
    }
    // Earlier builds knew fewer bits of a mode.
    if meta.is_same_version(&known.meta) && meta.mode == known.meta.mode {
        let compare = ObjectDifference::Compare { meta: *meta, known, is_real: false };
        return is_young(meta, known.indexed_ns, tick_ns, now_ns).then_some(compare);
    }
    // Attributes were changed, or the file was restored or touched: that is no reason to send it again.
    if meta.size == known.meta.size && known.hash.is_some() {
        return Some(ObjectDifference::Compare { meta: *meta, known, is_real: true });
    }
    Some(write)
}

/// Whether a file was changed so shortly before it was compared that a later change may have left equal times, as it is seen
/// now.
pub(super) fn is_young(meta: &ObjectMeta, compared_ns: i64, tick_ns: i64, now_ns: i64) -> bool {
    // Nobody can set the change time: where it has a fraction, the file system keeps fractions of this file's times.
    let has_fraction = meta.ctime_ns % 1_000_000_000 != 0;
    let tick_ns = if has_fraction { tick_ns } else { tick_ns.max(COARSEST_TICK_NS) };
    let times = [meta.mtime_ns, meta.ctime_ns].into_iter();
    let changed_ns = times.filter(|time| *time <= now_ns.saturating_add(AHEAD_NS)).max();
    changed_ns.is_some_and(|changed| changed >= compared_ns.saturating_sub(tick_ns))
}

/// An item of the report.
pub(super) fn quarantined(path: &ContentPath, refusal: Refusal) -> QuarantinedItem {
    QuarantinedItem { item: path.to_string(), reason: refusal.reason, advice: refusal.advice }
}

fn unreadable_root(source: &End, failure: ObjectError) -> Error {
    let (reason, advice) = match failure {
        ObjectError::Refused(refusal) => (refusal.reason, refusal.advice),
        ObjectError::Gone | ObjectError::Store(_) => {
            ("It has gone.".to_owned(), "Check that its file system is mounted.".to_owned())
        }
    };
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("The content store {} cannot be listed. {reason}", source.url()),
        advice,
    )
    .at("store", source.url())
    .on(source.side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::content::{FolderNames, Ownership};

    type Object = (Box<[u8]>, std::result::Result<ObjectMeta, Refusal>);

    fn entry(name: &[u8], meta: ObjectMeta) -> Object {
        (name.into(), Ok(meta))
    }

    /// The digest of a folder that holds these, which are sorted.
    fn digest_of(objects: &[Object]) -> Option<[u8; 32]> {
        let mut names = FolderNames::default();
        assert!(objects.iter().all(|(name, _)| names.push(name)));
        let mut next = objects.iter().map(|(_, object)| object.clone());
        Listing::look_at(names, |_| Ok::<_, ()>(next.next())).unwrap().digest()
    }

    const OWNER: Ownership = Ownership { user: 1, group: 2 };

    const TICK_NS: i64 = 100;

    fn file() -> ObjectMeta {
        ObjectMeta {
            kind: ObjectKind::File,
            size: 3,
            mtime_ns: 4,
            ctime_ns: 5,
            inode: 6,
            device: 7,
            mode: 8,
            owner: OWNER,
        }
    }

    /// What is done about an object of the source of which the standby holds this.
    fn found(meta: ObjectMeta, known: IndexedObject) -> &'static str {
        match compare(&meta, known, TICK_NS, i64::MAX) {
            None => "nothing",
            Some(ObjectDifference::Write { replaces: None, .. }) => "write",
            Some(ObjectDifference::Compare { is_real: true, .. }) => "compare what changed",
            Some(ObjectDifference::Compare { is_real: false, .. }) => "compare what may have changed",
            Some(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_differs_tells_what_is_done_about_it_and_whether_it_is_pending() {
        let long_ago = TICK_NS + 6;
        let settled = |meta| IndexedObject {
            meta,
            hash: Some([1; 32]),
            extended: None,
            indexed_ns: long_ago,
            settled: true,
        };
        let unsettled = |meta| IndexedObject { settled: false, ..settled(meta) };
        let folder = ObjectMeta { kind: ObjectKind::Folder, size: 0, ..file() };
        let other_owner = Ownership { user: 9, ..OWNER };

        assert_eq!(found(file(), settled(file())), "nothing");
        let young = IndexedObject { indexed_ns: long_ago - 1, ..settled(file()) };
        assert_eq!(found(file(), young), "compare what may have changed");
        assert_eq!(found(ObjectMeta { size: 9, ..file() }, settled(file())), "write");
        for touched in [
            ObjectMeta { mtime_ns: 9, ..file() },
            ObjectMeta { ctime_ns: 9, ..file() },
            ObjectMeta { inode: 9, ..file() },
            ObjectMeta { device: 9, ..file() },
        ] {
            assert_eq!(found(touched, settled(file())), "compare what changed");
            let unread = IndexedObject { hash: None, ..settled(file()) };
            assert_eq!(found(touched, unread), "write", "nothing is known that it could be compared with");
        }
        assert_eq!(found(file(), unsettled(file())), "compare what changed");
        assert_eq!(found(ObjectMeta { size: 9, ..file() }, unsettled(file())), "write");
        assert_eq!(found(ObjectMeta { mtime_ns: 9, ..file() }, unsettled(file())), "write");

        assert_eq!(found(folder, settled(folder)), "nothing");
        assert_eq!(
            found(ObjectMeta { ctime_ns: 9, ..folder }, settled(folder)),
            "compare what may have changed"
        );
        assert_eq!(found(folder, unsettled(folder)), "compare what may have changed");
        for known in [settled(folder), unsettled(folder)] {
            assert_eq!(found(ObjectMeta { mode: 9, ..folder }, known), "compare what changed");
        }
        assert_eq!(
            found(ObjectMeta { owner: other_owner, ..folder }, settled(folder)),
            "compare what changed"
        );
    }

    #[test]
    fn how_long_a_file_is_young_depends_on_its_store_and_on_whether_its_times_have_fractions() {
        let whole = ObjectMeta { mtime_ns: 0, ctime_ns: 7_000_000_000, ..file() };
        let fraction = ObjectMeta { ctime_ns: 7_000_000_001, ..whole };
        let written = ObjectMeta { mtime_ns: 8_000_000_000, ..fraction };
        let ages = [(whole, COARSEST_TICK_NS), (fraction, TICK_NS), (written, TICK_NS)];
        for (meta, tick_ns) in ages {
            let grown_ns = meta.mtime_ns.max(meta.ctime_ns) + tick_ns + 1;
            assert!(
                is_young(&meta, grown_ns - 1, TICK_NS, grown_ns)
                    && !is_young(&meta, grown_ns, TICK_NS, grown_ns),
                "{meta:?}"
            );
        }
        assert!(
            is_young(&whole, 12_000_000_000, 5_000_000_000, 12_000_000_000),
            "a store may be coarser still"
        );
        let ahead = ObjectMeta { mtime_ns: 8_000_000_000 + AHEAD_NS, ..fraction };
        assert!(is_young(&ahead, 9_000_000_000, TICK_NS, 8_000_000_000), "its clock may be ahead of ours");
        assert!(!is_young(&ahead, 9_000_000_000, TICK_NS, 7_000_000_000), "it is no time of writing");
        assert!(is_young(&ahead, fraction.ctime_ns, TICK_NS, 7_000_000_000), "when it was set is known");
    }

    #[test]
    fn everything_that_a_listing_says_is_in_its_digest() {
        let (meta, owner) = (file(), OWNER);
        let listings = [
            vec![],
            vec![entry(b"a", meta)],
            vec![entry(b"b", meta)],
            vec![entry(b"a", meta), entry(b"b", meta)],
            vec![entry(b"a", ObjectMeta { kind: ObjectKind::Link, ..meta })],
            vec![entry(b"a", ObjectMeta { size: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { mtime_ns: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { ctime_ns: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { inode: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { device: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { mode: 9, ..meta })],
            vec![entry(b"a", ObjectMeta { owner: Ownership { user: 9, ..owner }, ..meta })],
            vec![entry(b"a", ObjectMeta { owner: Ownership { group: 9, ..owner }, ..meta })],
        ];
        let digests: std::collections::BTreeSet<_> =
            listings.iter().map(|listing| digest_of(listing).unwrap()).collect();
        assert_eq!(digests.len(), listings.len());
        let many: Vec<_> = (0..1000u32).map(|number| entry(&number.to_be_bytes(), meta)).collect();
        let mut changed = many.clone();
        changed[3].1 = Ok(ObjectMeta { size: 9, ..meta });
        assert_ne!(digest_of(&many), digest_of(&changed), "not only what was digested last counts");
        let refused = (b"c".as_slice().into(), Err(Refusal::new("", "")));
        assert_eq!(digest_of(&[entry(b"a", meta), refused]), None);
    }
}
