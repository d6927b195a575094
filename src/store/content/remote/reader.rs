//! A file of a store at another machine.

use std::sync::{Mutex, PoisonError};

use super::expected::{Entry, not_this};
use super::messages::{
    FoundFile, FoundObject, Inside, Key, NewGroup, PIECE_BYTES, Patch, Read, WantedBlocks, message,
};
use super::stream::{Item, ItemReader, ItemWriter, Tag, not_understood};
use super::{Reached, RemoteContent, What};
use crate::error::Result;
use crate::store::content::groups::{GROUP_BYTES, Groups, groups_of, hash_group};
use crate::store::content::{
    ContentPath, ContentReader, Extended, Held, ObjectMeta, ObjectResult, TakesCount, TakesGroup,
};
use crate::wire::Call;

/// An open file. What is small came with it; else it is sent once somebody begins to read.
pub(super) struct RemoteReader<'a> {
    store: &'a RemoteContent,
    path: ContentPath,
    head: FoundFile,
    content: Content,
    /// Whether it was still this version after all of it was read, once that was said.
    is_unchanged: Mutex<Option<bool>>,
}

enum Content {
    /// Here, and read so far.
    Here(Entry, usize),
    /// Not asked for yet.
    There,
    Coming(Coming),
    Ended,
}

/// What is on its way.
struct Coming {
    items: ItemReader<Call>,
    /// The piece that comes next: bytes, and how many of them were read.
    bytes: Vec<u8>,
    at: usize,
    /// Zeros that come next.
    hole: u64,
}

impl<'a> RemoteReader<'a> {
    pub(super) fn new(store: &'a RemoteContent, path: ContentPath, entry: Entry) -> ObjectResult<Self> {
        let FoundObject::File(head) = entry.found() else { return Err(not_this(entry.found())) };
        let head = head.clone();
        let is_here = matches!(head.inside, Inside::Content);
        let content = if is_here { Content::Here(entry, 0) } else { Content::There };
        Ok(RemoteReader { store, path, head, content, is_unchanged: Mutex::new(None) })
    }

    fn ended(&self, is_unchanged: bool) {
        *self.is_unchanged.lock().unwrap_or_else(PoisonError::into_inner) = Some(is_unchanged);
    }

    /// Whether what was opened now is still this version.
    fn is_opened(&self, items: &mut ItemReader<Call>) -> ObjectResult<bool> {
        let found: FoundObject = items.expect(Tag::FoundObject)?.value()?;
        let FoundObject::File(head) = &found else { return Err(not_this(&found)) };
        let is_same = head.meta.is_same_version(&self.head.meta);
        if !is_same {
            self.ended(false);
        }
        Ok(is_same)
    }

    /// Takes what the call ends with.
    fn end(&self, items: ItemReader<Call>) -> Result<()> {
        let is_unchanged: bool = items.into_parts().answer()?;
        let mut known = self.is_unchanged.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(is_unchanged);
        Ok(())
    }

    fn call(&self, part: Option<(u64, u64)>) -> Result<ItemReader<Call>> {
        let Reached { session, number } = self.store.reached()?;
        let request = Read { number, path: self.path.clone(), part };
        Ok(ItemReader::new(session.call(message::READ, &request, &self.store.cancel())?))
    }

    /// Makes sure that something lies ahead; false at the end.
    fn fill(&mut self) -> ObjectResult<bool> {
        if matches!(self.content, Content::There) {
            let mut items = self.call(None)?;
            // Another version is opened anew by whoever reads.
            self.content = if self.is_opened(&mut items)? {
                Content::Coming(Coming { items, bytes: Vec::new(), at: 0, hole: 0 })
            } else {
                Content::Ended
            };
        }
        let Content::Coming(coming) = &mut self.content else { return Ok(false) };
        while coming.hole == 0 && coming.at >= coming.bytes.len() {
            let Some(item) = coming.items.next()? else {
                if let Content::Coming(coming) = std::mem::replace(&mut self.content, Content::Ended) {
                    self.end(coming.items)?;
                }
                return Ok(false);
            };
            match item.tag {
                Tag::Bytes => {
                    coming.bytes.clear();
                    coming.bytes.extend_from_slice(item.bytes);
                    coming.at = 0;
                }
                Tag::Hole => coming.hole = item.value()?,
                _ => return Err(failed(&item)?),
            }
        }
        Ok(true)
    }
}

/// What came instead of what was to come.
fn failed(item: &Item<'_>) -> Result<crate::store::content::ObjectError> {
    match item.tag {
        Tag::FoundObject => Ok(not_this(&item.value()?)),
        _ => Err(not_understood()),
    }
}

/// Copies as much as fits; how much that was.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let length = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..length), to.get_mut(..length)) {
        to.copy_from_slice(from);
    }
    length
}

/// The groups that are others, in their order.
fn changed(items: &mut ItemReader<Call>, size: u64) -> ObjectResult<Vec<NewGroup>> {
    let mut changed: Vec<NewGroup> = Vec::new();
    loop {
        let item = items.next()?.ok_or_else(not_understood)?;
        let group: NewGroup = match item.tag {
            Tag::Group => item.value()?,
            Tag::GroupsEnd => return Ok(changed),
            _ => return Err(failed(&item)?),
        };
        let left = size.saturating_sub(group.number.saturating_mul(GROUP_BYTES));
        let is_next = changed.last().is_none_or(|last| last.number < group.number);
        let is_whole = group.length > 0 && group.length == left.min(GROUP_BYTES);
        if !is_next || !is_whole || group.blocks.len() as u64 != group.length.div_ceil(PIECE_BYTES as u64) {
            return Err(not_understood().into());
        }
        changed.push(group);
    }
}

/// What is held where a group is; nothing where that cannot be read.
fn held_part<'b>(held: &Held<'_>, group: &NewGroup, buffer: &'b mut [u8]) -> &'b [u8] {
    let at = group.number.saturating_mul(GROUP_BYTES);
    let read = held.earlier.map_or(0, |earlier| earlier.read_at(buffer, at).unwrap_or_default());
    buffer.get(..read).unwrap_or_default()
}

/// The blocks of a group that are not held, one bit for each.
fn missing(held: &[u8], group: &NewGroup, key: Key) -> u8 {
    let held = key.blocks(held.get(..usize::try_from(group.length).unwrap_or_default()).unwrap_or(held));
    let is_missing = |at: &usize| held.get(*at) != group.blocks.get(*at);
    (0..group.blocks.len()).filter(is_missing).fold(0, |bits, at| bits | 1_u8 << at)
}

impl ContentReader for RemoteReader<'_> {
    fn meta(&self) -> ObjectMeta {
        self.head.meta
    }

    fn names(&self) -> u64 {
        self.head.names
    }

    fn read(&mut self, buffer: &mut [u8]) -> ObjectResult<usize> {
        if let Content::Here(entry, at) = &mut self.content {
            let read = copy(entry.bytes().get(*at..).unwrap_or_default(), buffer);
            *at += read;
            return Ok(read);
        }
        if !self.fill()? {
            return Ok(0);
        }
        let Content::Coming(coming) = &mut self.content else { return Ok(0) };
        if coming.hole > 0 {
            let zeros = usize::try_from(coming.hole).unwrap_or(usize::MAX).min(buffer.len());
            buffer.iter_mut().take(zeros).for_each(|byte| *byte = 0);
            coming.hole -= zeros as u64;
            return Ok(zeros);
        }
        let read = copy(coming.bytes.get(coming.at..).unwrap_or_default(), buffer);
        coming.at += read;
        Ok(read)
    }

    fn skip_hole(&mut self) -> ObjectResult<u64> {
        if !self.head.is_solid
            && self.fill()?
            && let Content::Coming(coming) = &mut self.content
        {
            return Ok(std::mem::take(&mut coming.hole));
        }
        Ok(0)
    }

    fn is_solid(&self) -> bool {
        self.head.is_solid
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> ObjectResult<usize> {
        let mut items = self.call(Some((at, buffer.len() as u64)))?;
        if !self.is_opened(&mut items)? {
            return Ok(0);
        }
        let mut done = 0;
        while let Some(item) = items.next()? {
            match item.tag {
                Tag::Bytes => done += copy(item.bytes, buffer.get_mut(done..).unwrap_or_default()),
                _ => return Err(failed(&item)?),
            }
        }
        let _: bool = items.into_parts().answer()?;
        Ok(done)
    }

    fn extended(&self) -> ObjectResult<Extended> {
        Ok(self.head.extended.clone())
    }

    fn changed_groups(
        &self,
        held: &Held<'_>,
        take: TakesGroup<'_>,
        passed: TakesCount<'_>,
    ) -> ObjectResult<(Groups, u64)> {
        let size = self.head.meta.size;
        let Some(count) = groups_of(size) else { return Err(not_understood().into()) };
        let Reached { session, number } = self.store.reached()?;
        let key = Key::new();
        let request = Patch { number, path: self.path.clone(), key };
        let mut call = session.call(message::PATCH, &request, &self.store.cancel())?;
        let mut writer = ItemWriter::new(|part: &[u8]| call.send(part));
        held.groups.as_bytes().chunks(PIECE_BYTES).try_for_each(|part| writer.bytes(Tag::Bytes, part))?;
        writer.bytes(Tag::GroupsEnd, &[])?;
        writer.flush()?;
        drop(writer);
        let mut items = ItemReader::new(call);
        if !self.is_opened(&mut items)? {
            return Ok((Groups::default(), 0));
        }
        let changed = changed(&mut items, size)?;
        let mut wanted = Vec::with_capacity(changed.len());
        let mut content = vec![0; GROUP_BYTES as usize];
        let mut writer = ItemWriter::new(|part: &[u8]| items.parts().send(part));
        for group in &changed {
            passed(0)?;
            let bits = missing(held_part(held, group, &mut content), group, key);
            writer.value(Tag::WantedBlocks, &WantedBlocks { number: group.number, bits })?;
            wanted.push(bits);
        }
        writer.flush()?;
        drop(writer);
        items.parts().end_parts()?;
        let mut groups: Vec<_> = (0..count).map(|number| held.groups.get(number).copied()).collect();
        for (group, bits) in changed.iter().zip(wanted) {
            held_part(held, group, &mut content);
            let whole = usize::try_from(group.length).unwrap_or_default();
            let content = content.get_mut(..whole).unwrap_or_default();
            for (_, block) in
                content.chunks_mut(PIECE_BYTES).enumerate().filter(|(at, _)| bits >> at & 1 == 1)
            {
                let item = items.next()?.ok_or_else(not_understood)?;
                match item.tag {
                    Tag::Bytes if item.bytes.len() == block.len() => block.copy_from_slice(item.bytes),
                    // It became shorter, and is read again.
                    Tag::Bytes => return Ok((Groups::default(), 0)),
                    _ => return Err(failed(&item)?),
                }
            }
            // Somebody may have written to what is held meanwhile.
            if key.blocks(content) != group.blocks {
                return Ok((Groups::default(), 0));
            }
            let place = usize::try_from(group.number).ok().and_then(|number| groups.get_mut(number));
            *place.ok_or_else(not_understood)? = Some(hash_group(group.number, content));
            passed(0)?;
            take(content, group.number.saturating_mul(GROUP_BYTES))?;
        }
        if let Some(item) = items.next()? {
            return Err(failed(&item)?);
        }
        self.end(items)?;
        passed(size)?;
        // One that is missing makes it another file, which is read again.
        if groups.iter().any(Option::is_none) {
            self.ended(false);
        }
        Ok((groups.into_iter().flatten().collect(), size))
    }

    fn is_unchanged(&self) -> ObjectResult<bool> {
        // What was read to its end was this version until the helper had read it.
        if let Content::Here(entry, at) = &self.content
            && *at >= entry.bytes().len()
        {
            return Ok(true);
        }
        if let Some(known) = *self.is_unchanged.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(known);
        }
        match self.store.fetch(&self.path, What::Head)?.found() {
            FoundObject::File(now) => Ok(now.meta.is_same_version(&self.head.meta)),
            _ => Ok(false),
        }
    }
}
