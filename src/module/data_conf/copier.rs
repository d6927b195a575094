//! Reads files that may change meanwhile, and copies them.

use super::meter::Meter;
use crate::error::ErrorKind;
use crate::module::Context;
use crate::store::content::{
    Attributes, ContentPath, ContentReader, ContentStore, ObjectError, ObjectMeta, ObjectResult, Refusal,
    StagedObject,
};

/// Large enough that system calls cost nothing, small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 256 << 10;

/// How often a file is read again because it changed meanwhile.
const READ_AGAIN: u32 = 3;

/// How often a file is written again because the device failed to make it durable.
const WRITE_AGAIN: u32 = 1;

/// A file that is ready to be published.
pub(super) struct Copied<'s> {
    pub(super) staged: Box<dyn StagedObject + 's>,
    /// The version that was copied.
    pub(super) meta: ObjectMeta,
    pub(super) hash: [u8; 32],
}

/// Copies files from one store to another.
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

    /// Copies one version of a file to where it can be published, with these attributes or its own.
    pub(super) fn copy(
        &mut self,
        path: &ContentPath,
        attributes: Option<Attributes>,
        meter: &Meter<'_>,
    ) -> ObjectResult<Copied<'s>> {
        let mut written_again = 0;
        loop {
            let to = self.to;
            let (mut staged, meta, hash) =
                self.read(path, meter, || to.stage(), |staged, bytes| staged.write(bytes))?;
            match staged.seal(attributes.unwrap_or(meta.attributes())) {
                Ok(()) => return Ok(Copied { staged, meta, hash }),
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

    /// Reads one version of a file.
    pub(super) fn hash(
        &mut self,
        path: &ContentPath,
        meter: &Meter<'_>,
    ) -> ObjectResult<(ObjectMeta, [u8; 32])> {
        self.read(path, meter, || Ok(()), |(), _| Ok(())).map(|((), meta, hash)| (meta, hash))
    }

    /// Reads a file until one version of it was read from its beginning to its end.
    fn read<T>(
        &mut self,
        path: &ContentPath,
        meter: &Meter<'_>,
        begin: impl Fn() -> ObjectResult<T>,
        take: impl Fn(&mut T, &[u8]) -> ObjectResult<()>,
    ) -> ObjectResult<(T, ObjectMeta, [u8; 32])> {
        for _ in 0..=READ_AGAIN {
            let mut reader = self.from.read(path)?;
            let mut target = begin()?;
            let mut hasher = blake3::Hasher::new();
            let count = self.pass(reader.as_mut(), meter, |bytes| {
                hasher.update(bytes);
                take(&mut target, bytes)
            })?;
            let meta = reader.meta();
            if reader.is_unchanged()? && count == meta.size {
                return Ok((target, meta, *hasher.finalize().as_bytes()));
            }
            meter.take_back(count);
        }
        Err(ObjectError::Refused(Refusal::new(
            format!("It changes while it is read: {} times in a row.", READ_AGAIN + 1),
            "The next cycle tries again. If this is reported in every cycle, find out what keeps writing to it.",
        )))
    }

    fn pass(
        &mut self,
        reader: &mut dyn ContentReader,
        meter: &Meter<'_>,
        mut take: impl FnMut(&[u8]) -> ObjectResult<()>,
    ) -> ObjectResult<u64> {
        let mut total = 0u64;
        loop {
            self.context.check()?;
            let count = reader.read(&mut self.buffer)?;
            let bytes = self.buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(total);
            }
            take(bytes)?;
            total = total.saturating_add(bytes.len() as u64);
            meter.bytes(bytes.len() as u64);
        }
    }
}
