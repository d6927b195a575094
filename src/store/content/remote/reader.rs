//! A file of a store at another machine.

use std::sync::{Mutex, PoisonError};

use super::expected::{Entry, not_this};
use super::messages::{Found, FoundFile, Inside, Patch, Read, message};
use super::stream::{Item, ItemReader, ItemWriter, Tag, not_understood};
use super::{Reached, RemoteContent, What};
use crate::error::Result;
use crate::store::content::groups::{GROUP_BYTES, Groups, groups_of, hash_group};
use crate::store::content::{
    ContentPath, ContentReader, Extended, ObjectMeta, ObjectResult, TakesCount, TakesGroup,
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
        let Found::File(head) = entry.found() else { return Err(not_this(entry.found())) };
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
        let found: Found = items.expect(Tag::Found)?.value()?;
        let Found::File(head) = &found else { return Err(not_this(&found)) };
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
        Tag::Found => Ok(not_this(&item.value()?)),
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
        held: &Groups,
        take: TakesGroup<'_>,
        passed: TakesCount<'_>,
    ) -> ObjectResult<(Groups, u64)> {
        let size = self.head.meta.size;
        let Some(count) = groups_of(size) else { return Err(not_understood().into()) };
        let Reached { session, number } = self.store.reached()?;
        let request = Patch { number, path: self.path.clone() };
        let mut call = session.call(message::PATCH, &request, &self.store.cancel())?;
        let mut writer = ItemWriter::new(|part: &[u8]| call.send(part));
        held.as_bytes()
            .chunks(super::messages::PIECE_BYTES)
            .try_for_each(|part| writer.bytes(Tag::Bytes, part))?;
        writer.flush()?;
        drop(writer);
        call.end_parts()?;
        let mut items = ItemReader::new(call);
        if !self.is_opened(&mut items)? {
            return Ok((Groups::default(), 0));
        }
        let mut groups: Vec<_> = (0..count).map(|number| held.get(number).copied()).collect();
        let mut content = Vec::new();
        while let Some(item) = items.next()? {
            if item.tag != Tag::Group {
                return Err(failed(&item)?);
            }
            let (number, length): (u64, u64) = item.value()?;
            if length > GROUP_BYTES {
                return Err(not_understood().into());
            }
            content.clear();
            while (content.len() as u64) < length {
                let piece = items.expect(Tag::Bytes)?.bytes;
                if piece.is_empty() || (content.len() + piece.len()) as u64 > length {
                    return Err(not_understood().into());
                }
                content.extend_from_slice(piece);
            }
            let place = usize::try_from(number).ok().and_then(|number| groups.get_mut(number));
            *place.ok_or_else(not_understood)? = Some(hash_group(number, &content));
            passed(0)?;
            take(&content, number.saturating_mul(GROUP_BYTES))?;
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
            Found::File(now) => Ok(now.meta.is_same_version(&self.head.meta)),
            _ => Ok(false),
        }
    }
}
