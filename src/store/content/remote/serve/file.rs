//! Reads one file: all of it, a part, what is new in it, or what it hashes to.

use std::sync::{Mutex, PoisonError};

use super::super::messages::{
    Failure, FoundFile, FoundObject, Inside, Key, NewGroup, PIECE_BYTES, WantedBlocks,
};
use super::super::stream::{ItemReader, ItemWriter, Tag, not_understood};
use crate::error::{Error, Result};
use crate::store::content::folder::FolderStore;
use crate::store::content::groups::{GROUP_BYTES, GroupHasher, Groups, Hashed, groups_of, read_groups};
use crate::store::content::{ContentPath, ContentReader, ContentStore, ObjectError, ObjectResult};
use crate::wire::Served;

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
            Piece::Hole(count) => hasher.skip(count, || go_on(call))?,
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
        writer.value(Tag::FoundObject, &FoundObject::File(head(&*reader)?))?;
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
            writer.value(Tag::FoundObject, &FoundObject::Failed { meta, why })?;
            false
        }
    };
    writer.flush()?;
    Ok(is_unchanged)
}

/// Says which groups of a big file are others than those that are held, and sends the blocks of them that are asked for then.
pub(super) fn patch(store: &FolderStore, path: &ContentPath, key: Key, call: &Served) -> Result<bool> {
    let mut items = ItemReader::new(call);
    let held = held_groups(&mut items)?;
    let writer = Mutex::new(ItemWriter::new(|part: &[u8]| call.put(part)));
    let locked = || writer.lock().unwrap_or_else(PoisonError::into_inner);
    let mut send = || -> ObjectResult<bool> {
        let reader = store.read(path)?;
        locked().value(Tag::FoundObject, &FoundObject::File(head(&*reader)?))?;
        read_groups(&*reader, true, &|number, content, value| {
            go_on(call)?;
            if held.get(number) == Some(value) {
                return Ok(());
            }
            let (length, blocks) = (content.len() as u64, key.blocks(content));
            Ok(locked().value(Tag::Group, &NewGroup { number, length, blocks })?)
        })?;
        locked().bytes(Tag::GroupsEnd, &[])?;
        locked().flush()?;
        while let Some(item) = items.next()? {
            let WantedBlocks { number, bits } = item.value()?;
            send_blocks(&*reader, number, bits, &mut *locked(), call)?;
        }
        reader.is_unchanged()
    };
    let sent = send();
    let mut writer = writer.into_inner().unwrap_or_else(PoisonError::into_inner);
    end(store, path, sent, &mut writer)
}

fn held_groups(items: &mut ItemReader<&Served>) -> Result<Groups> {
    let mut held = Vec::new();
    loop {
        let item = items.next()?.ok_or_else(not_understood)?;
        match item.tag {
            Tag::GroupsEnd => return Ok(Groups::from_bytes(&held)),
            Tag::Bytes if held.len() + item.bytes.len() <= MOST_GROUP_BYTES => {
                held.extend_from_slice(item.bytes)
            }
            _ => return Err(not_understood()),
        }
    }
}

fn send_blocks<P: FnMut(&[u8]) -> Result<()>>(
    reader: &dyn ContentReader,
    number: u64,
    bits: u8,
    writer: &mut ItemWriter<P>,
    call: &Served,
) -> ObjectResult<()> {
    let start = number.saturating_mul(GROUP_BYTES);
    let mut block = vec![0; PIECE_BYTES];
    for at in (0..8_u64).filter(|at| bits >> at & 1 == 1) {
        go_on(call)?;
        let read = reader.read_at(&mut block, start.saturating_add(at * PIECE_BYTES as u64))?;
        writer.bytes(Tag::Bytes, block.get(..read).unwrap_or_default())?;
    }
    Ok(())
}
