//! Reads files that may change meanwhile, and copies them.

use super::meter::Meter;
use crate::error::ErrorKind;
use crate::module::Context;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, Extended, ObjectError, ObjectKind, ObjectMeta,
    ObjectResult, Refusal, StagedObject,
};

/// Large enough that system calls cost nothing, small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How often a file is read again because it changed meanwhile.
const READ_AGAIN: u32 = 3;

/// How often a file is written again because the device failed to make it durable.
const WRITE_AGAIN: u32 = 1;

/// Of files of this size or more only the blocks are sent that differ from the version that is replaced.
pub(super) const PATCHED_BYTES: u64 = 8 << 20;

/// What a hole reads as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// An object that is ready to be published.
pub(super) struct Copied<'s> {
    pub(super) staged: Box<dyn StagedObject + 's>,
    /// The version that was copied.
    pub(super) meta: ObjectMeta,
    pub(super) hash: [u8; 32],
    pub(super) extended: Extended,
    /// How many bytes had to be sent: the rest is as in the version that is replaced.
    pub(super) sent: u64,
    /// Whether the destination can hold its extended attributes.
    pub(super) is_whole: bool,
}

/// One version of a file or link, as it was read.
pub(super) struct Seen {
    pub(super) meta: ObjectMeta,
    /// The content's BLAKE3, of a link that of its target.
    pub(super) hash: [u8; 32],
    pub(super) extended: Extended,
}

/// A piece of a file's content.
enum Piece<'b> {
    Bytes(&'b [u8]),
    /// So many zeros that the store does not hold.
    Hole(u64),
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

    /// Copies one version of a file or link to where it can be published, with these attributes or its own.
    pub(super) fn copy(
        &mut self,
        path: &ContentPath,
        kind: ObjectKind,
        attributes: Option<Attributes>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Copied<'s>> {
        if kind == ObjectKind::Link {
            return self.copy_link(path, attributes);
        }
        let mut written_again = 0;
        loop {
            let to = self.to;
            let begin = |size| {
                let staged = if size >= PATCHED_BYTES { to.stage_over(path)? } else { to.stage()? };
                Ok((staged, 0))
            };
            let ((mut staged, sent), seen) =
                self.read(self.from, path, meter, begin, |(staged, sent), piece| match piece {
                    Piece::Bytes(bytes) if staged.keep(bytes)? => Ok(()),
                    Piece::Bytes(bytes) => {
                        *sent += bytes.len() as u64;
                        staged.write(bytes)
                    }
                    Piece::Hole(count) => staged.skip(count),
                })?;
            let Seen { meta, hash, extended } = seen;
            let is_whole = extended.0.is_empty() || staged.set_extended(&extended)?;
            match staged.seal(attributes.unwrap_or(meta.attributes())) {
                Ok(()) => return Ok(Copied { staged, meta, hash, extended, sent, is_whole }),
                // The pages that could not be written are gone; making them durable again would only seem to work.
                Err(ObjectError::Store(error))
                    if error.kind == ErrorKind::Io && written_again < WRITE_AGAIN =>
                {
                    written_again += 1;
                    meter.take_back(meta.size);
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
    ) -> ObjectResult<Seen> {
        if kind == ObjectKind::Link {
            return self.read_link(path).map(|(_, seen)| seen);
        }
        self.read(self.from, path, meter, |_| Ok(()), |(), _| Ok(())).map(|((), seen)| seen)
    }

    /// Reads what the destination holds under this name, which counts for no progress.
    pub(super) fn hash_of_copy(&mut self, path: &ContentPath, kind: ObjectKind) -> ObjectResult<Seen> {
        let unwatched = Meter::unwatched(self.context);
        let mut back = Copier::new(self.to, self.from, self.context);
        back.hash(path, kind, &unwatched)
    }

    fn copy_link(&self, path: &ContentPath, attributes: Option<Attributes>) -> ObjectResult<Copied<'s>> {
        let (target, Seen { meta, hash, extended }) = self.read_link(path)?;
        let staged = self.to.stage_link(&target, attributes.unwrap_or(meta.attributes()))?;
        Ok(Copied { staged, meta, hash, extended, sent: 0, is_whole: true })
    }

    fn read_link(&self, path: &ContentPath) -> ObjectResult<(Box<[u8]>, Seen)> {
        for _ in 0..=READ_AGAIN {
            let meta = self.from.stat(path)?;
            let target = self.from.read_link(path)?;
            if meta.kind == ObjectKind::Link && self.from.stat(path)?.is_same_version(&meta) {
                let hash = *blake3::hash(&target).as_bytes();
                return Ok((target, Seen { meta, hash, extended: Extended::default() }));
            }
        }
        Err(changing())
    }

    /// Reads a file until one version of it was read from its beginning to its end.
    fn read<T>(
        &mut self,
        from: &dyn ContentStore,
        path: &ContentPath,
        meter: &Meter<'_>,
        begin: impl Fn(u64) -> ObjectResult<T>,
        take: impl Fn(&mut T, Piece<'_>) -> ObjectResult<()>,
    ) -> ObjectResult<(T, Seen)> {
        for _ in 0..=READ_AGAIN {
            let mut reader = from.read(path)?;
            let mut target = begin(reader.meta().size)?;
            let mut hasher = blake3::Hasher::new();
            let count = self.pass(reader.as_mut(), meter, &mut hasher, |piece| take(&mut target, piece))?;
            let (meta, extended) = (reader.meta(), reader.extended()?);
            if reader.is_unchanged()? && count == meta.size {
                return Ok((target, Seen { meta, hash: *hasher.finalize().as_bytes(), extended }));
            }
            meter.take_back(count);
        }
        Err(changing())
    }

    fn pass(
        &mut self,
        reader: &mut dyn ContentReader,
        meter: &Meter<'_>,
        hasher: &mut blake3::Hasher,
        mut take: impl FnMut(Piece<'_>) -> ObjectResult<()>,
    ) -> ObjectResult<u64> {
        let mut total = 0u64;
        loop {
            self.context.check()?;
            let hole = reader.skip_hole()?;
            if hole > 0 {
                self.hash_zeros(hasher, hole)?;
                take(Piece::Hole(hole))?;
                total = total.saturating_add(hole);
                meter.bytes(hole);
                continue;
            }
            let count = reader.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(total);
            }
            hasher.update(bytes);
            take(Piece::Bytes(bytes))?;
            total = total.saturating_add(bytes.len() as u64);
            meter.bytes(bytes.len() as u64);
        }
    }

    fn hash_zeros(&self, hasher: &mut blake3::Hasher, count: u64) -> ObjectResult<()> {
        let mut left = count;
        while left > 0 {
            self.context.check()?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            hasher.update(ZEROS.get(..length).unwrap_or_default());
            left -= length as u64;
        }
        Ok(())
    }
}

fn changing() -> ObjectError {
    ObjectError::Refused(Refusal::new(
        format!("It changes while it is read: {} times in a row.", READ_AGAIN + 1),
        "The next cycle tries again. If this is reported in every cycle, find out what keeps writing to it.",
    ))
}
