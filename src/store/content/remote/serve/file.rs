//! Reads one file: all of it, a part, what is new in it, or what it hashes to.

use std::sync::{Mutex, PoisonError};

use super::super::messages::{Failure, Found, FoundFile, Inside, PIECE_BYTES};
use super::super::stream::{ItemReader, ItemWriter, Tag, not_understood};
use crate::error::{Error, Result};
use crate::store::content::folder::FolderStore;
use crate::store::content::groups::{GroupHasher, Groups, Hashed, groups_of, read_groups};
use crate::store::content::{ContentPath, ContentReader, ContentStore, ObjectError, ObjectResult};
use crate::wire::Served;

/// What a hole reads as.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The digests of this many bytes are what a file can have at most.
const MOST_GROUP_BYTES: usize = 2 << 20;

/// What an open file is.
pub(super) fn head(reader: &dyn ContentReader) -> ObjectResult<FoundFile> {
    Ok(FoundFile {
        meta: reader.meta(),
        names: reader.names(),
        is_solid: reader.is_solid(),
        extended: reader.extended()?,
        inside: Inside::Unread,
    })
}

/// What a content hashes to.
pub(super) fn hash_all(content: &[u8]) -> Hashed {
    let mut hasher = GroupHasher::new(content.len() as u64);
    hasher.update(content);
    hasher.finish()
}

/// What a file hashes to.
pub(super) fn hash(reader: &mut dyn ContentReader, call: &Served) -> ObjectResult<Hashed> {
    let size = reader.meta().size;
    if reader.is_solid() && groups_of(size).is_some() {
        let (groups, _) = read_groups(reader, false, &|_, _, _| Ok(go_on(call)?))?;
        if let Some(hashed) = groups.hashed() {
            return Ok(hashed);
        }
    }
    let mut hasher = GroupHasher::new(size);
    pieces(reader, call, &mut |piece| {
        match piece {
            Piece::Bytes(bytes) => hasher.update(bytes),
            Piece::Hole(mut left) => {
                while left > 0 {
                    go_on(call)?;
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROS.len());
                    hasher.update(ZEROS.get(..length).unwrap_or_default());
                    left -= length as u64;
                }
            }
        }
        Ok(())
    })?;
    Ok(hasher.finish())
}

fn go_on(call: &Served) -> Result<()> {
    if call.cancel().is_cancelled() { Err(Error::cancelled()) } else { Ok(()) }
}

enum Piece<'b> {
    Bytes(&'b [u8]),
    Hole(u64),
}

/// Reads a file from its beginning to its end.
fn pieces(
    reader: &mut dyn ContentReader,
    call: &Served,
    take: &mut dyn FnMut(Piece<'_>) -> Result<()>,
) -> ObjectResult<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        go_on(call)?;
        let hole = reader.skip_hole()?;
        if hole > 0 {
            take(Piece::Hole(hole))?;
            continue;
        }
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        take(Piece::Bytes(buffer.get(..read).unwrap_or_default()))?;
    }
}

/// Sends a file, or a part of it. True if it is still the version that was opened.
pub(super) fn read(
    store: &FolderStore,
    path: &ContentPath,
    part: Option<(u64, u64)>,
    call: &Served,
) -> Result<bool> {
    let mut writer = ItemWriter::new(|part: &[u8]| call.put(part));
    let mut send = || -> ObjectResult<bool> {
        let mut reader = store.read(path)?;
        writer.value(Tag::Found, &Found::File(head(&*reader)?))?;
        match part {
            None => pieces(&mut *reader, call, &mut |piece| match piece {
                Piece::Bytes(bytes) => writer.bytes(Tag::Bytes, bytes),
                Piece::Hole(count) => writer.value(Tag::Hole, &count),
            })?,
            Some((at, length)) => {
                let mut buffer = vec![0; PIECE_BYTES];
                let mut done = 0;
                while done < length {
                    let wanted = usize::try_from(length - done).unwrap_or(usize::MAX).min(PIECE_BYTES);
                    let piece = buffer.get_mut(..wanted).unwrap_or_default();
                    let read = reader.read_at(piece, at.saturating_add(done))?;
                    writer.bytes(Tag::Bytes, piece.get(..read).unwrap_or_default())?;
                    done += read as u64;
                    if read < wanted {
                        break;
                    }
                }
            }
        }
        reader.is_unchanged()
    };
    let sent = send();
    end(store, path, sent, &mut writer)
}

/// What cannot be read is said instead of what follows.
fn end<P: FnMut(&[u8]) -> Result<()>>(
    store: &FolderStore,
    path: &ContentPath,
    sent: ObjectResult<bool>,
    writer: &mut ItemWriter<P>,
) -> Result<bool> {
    let is_unchanged = match sent {
        Ok(is_unchanged) => is_unchanged,
        Err(ObjectError::Store(error)) => return Err(error),
        Err(failure) => {
            let (meta, why) = (store.stat(path).ok(), Failure::of(&failure)?);
            writer.value(Tag::Found, &Found::Failed { meta, why })?;
            false
        }
    };
    writer.flush()?;
    Ok(is_unchanged)
}

/// Sends the groups of a big file that are others than those that are held.
pub(super) fn patch(store: &FolderStore, path: &ContentPath, call: &Served) -> Result<bool> {
    let mut held = Vec::new();
    let mut items = ItemReader::new(call);
    while let Some(item) = items.next()? {
        held.extend_from_slice(item.bytes);
        if item.tag != Tag::Bytes || held.len() > MOST_GROUP_BYTES {
            return Err(not_understood());
        }
    }
    let held = Groups::from_bytes(&held);
    let writer = Mutex::new(ItemWriter::new(|part: &[u8]| call.put(part)));
    let locked = || writer.lock().unwrap_or_else(PoisonError::into_inner);
    let send = || -> ObjectResult<bool> {
        let reader = store.read(path)?;
        locked().value(Tag::Found, &Found::File(head(&*reader)?))?;
        read_groups(&*reader, true, &|number, content, value| {
            go_on(call)?;
            if held.get(number) == Some(value) {
                return Ok(());
            }
            let mut writer = locked();
            writer.value(Tag::Group, &(number, content.len() as u64))?;
            content.chunks(PIECE_BYTES).try_for_each(|piece| writer.bytes(Tag::Bytes, piece))?;
            Ok(())
        })?;
        reader.is_unchanged()
    };
    let sent = send();
    let mut writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    end(store, path, sent, &mut writer)
}
