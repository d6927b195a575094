//! Reads files that may change meanwhile, and copies them.

use super::meter::Meter;
use crate::error::ErrorKind;
use crate::module::Context;
use crate::store::content::groups::{GROUPED_BYTES, Groups, Hashed, groups_of};
use crate::store::content::index::HeldGroups;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, Extended, HashedFile, Held, ObjectError,
    ObjectKind, ObjectMeta, ObjectResult, READ_AGAIN, Refusal, StagedObject,
};

mod pass;
mod patch;
use pass::{Pass, TargetFile, unchanged};

/// Large enough that system calls cost nothing, small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How often a file is written again because the device failed to make it durable.
const WRITE_AGAIN: u32 = 1;

/// An object that is ready to be published.
pub(super) struct Copied<'s> {
    pub(super) staged: Box<dyn StagedObject + 's>,
    /// The version that was copied.
    pub(super) seen: ReadVersion,
    /// How many bytes had to be sent: the rest is as in the version that is replaced.
    pub(super) sent: u64,
    /// Whether the destination can hold its extended attributes.
    pub(super) is_whole: bool,
}

/// What became of a file that may have changed.
pub(super) enum Changed<'s> {
    /// It is what the destination holds.
    No(ReadVersion),
    /// It is not, and is ready to be published.
    Yes(Copied<'s>),
}

/// One version of a file or link, as it was read.
pub(super) struct ReadVersion {
    pub(super) meta: ObjectMeta,
    /// The content's BLAKE3, of a link that of its target.
    pub(super) hash: [u8; 32],
    /// The content's groups, if it is big.
    pub(super) groups: Option<Groups>,
    pub(super) extended: Extended,
    /// How many names the file has.
    pub(super) names: u64,
}

/// What a copy gets instead of what its original has.
#[derive(Clone, Copy)]
pub(super) struct Given {
    pub(super) attributes: Attributes,
    /// Whether it gets no extended attributes, whatever the original has.
    pub(super) is_bare: bool,
}

/// What the destination is known to hold of a file.
pub(super) struct HeldContent {
    pub(super) hash: [u8; 32],
    /// Where they are known: the content's groups, and which of the destination's files has them.
    pub(super) groups: Option<HeldGroups>,
}

/// Copies files and links from one store to another.
pub(super) struct Copier<'s, 'c> {
    from: &'s dyn ContentStore,
    to: &'s dyn ContentStore,
    context: &'c Context,
    buffer: Vec<u8>,
}

impl<'s, 'c> Copier<'s, 'c> {
    pub(super) fn new(from: &'s dyn ContentStore, to: &'s dyn ContentStore, context: &'c Context) -> Self {
        Copier { from, to, context, buffer: vec![0; BUFFER_BYTES] }
    }

    /// Copies one version of a file or link to where it can be published, with what it is given or the attributes of a copy.
    pub(super) fn copy(
        &mut self,
        path: &ContentPath,
        kind: ObjectKind,
        given: Option<Given>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Copied<'s>> {
        if kind == ObjectKind::Link {
            return self.copy_link(path, given);
        }
        match self.copy_unless(path, None, given, meter)? {
            Changed::Yes(copied) => Ok(copied),
            Changed::No(_) => Err(Refusal::changing().into()),
        }
    }

    /// What copying a file will come to, where that can be said without reading it: it is only opened. What it hashes to
    /// is not known then. None where a part of it need not be sent, and for links.
    pub(super) fn foresee(&self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<Option<Copied<'s>>> {
        if kind == ObjectKind::Link {
            return Ok(None);
        }
        let reader = self.from.read(path)?;
        let meta = reader.meta();
        let may_keep = meta.size >= GROUPED_BYTES && self.to.stat(path).is_ok();
        if may_keep || !reader.is_solid() {
            return Ok(None);
        }
        let (extended, names) = (reader.extended()?, reader.names());
        let seen = ReadVersion { meta, hash: [0; 32], groups: None, extended, names };
        let mut staged = self.to.stage()?;
        staged.expect(meta.size)?;
        Ok(Some(Copied { staged, seen, sent: meta.size, is_whole: true }))
    }

    /// Copies a file, unless it is what the destination is known to hold: it is read once only.
    pub(super) fn copy_changed(
        &mut self,
        path: &ContentPath,
        held: &HeldContent,
        meter: &Meter<'_>,
    ) -> ObjectResult<Changed<'s>> {
        self.copy_unless(path, Some(held), None, meter)
    }

    fn copy_unless(
        &mut self,
        path: &ContentPath,
        held: Option<&HeldContent>,
        given: Option<Given>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Changed<'s>> {
        if let Some(held) = held
            && let Some(seen) = self.hashed(path, Some(&held.hash), meter)?
        {
            return Ok(Changed::No(seen));
        }
        let mut written_again = 0;
        loop {
            let (TargetFile { mut staged, sent }, seen) =
                self.stage(path, held.and_then(|held| held.groups.as_ref()), meter)?;
            if held.is_some_and(|held| held.hash == seen.hash) {
                return Ok(Changed::No(seen));
            }
            let is_bare = given.is_some_and(|given| given.is_bare) || seen.extended.0.is_empty();
            let is_whole = is_bare || staged.set_extended(&seen.extended)?;
            match staged.seal(attributes_of(given, &seen)) {
                Ok(()) => return Ok(Changed::Yes(Copied { staged, seen, sent, is_whole })),
                // The pages that could not be written are gone; making them durable again would only seem to work.
                Err(ObjectError::Store(error))
                    if error.kind == ErrorKind::Io && written_again < WRITE_AGAIN =>
                {
                    written_again += 1;
                    meter.take_back(seen.meta.size);
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads one version of a file or link.
    pub(super) fn hash(
        &mut self,
        path: &ContentPath,
        kind: ObjectKind,
        meter: &Meter<'_>,
    ) -> ObjectResult<ReadVersion> {
        if kind == ObjectKind::Link {
            return self.read_link(path).map(|(_, seen)| seen);
        }
        if let Some(seen) = self.hashed(path, None, meter)? {
            return Ok(seen);
        }
        let (from, buffer) = (self.from, &mut self.buffer);
        unchanged(meter, || {
            let mut pass = Pass::begin(from, path, self.context, meter)?;
            let hashed = pass.read_all(buffer, |_| Ok(()))?;
            pass.end((), hashed)
        })
        .map(|((), seen)| seen)
    }

    /// One version of a file that was read where it lies, if it has the content that is held.
    fn hashed(
        &self,
        path: &ContentPath,
        held: Option<&[u8; 32]>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Option<ReadVersion>> {
        let found = self.from.hashed(path, held)?;
        Ok(found.map(|HashedFile { meta, hashed: Hashed { digest, groups }, extended, names }| {
            meter.bytes(meta.size);
            ReadVersion { meta, hash: digest, groups, extended, names }
        }))
    }

    /// Reads one version of a file and writes it to where it can be sealed.
    fn stage(
        &mut self,
        path: &ContentPath,
        held: Option<&HeldGroups>,
        meter: &Meter<'_>,
    ) -> ObjectResult<(TargetFile<'s>, ReadVersion)> {
        let (from, to, buffer) = (self.from, self.to, &mut self.buffer);
        unchanged(meter, || {
            let mut pass = Pass::begin(from, path, self.context, meter)?;
            let size = pass.reader.meta().size;
            let is_big = size >= GROUPED_BYTES;
            let staged = if is_big { to.stage_over(path)? } else { to.stage()? };
            let mut target = TargetFile { staged, sent: 0 };
            if pass.reader.is_solid() {
                target.staged.expect(size)?;
            }
            let hashed = pass.counted(|pass| {
                match held.filter(|_| pass.reader.is_solid() && groups_of(size).is_some()) {
                    Some(held) if target.staged.take_over(&held.instance, size) => {
                        let earlier = earlier_of(from, to, path, held);
                        pass.patch(&mut target, &known(held, earlier.as_deref()))
                    }
                    Some(held) if from.is_elsewhere() && target.staged.keep_known(&held.instance, 0)? => {
                        let earlier = earlier_of(from, to, path, held);
                        pass.rebuild(&mut target, &known(held, earlier.as_deref()), &held.instance)
                    }
                    _ if is_big => pass.read_ahead_of(&mut target),
                    _ => pass.read_all(buffer, |piece| target.take(piece)),
                }
            })?;
            pass.end(target, hashed)
        })
    }

    /// Reads what the destination holds under this name, which counts for no progress.
    pub(super) fn hash_of_copy(&mut self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<ReadVersion> {
        let unwatched = Meter::unwatched(self.context);
        let mut back = Copier::new(self.to, self.from, self.context);
        back.hash(path, kind, &unwatched)
    }

    fn copy_link(&self, path: &ContentPath, given: Option<Given>) -> ObjectResult<Copied<'s>> {
        let (target, seen) = self.read_link(path)?;
        let staged = self.to.stage_link(&target, attributes_of(given, &seen))?;
        Ok(Copied { staged, seen, sent: 0, is_whole: true })
    }

    fn read_link(&self, path: &ContentPath) -> ObjectResult<(Box<[u8]>, ReadVersion)> {
        for _ in 0..=READ_AGAIN {
            let meta = self.from.stat(path)?;
            let target = self.from.read_link(path)?;
            if meta.kind == ObjectKind::Link && self.from.stat(path)?.is_same_version(&meta) {
                let hash = *blake3::hash(&target).as_bytes();
                return Ok((
                    target,
                    ReadVersion { meta, hash, groups: None, extended: Extended::default(), names: 1 },
                ));
            }
        }
        Err(Refusal::changing().into())
    }
}

fn known<'h>(held: &'h HeldGroups, earlier: Option<&'h dyn ContentReader>) -> Held<'h> {
    Held { groups: &held.groups, earlier }
}

/// The file that has the groups, for a source at another machine: of it less may have to be sent.
fn earlier_of<'s>(
    from: &dyn ContentStore,
    to: &'s dyn ContentStore,
    path: &ContentPath,
    held: &HeldGroups,
) -> Option<Box<dyn ContentReader + 's>> {
    let earlier = if from.is_elsewhere() { to.read(path).ok() } else { None };
    earlier.filter(|earlier| earlier.meta().instance() == held.instance)
}

fn attributes_of(given: Option<Given>, seen: &ReadVersion) -> Attributes {
    given.map_or_else(|| seen.meta.attributes().of_copy(seen.meta.kind), |given| given.attributes)
}
