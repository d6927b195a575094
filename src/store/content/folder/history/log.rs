//! What was noted of a revision: one frame after the other, each with its length and a checksum.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::failure::errno;
use crate::error::Result;
use crate::store::content::history::{Before, Revision, WasContent};

/// The first bytes of a log; another form has another number.
const MAGIC: &[u8; 8] = b"CSBCHIS1";

/// Before each frame: its length, and the first bytes of its BLAKE3.
const HEAD: usize = 4 + 8;

/// A longer frame is damaged: paths and attributes are far shorter.
const LONGEST: usize = 16 << 20;

/// The log of the revision that is being kept.
pub(super) struct Log {
    file: File,
    /// Whether something was appended since it was made durable.
    is_dirty: bool,
    /// Whether the names in its folder are durable.
    is_named: bool,
}

impl Log {
    /// Goes on with a log, of which what a process that died left unfinished is cut off; an empty one begins with the revision.
    /// Also the first number that no note names.
    pub(super) fn open(mut file: File, revision: &Revision) -> Result<(Self, u32), Errno> {
        let mut reading = Reading::of(file.try_clone().map_err(errno)?);
        let head = reading.head();
        let mut next = 0;
        if head.is_some() {
            while let Some(before) = reading.next_frame::<Before>() {
                if let Some(WasContent::Kept(number) | WasContent::Parts { number, .. }) =
                    before.was.map(|was| was.content)
                {
                    next = next.max(number.saturating_add(1));
                }
            }
        }
        let end = if head.is_some() { reading.end } else { 0 };
        file.set_len(end).map_err(errno)?;
        file.seek(SeekFrom::Start(end)).map_err(errno)?;
        let mut log = Log { file, is_dirty: true, is_named: false };
        if head.is_none() {
            let mut bytes = MAGIC.to_vec();
            frame(&mut bytes, revision)?;
            log.write(&bytes)?;
        }
        Ok((log, next))
    }

    pub(super) fn append(&mut self, objects: &[Before]) -> Result<(), Errno> {
        let mut bytes = Vec::new();
        objects.iter().try_for_each(|object| frame(&mut bytes, object))?;
        self.write(&bytes)
    }

    /// What could not be written whole is not there: the next frame must not follow a torn one.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        let start = self.file.stream_position().map_err(errno)?;
        self.is_dirty = true;
        self.file.write_all(bytes).map_err(|cause| {
            let _ = self.file.set_len(start);
            let _ = self.file.seek(SeekFrom::Start(start));
            errno(cause)
        })
    }

    pub(super) fn sync(&mut self, folder: &OwnedFd) -> Result<(), Errno> {
        if self.is_dirty {
            self.file.sync_data().map_err(errno)?;
            self.is_dirty = false;
        }
        if !self.is_named {
            rustix::fs::fsync(folder)?;
            self.is_named = true;
        }
        Ok(())
    }

    pub(super) fn reader(&self) -> Result<File, Errno> {
        self.file.try_clone().map_err(errno)
    }
}

/// Reads a log from its beginning, up to the first frame that is not whole.
pub(super) struct Reading {
    file: BufReader<File>,
    /// Where the last whole frame ends.
    end: u64,
    is_begun: bool,
}

impl Reading {
    pub(super) fn of(file: File) -> Self {
        Reading { file: BufReader::with_capacity(64 << 10, file), end: 0, is_begun: false }
    }

    /// The revision, with which a log begins; none where that cannot be read. Asked once, before anything else.
    pub(super) fn head(&mut self) -> Option<Revision> {
        self.file.seek(SeekFrom::Start(0)).ok()?;
        let mut magic = [0; MAGIC.len()];
        self.file.read_exact(&mut magic).ok().filter(|()| magic == *MAGIC)?;
        self.end = MAGIC.len() as u64;
        self.is_begun = true;
        self.next_frame()
    }

    fn next_frame<T: DeserializeOwned>(&mut self) -> Option<T> {
        if !self.is_begun {
            return None;
        }
        let mut head = [0; HEAD];
        self.file.read_exact(&mut head).ok()?;
        let (length, checksum) = head.split_at(4);
        let length = usize::try_from(u32::from_le_bytes(length.try_into().ok()?)).ok()?;
        if length > LONGEST {
            return None;
        }
        let mut bytes = vec![0; length];
        self.file.read_exact(&mut bytes).ok()?;
        if blake3::hash(&bytes).as_bytes().get(..8) != Some(checksum) {
            return None;
        }
        let read = postcard::from_bytes(&bytes).ok()?;
        self.end += (HEAD + length) as u64;
        Some(read)
    }

    /// Hands on every note.
    pub(super) fn try_for_each(&mut self, take: &mut dyn FnMut(Before) -> Result<()>) -> Result<()> {
        while let Some(before) = self.next_frame() {
            take(before)?;
        }
        Ok(())
    }
}

fn frame(bytes: &mut Vec<u8>, what: &impl Serialize) -> Result<(), Errno> {
    let at = bytes.len();
    bytes.extend_from_slice(&[0; HEAD]);
    *bytes = postcard::to_extend(what, std::mem::take(bytes)).map_err(|_| Errno::INVAL)?;
    let (before, framed) = bytes.split_at_mut(at + HEAD);
    let length = u32::try_from(framed.len()).map_err(|_| Errno::FBIG)?;
    let checksum = blake3::hash(framed);
    let head = length.to_le_bytes().into_iter().chain(checksum.as_bytes().iter().copied());
    before.iter_mut().skip(at).zip(head).for_each(|(place, byte)| *place = byte);
    Ok(())
}
