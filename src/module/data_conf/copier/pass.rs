//! One version of a file, read from its beginning to its end, and written.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::super::meter::Meter;
use super::super::threads::join;
use super::{READ_AGAIN, Seen, changing};
use crate::error::Error;
use crate::module::Context;
use crate::store::content::{ContentPath, ContentReader, ContentStore, ObjectResult, StagedObject};

/// How many pieces of a large file may be read ahead of their being written.
const READ_AHEAD: usize = 4;

/// How much of a large file is read at once: all pieces together stay in the processor's cache.
const LARGE_PIECE_BYTES: usize = 256 << 10;

/// Of a large file so much is sent where a byte differs.
const BLOCK_BYTES: usize = 128 << 10;

/// What a hole reads as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A piece of a file's content.
pub(super) enum Piece<'b> {
    Bytes(&'b [u8]),
    /// So many zeros that the store does not hold.
    Hole(u64),
}

/// Reads a file until one version of it was read from its beginning to its end.
pub(super) fn unchanged<T>(
    meter: &Meter<'_>,
    mut pass: impl FnMut() -> ObjectResult<Result<(T, Seen), u64>>,
) -> ObjectResult<(T, Seen)> {
    for _ in 0..=READ_AGAIN {
        match pass()? {
            Ok(read) => return Ok(read),
            Err(count) => meter.take_back(count),
        }
    }
    Err(changing())
}

/// A file that is being written.
pub(super) struct Target<'s> {
    pub(super) staged: Box<dyn StagedObject + 's>,
    /// How many bytes had to be sent.
    pub(super) sent: u64,
}

impl Target<'_> {
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
    context: &'c Context,
    meter: &'c Meter<'c>,
    hasher: blake3::Hasher,
    count: u64,
}

impl<'r, 'c> Pass<'r, 'c> {
    pub(super) fn begin(
        from: &'r dyn ContentStore,
        path: &ContentPath,
        context: &'c Context,
        meter: &'c Meter<'_>,
    ) -> ObjectResult<Self> {
        Ok(Pass { reader: from.read(path)?, context, meter, hasher: blake3::Hasher::new(), count: 0 })
    }

    /// What was read, if it is one version; else how many bytes were read for nothing.
    pub(super) fn end<T>(self, target: T) -> ObjectResult<Result<(T, Seen), u64>> {
        let (meta, extended) = (self.reader.meta(), self.reader.extended()?);
        if self.reader.is_unchanged()? && self.count == meta.size {
            return Ok(Ok((target, Seen { meta, hash: *self.hasher.finalize().as_bytes(), extended })));
        }
        Ok(Err(self.count))
    }

    pub(super) fn read_all(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(Piece<'_>) -> ObjectResult<()>,
    ) -> ObjectResult<()> {
        while let Some(length) = self.read(buffer)? {
            take(length.piece(buffer))?;
        }
        Ok(())
    }

    /// Reads and hashes on this thread, and writes on another one: each takes about as long.
    pub(super) fn read_ahead_of(&mut self, target: &mut Target<'_>) -> ObjectResult<()> {
        let (sender, pieces) = sync_channel(READ_AHEAD);
        let (back, buffers) = sync_channel(READ_AHEAD + 2);
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || write_all(target, pieces, &back));
            let read = self.read_into(&sender, &buffers);
            drop(sender);
            // Where nobody takes any more there is a reason.
            join(writing).and(read)
        })
    }

    fn read_into(
        &mut self,
        sender: &SyncSender<(Vec<u8>, Length)>,
        buffers: &Receiver<Vec<u8>>,
    ) -> ObjectResult<()> {
        let mut made = 0;
        loop {
            let mut buffer = if made < READ_AHEAD + 2 {
                made += 1;
                vec![0; LARGE_PIECE_BYTES]
            } else {
                buffers.recv().map_err(|_| Error::cancelled())?
            };
            let Some(length) = self.read(&mut buffer)? else { return Ok(()) };
            sender.send((buffer, length)).map_err(|_| Error::cancelled())?;
        }
    }

    /// The next piece; none at the end.
    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<Option<Length>> {
        self.context.check()?;
        let hole = self.reader.skip_hole()?;
        let length = if hole > 0 {
            self.hash_zeros(hole)?;
            Length::Hole(hole)
        } else {
            let read = self.reader.read(buffer)?;
            if read == 0 {
                return Ok(None);
            }
            self.hasher.update(buffer.get(..read).unwrap_or_default());
            Length::Bytes(read)
        };
        self.count = self.count.saturating_add(length.bytes());
        self.meter.bytes(length.bytes());
        Ok(Some(length))
    }

    fn hash_zeros(&mut self, count: u64) -> ObjectResult<()> {
        let mut left = count;
        while left > 0 {
            self.context.check()?;
            let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
            self.hasher.update(ZEROS.get(..length).unwrap_or_default());
            left -= length as u64;
        }
        Ok(())
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

/// Writes what comes, and gives the buffers back.
fn write_all(
    target: &mut Target<'_>,
    pieces: Receiver<(Vec<u8>, Length)>,
    back: &SyncSender<Vec<u8>>,
) -> ObjectResult<()> {
    for (buffer, length) in pieces {
        match length.piece(&buffer) {
            Piece::Bytes(bytes) => {
                bytes.chunks(BLOCK_BYTES).try_for_each(|block| target.take(Piece::Bytes(block)))?;
            }
            hole @ Piece::Hole(_) => target.take(hole)?,
        }
        // There is room for every buffer; whoever reads may have ended.
        let _ = back.send(buffer);
    }
    Ok(())
}
