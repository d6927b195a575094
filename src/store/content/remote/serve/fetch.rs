//! Looks at the objects that are asked for, and reads small files with that.

use super::super::messages::{
    Failure, FoundFile, FoundObject, Inside, MOST_PATH_BYTES, MOST_WANTED, PIECE_BYTES, SMALL_BYTES, Wanted,
    WantedWhat,
};
use super::super::stream::{ItemReader, ItemWriter, Tag, not_understood};
use super::file;
use crate::error::Result;
use crate::store::content::folder::FolderStore;
use crate::store::content::{
    ContentPath, ContentReader, ContentStore, ObjectKind, ObjectResult, READ_AGAIN, Refusal,
};
use crate::wire::Served;

/// Says what is found of each object.
pub(super) fn fetch(store: &FolderStore, call: &Served) -> Result<()> {
    let mut reader = ItemReader::new(call);
    let (mut wanted, mut bytes) = (Vec::new(), 0);
    while let Some(item) = reader.next()? {
        let one: Wanted = item.value()?;
        bytes += one.path.as_bytes().len();
        wanted.push(one);
        if wanted.len() > MOST_WANTED || bytes > MOST_PATH_BYTES {
            return Err(not_understood());
        }
    }
    let mut writer = ItemWriter::new(|part: &[u8]| call.put(part));
    for one in &wanted {
        if call.cancel().is_cancelled() {
            return Err(crate::error::Error::cancelled());
        }
        let (found, inside) = look(store, one, call)?;
        writer.value(Tag::FoundObject, &found)?;
        inside.chunks(PIECE_BYTES).try_for_each(|piece| writer.bytes(Tag::Bytes, piece))?;
    }
    writer.flush()
}

/// What an object is, and the bytes that follow: its content, or the digests of its groups.
fn look(store: &FolderStore, wanted: &Wanted, call: &Served) -> Result<(FoundObject, Vec<u8>)> {
    let meta = match store.stat(&wanted.path) {
        Ok(meta) => meta,
        Err(failure) => {
            return Ok((FoundObject::Failed { meta: None, why: Failure::of(&failure)? }, Vec::new()));
        }
    };
    let found = match meta.kind {
        ObjectKind::File => read(store, wanted, call),
        ObjectKind::Link => link(store, &wanted.path).map(|found| (found, Vec::new())),
        ObjectKind::Folder => {
            let extended = match store.folder_extended(&wanted.path) {
                Ok(extended) => Ok(extended),
                Err(failure) => Err(Failure::of(&failure)?),
            };
            Ok((FoundObject::Folder { meta, extended }, Vec::new()))
        }
    };
    match found {
        Ok(found) => Ok(found),
        Err(failure) => {
            Ok((FoundObject::Failed { meta: Some(meta), why: Failure::of(&failure)? }, Vec::new()))
        }
    }
}

fn link(store: &FolderStore, path: &ContentPath) -> ObjectResult<FoundObject> {
    for _ in 0..=READ_AGAIN {
        let meta = store.stat(path)?;
        let target = store.read_link(path)?;
        if meta.kind == ObjectKind::Link && store.stat(path)?.is_same_version(&meta) {
            return Ok(FoundObject::Link { meta, target: target.into() });
        }
    }
    Err(Refusal::changing().into())
}

fn read(store: &FolderStore, wanted: &Wanted, call: &Served) -> ObjectResult<(FoundObject, Vec<u8>)> {
    for _ in 0..=READ_AGAIN {
        let mut reader = store.read(&wanted.path)?;
        let mut head = file::head(&*reader)?;
        let is_small = head.meta.size <= SMALL_BYTES;
        let is_read = match wanted.what {
            WantedWhat::Head => false,
            WantedWhat::Hash => true,
            WantedWhat::Content => is_small && head.is_solid,
        };
        if !is_read {
            return Ok((FoundObject::File(head), Vec::new()));
        }
        let (content, hashed) = if is_small {
            let content = small(&mut *reader)?;
            let hashed = file::hash_all(&content);
            (content, hashed)
        } else {
            (Vec::new(), file::hash(&mut *reader, call)?)
        };
        if !reader.is_unchanged()? || is_small && content.len() as u64 != head.meta.size {
            continue;
        }
        let is_content = wanted.what == WantedWhat::Content && wanted.held != Some(hashed.digest);
        let groups = hashed.groups.as_ref().map(|groups| groups.as_bytes().to_vec()).unwrap_or_default();
        let (inside, bytes) = if is_content {
            (Inside::Content, content)
        } else {
            (Inside::Hashed { digest: hashed.digest, group_bytes: groups.len() as u64 }, groups)
        };
        head.inside = inside;
        return Ok((FoundObject::File(head), bytes));
    }
    if wanted.what == WantedWhat::Content {
        // Whoever reads it finds out the same.
        let head: FoundFile = file::head(&*store.read(&wanted.path)?)?;
        return Ok((FoundObject::File(head), Vec::new()));
    }
    Err(Refusal::changing().into())
}

/// All of a small file, and a little more if it has grown.
fn small(reader: &mut dyn ContentReader) -> ObjectResult<Vec<u8>> {
    let mut content = vec![0; SMALL_BYTES as usize + 1];
    let mut length = 0;
    while let Some(rest) = content.get_mut(length..).filter(|rest| !rest.is_empty()) {
        let read = reader.read(rest)?;
        if read == 0 {
            break;
        }
        length += read;
    }
    content.truncate(length);
    Ok(content)
}
