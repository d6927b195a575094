//! One version of a file, read from its beginning to its end, and written.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use super::super::meter::Meter;
use super::ReadVersion;
use crate::error::Error;
use crate::module::Context;
use crate::store::content::groups::{GroupHasher, Hashed};
use crate::store::content::{
    ContentPath, ContentReader, ContentStore, ObjectResult, READ_AGAIN, Refusal, StagedObject,
};
use crate::store::threads::join;

/// How many pieces of a large file may be read ahead of their being written, or hashed.
const READ_AHEAD: usize = 4;

/// How much of a large file is read at once: large enough that handing it on costs nothing.
const LARGE_PIECE_BYTES: usize = 256 << 10;

/// Of a large file so much is sent where a byte differs.
pub(super) const BLOCK_BYTES: usize = 128 << 10;

/// A piece that is hashed and written at the same time: there are no more of them than both may have ahead of them.
type Shared = Arc<Vec<u8>>;

/// A piece of a file's content.
pub(super) enum Piece<'b> {
    Bytes(&'b [u8]),
    /// So many zeros that the store does not hold.
    Hole(u64),
}

/// Reads a file until one version of it was read from its beginning to its end.
pub(super) fn unchanged<T>(
    meter: &Meter<'_>,
    mut pass: impl FnMut() -> ObjectResult<Result<(T, ReadVersion), u64>>,
) -> ObjectResult<(T, ReadVersion)> {
    for _ in 0..=READ_AGAIN {
        match pass()? {
            Ok(read) => return Ok(read),
            Err(count) => meter.take_back(count),
        }
    }
    Err(Refusal::changing().into())
}

/// A file that is being written.
pub(super) struct TargetFile<'s> {
    pub(super) staged: Box<dyn StagedObject + 's>,
    /// How many bytes had to be sent.
    pub(super) sent: u64,
}

impl TargetFile<'_> {
    pub(super) fn take(&mut self, piece: Piece<'_>) -> ObjectResult<()> {
        match piece {
            Piece::Bytes(bytes) if self.staged.keep(bytes)? => Ok(()),
            Piece::Bytes(bytes) => {
                self.sent += bytes.len() as u64;
                self.staged.write(bytes)
            }
            Piece::Hole(count) => self.staged.skip(count),
        }
    }
}

/// One attempt to read a file.
pub(super) struct Pass<'r, 'c> {
    pub(super) reader: Box<dyn ContentReader + 'r>,
    pub(super) context: &'c Context,
    pub(super) meter: &'c Meter<'c>,
    pub(super) count: u64,
}

impl<'r, 'c> Pass<'r, 'c> {
    pub(super) fn begin(
        from: &'r dyn ContentStore,
        path: &ContentPath,
        context: &'c Context,
        meter: &'c Meter<'_>,
    ) -> ObjectResult<Self> {
        Ok(Pass { reader: from.read(path)?, context, meter, count: 0 })
    }

    /// Reads, and takes the progress back where that fails.
    pub(super) fn counted(
        &mut self,
        read: impl FnOnce(&mut Self) -> ObjectResult<Hashed>,
    ) -> ObjectResult<Hashed> {
        let hashed = read(self);
        if hashed.is_err() {
            self.meter.take_back(self.count);
        }
        hashed
    }

    /// What was read, if it is one version; else how many bytes were read for nothing.
    pub(super) fn end<T>(self, target: T, hashed: Hashed) -> ObjectResult<Result<(T, ReadVersion), u64>> {
        let (meta, extended) = (self.reader.meta(), self.reader.extended()?);
        let names = self.reader.names();
        if self.reader.is_unchanged()? && self.count == meta.size {
            let Hashed { digest, groups } = hashed;
            return Ok(Ok((target, ReadVersion { meta, hash: digest, groups, extended, names })));
        }
        Ok(Err(self.count))
    }

    pub(super) fn read_all(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(Piece<'_>) -> ObjectResult<()>,
    ) -> ObjectResult<Hashed> {
        let mut hasher = GroupHasher::new(self.reader.meta().size);
        while let Some(length) = self.read(buffer)? {
            hash(&mut hasher, length.piece(buffer), self.context)?;
            take(length.piece(buffer))?;
        }
        Ok(hasher.finish())
    }

    /// Reads on this thread, hashes on another one, and compares with the earlier version and writes on a third: none of
    /// them takes much longer than the others.
    pub(super) fn read_ahead_of(&mut self, target: &mut TargetFile<'_>) -> ObjectResult<Hashed> {
        let hasher = GroupHasher::new(self.reader.meta().size);
        let (to_write, written) = sync_channel(READ_AHEAD);
        let (to_hash, hashed) = sync_channel(READ_AHEAD);
        let (back, buffers) = channel();
        let (back_too, context) = (back.clone(), self.context);
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || write_all(target, written, &back));
            let hashing = scope.spawn(move || hash_all(hasher, hashed, &back_too, context));
            let read = self.read_into(&[to_write, to_hash], &buffers);
            // Where nobody takes any more there is a reason.
            let (written, hashed) = (join(writing), join(hashing));
            written?;
            read?;
            hashed
        })
    }

    fn read_into(
        &mut self,
        takers: &[SyncSender<(Shared, Length)>],
        buffers: &Receiver<Vec<u8>>,
    ) -> ObjectResult<()> {
        loop {
            let mut buffer = buffers.try_recv().unwrap_or_else(|_| vec![0; LARGE_PIECE_BYTES]);
            let Some(length) = self.read(&mut buffer)? else { return Ok(()) };
            let buffer = Arc::new(buffer);
            for taker in takers {
                taker.send((Arc::clone(&buffer), length)).map_err(|_| Error::cancelled())?;
            }
        }
    }

    /// The next piece; none at the end.
    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<Option<Length>> {
        self.context.check()?;
        let hole = self.reader.skip_hole()?;
        let length = if hole > 0 {
            Length::Hole(hole)
        } else {
            let read = self.reader.read(buffer)?;
            if read == 0 {
                return Ok(None);
            }
            Length::Bytes(read)
        };
        self.count = self.count.saturating_add(length.bytes());
        self.meter.bytes(length.bytes());
        Ok(Some(length))
    }
}

/// The length of a piece; its bytes, if it has some, are at the beginning of a buffer.
#[derive(Clone, Copy)]
enum Length {
    Bytes(usize),
    Hole(u64),
}

impl Length {
    fn bytes(self) -> u64 {
        match self {
            Length::Bytes(count) => count as u64,
            Length::Hole(count) => count,
        }
    }

    fn piece(self, buffer: &[u8]) -> Piece<'_> {
        match self {
            Length::Bytes(count) => Piece::Bytes(buffer.get(..count).unwrap_or_default()),
            Length::Hole(count) => Piece::Hole(count),
        }
    }
}

/// Hashes a piece.
fn hash(hasher: &mut GroupHasher, piece: Piece<'_>, context: &Context) -> ObjectResult<()> {
    match piece {
        Piece::Bytes(bytes) => hasher.update(bytes),
        Piece::Hole(count) => hasher.skip(count, || context.check())?,
    }
    Ok(())
}

/// Hashes what comes, and gives the buffers back.
fn hash_all(
    mut hasher: GroupHasher,
    pieces: Receiver<(Shared, Length)>,
    back: &Sender<Vec<u8>>,
    context: &Context,
) -> ObjectResult<Hashed> {
    for (buffer, length) in pieces {
        hash(&mut hasher, length.piece(&buffer), context)?;
        give_back(buffer, back);
    }
    Ok(hasher.finish())
}

/// Gives a buffer back that nobody else needs any more; whoever reads may have ended.
fn give_back(buffer: Shared, back: &Sender<Vec<u8>>) {
    if let Some(buffer) = Arc::into_inner(buffer) {
        let _ = back.send(buffer);
    }
}

/// Writes what comes, and gives the buffers back.
fn write_all(
    target: &mut TargetFile<'_>,
    pieces: Receiver<(Shared, Length)>,
    back: &Sender<Vec<u8>>,
) -> ObjectResult<()> {
    for (buffer, length) in pieces {
        match length.piece(&buffer) {
            Piece::Bytes(bytes) => {
                bytes.chunks(BLOCK_BYTES).try_for_each(|block| target.take(Piece::Bytes(block)))?;
            }
            hole @ Piece::Hole(_) => target.take(hole)?,
        }
        give_back(buffer, back);
    }
    Ok(())
}
