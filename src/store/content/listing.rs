//! What a folder holds, in as little memory as it takes: there may be a million names in it.

use super::{ObjectMeta, Refusal};

/// How many bytes of a listing are digested at once.
const DIGESTED_AT_ONCE: usize = 16 << 10;

/// Where a name lies within the names of its folder, and how long it is.
type NameSpan = (u32, u16);

/// Names in any order, one behind the other.
#[derive(Debug, Default)]
pub struct FolderNames {
    bytes: Vec<u8>,
    places: Vec<NameSpan>,
}

impl FolderNames {
    /// Adds one; false where it does not fit: beyond 4 GiB of names.
    #[must_use]
    pub fn push(&mut self, name: &[u8]) -> bool {
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len())) else {
            return false;
        };
        self.bytes.extend_from_slice(name);
        self.places.push((start, length));
        true
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.places.len()
    }
}

/// The objects of one folder, sorted by name (bytes).
#[derive(Debug, Default)]
pub struct Listing {
    names: Vec<u8>,
    objects: Vec<(NameSpan, Result<ObjectMeta, Refusal>)>,
}

/// One object of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedObject<'a> {
    /// Its name within its folder.
    pub name: &'a [u8],
    /// What is known about it, or why it is refused. A refused object exists, but nothing else is known.
    pub object: Result<&'a ObjectMeta, &'a Refusal>,
}

impl Listing {
    /// Looks at each of these names, in their order. Of what has gone meanwhile nothing is found.
    ///
    /// # Errors
    /// What looking at one fails with.
    pub fn look_at<E>(
        names: FolderNames,
        mut look: impl FnMut(&[u8]) -> Result<Option<Result<ObjectMeta, Refusal>>, E>,
    ) -> Result<Self, E> {
        let FolderNames { bytes, mut places } = names;
        places.sort_unstable_by_key(|place| name_at(&bytes, *place));
        let mut objects = Vec::with_capacity(places.len());
        for place in places {
            if let Some(object) = look(name_at(&bytes, place))? {
                objects.push((place, object));
            }
        }
        Ok(Listing { names: bytes, objects })
    }

    /// Adds an object behind the others; false where its name does not follow theirs, or does not fit.
    #[must_use]
    pub(super) fn push(&mut self, name: &[u8], object: Result<ObjectMeta, Refusal>) -> bool {
        let last = self.objects.last().map(|(place, _)| name_at(&self.names, *place));
        let (Ok(start), Ok(length)) = (u32::try_from(self.names.len()), u16::try_from(name.len())) else {
            return false;
        };
        if last.is_some_and(|last| last >= name) {
            return false;
        }
        self.names.extend_from_slice(name);
        self.objects.push(((start, length), object));
        true
    }

    /// Refuses objects by their name.
    pub fn refuse(&mut self, is_refused: impl Fn(&[u8]) -> bool, refusal: &Refusal) {
        for (place, object) in &mut self.objects {
            if is_refused(name_at(&self.names, *place)) {
                *object = Err(refusal.clone());
            }
        }
    }

    /// Refuses each object for which there is a reason, and which is not refused already.
    pub fn refuse_each(&mut self, mut reason: impl FnMut(&[u8], &ObjectMeta) -> Option<Refusal>) {
        for (place, object) in &mut self.objects {
            if let Ok(meta) = object
                && let Some(refusal) = reason(name_at(&self.names, *place), meta)
            {
                *object = Err(refusal);
            }
        }
    }

    /// The same objects, some of them by another name.
    #[must_use]
    pub fn respelled(self, name: impl Fn(&[u8]) -> Option<Box<[u8]>>) -> Self {
        let Listing { mut names, mut objects } = self;
        for (place, _) in &mut objects {
            let Some(new) = name(name_at(&names, *place)) else { continue };
            if let (Ok(start), Ok(length)) = (u32::try_from(names.len()), u16::try_from(new.len())) {
                names.extend_from_slice(&new);
                *place = (start, length);
            }
        }
        objects.sort_by(|(one, _), (other, _)| name_at(&names, *one).cmp(name_at(&names, *other)));
        Listing { names, objects }
    }

    /// What tells a listing from every other one; none if something in it is refused, which has to be said each time.
    pub fn digest(&self) -> Option<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::with_capacity(DIGESTED_AT_ONCE + 512);
        for entry in self.iter() {
            let meta = entry.object.ok()?;
            bytes.extend_from_slice(&(entry.name.len() as u64).to_le_bytes());
            bytes.extend_from_slice(entry.name);
            let ObjectMeta { kind, size, mtime_ns, ctime_ns, inode, device, mode, owner } = *meta;
            bytes.push(kind as u8);
            for number in [size, inode, device] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for number in [mtime_ns, ctime_ns] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for number in [mode, owner.user, owner.group] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            if bytes.len() >= DIGESTED_AT_ONCE {
                hasher.update(&bytes);
                bytes.clear();
            }
        }
        hasher.update(&bytes);
        Some(*hasher.finalize().as_bytes())
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.objects.len()
    }

    /// The objects, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = ListedObject<'_>> {
        self.objects.iter().map(|(place, object)| {
            let name = name_at(&self.names, *place);
            ListedObject { name, object: object.as_ref() }
        })
    }
}

fn name_at(names: &[u8], (start, length): NameSpan) -> &[u8] {
    let start = start as usize;
    names.get(start..start + usize::from(length)).unwrap_or_default()
}
