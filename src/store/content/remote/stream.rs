//! Items of a call, one behind the other, cut into parts wherever these are full.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Call, MOST_BYTES, Served};

/// No item is longer.
const MOST_ITEM_BYTES: usize = 1 << 20;

/// The length of an item's content, and what it is.
const HEAD_BYTES: usize = 5;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// What there is at a place.
    About = 1,
    /// A folder that was walked to: [`super::messages::WalkedFolder`].
    Folder = 2,
    /// The path of a folder or object.
    Path = 3,
    /// Objects of a folder.
    Entries = 4,
    /// How a listing ended: [`super::messages::ListingEnd`].
    ListingEnd = 5,
    /// An object that is wanted: [`super::messages::Wanted`].
    Wanted = 6,
    /// What was found of it: [`super::messages::Found`].
    FoundObject = 7,
    /// Bytes of a file's content, or the digests of groups.
    Bytes = 8,
    /// So many zeros that are not held.
    Hole = 9,
    /// A group that is another one: [`super::messages::NewGroup`].
    Group = 10,
    /// How a walk ended: [`super::messages::WalkEnd`].
    WalkEnd = 11,
    /// There are no more groups.
    GroupsEnd = 12,
    /// Blocks of a group: [`super::messages::WantedBlocks`].
    WantedBlocks = 13,
}

impl Tag {
    const ALL: [Tag; 13] = [
        Tag::About,
        Tag::Folder,
        Tag::Path,
        Tag::Entries,
        Tag::ListingEnd,
        Tag::Wanted,
        Tag::FoundObject,
        Tag::Bytes,
        Tag::Hole,
        Tag::Group,
        Tag::WalkEnd,
        Tag::GroupsEnd,
        Tag::WantedBlocks,
    ];
}

/// The error for what is none of these messages.
pub(super) fn not_understood() -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        "What the other machine says about a content store is not understood.",
        "Install the same release of CsBackup on both machines.",
    )
}

/// Puts items into parts.
pub(super) struct ItemWriter<P> {
    put: P,
    buffer: Vec<u8>,
}

impl<P: FnMut(&[u8]) -> Result<()>> ItemWriter<P> {
    pub(super) fn new(put: P) -> Self {
        ItemWriter { put, buffer: Vec::new() }
    }

    pub(super) fn value(&mut self, tag: Tag, value: &impl Serialize) -> Result<()> {
        let at = self.begin(tag);
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = postcard::to_extend(value, buffer).map_err(|_| not_understood())?;
        self.end(at)
    }

    pub(super) fn bytes(&mut self, tag: Tag, bytes: &[u8]) -> Result<()> {
        let at = self.begin(tag);
        self.buffer.extend_from_slice(bytes);
        self.end(at)
    }

    fn begin(&mut self, tag: Tag) -> usize {
        let at = self.buffer.len();
        self.buffer.extend_from_slice(&[0, 0, 0, 0, tag as u8]);
        at
    }

    fn end(&mut self, at: usize) -> Result<()> {
        let length = self.buffer.len().saturating_sub(at + HEAD_BYTES);
        let told =
            u32::try_from(length).ok().filter(|_| length <= MOST_ITEM_BYTES).ok_or_else(not_understood)?;
        if let Some(place) = self.buffer.get_mut(at..at + 4) {
            place.copy_from_slice(&told.to_le_bytes());
        }
        let full = self.buffer.len() - self.buffer.len() % MOST_BYTES;
        let parts = self.buffer.get(..full).unwrap_or_default();
        parts.chunks(MOST_BYTES).try_for_each(|part| (self.put)(part))?;
        self.buffer.drain(..full);
        Ok(())
    }

    /// Sends what fills no part.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            (self.put)(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }
}

/// Where parts come from.
pub(super) trait Parts {
    fn next_part(&mut self) -> Result<Option<Vec<u8>>>;
}

impl Parts for Call {
    fn next_part(&mut self) -> Result<Option<Vec<u8>>> {
        self.next()
    }
}

impl Parts for &Served {
    fn next_part(&mut self) -> Result<Option<Vec<u8>>> {
        Served::next_part(self)
    }
}

/// Takes items out of parts.
pub(super) struct ItemReader<P> {
    parts: P,
    buffer: Vec<u8>,
    /// Where the next item begins.
    at: usize,
}

/// An item as it came.
pub(super) struct Item<'b> {
    pub(super) tag: Tag,
    pub(super) bytes: &'b [u8],
}

impl Item<'_> {
    pub(super) fn value<T: DeserializeOwned>(&self) -> Result<T> {
        postcard::from_bytes(self.bytes).map_err(|_| not_understood())
    }
}

impl<P: Parts> ItemReader<P> {
    pub(super) fn new(parts: P) -> Self {
        ItemReader { parts, buffer: Vec::new(), at: 0 }
    }

    /// What the parts come from.
    pub(super) fn parts(&mut self) -> &mut P {
        &mut self.parts
    }

    /// What the parts came from.
    pub(super) fn into_parts(self) -> P {
        self.parts
    }

    /// The next item; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item<'_>>> {
        if !self.fill(HEAD_BYTES)? {
            return Ok(None);
        }
        let head =
            self.buffer.get(self.at..self.at + HEAD_BYTES).and_then(|head| head.split_first_chunk::<4>());
        let Some((length, [tag])) = head else { return Err(not_understood()) };
        let length = u32::from_le_bytes(*length) as usize;
        let tag = Tag::ALL.into_iter().find(|known| *known as u8 == *tag).ok_or_else(not_understood)?;
        if length > MOST_ITEM_BYTES || !self.fill(HEAD_BYTES + length)? {
            return Err(not_understood());
        }
        let from = self.at + HEAD_BYTES;
        self.at = from + length;
        let bytes = self.buffer.get(from..self.at).unwrap_or_default();
        Ok(Some(Item { tag, bytes }))
    }

    /// The next item, which must be this one.
    pub(super) fn expect(&mut self, tag: Tag) -> Result<Item<'_>> {
        self.next()?.filter(|item| item.tag == tag).ok_or_else(not_understood)
    }

    /// Waits for so many bytes; false where there are none any more.
    fn fill(&mut self, length: usize) -> Result<bool> {
        while self.buffer.len() - self.at < length {
            let Some(part) = self.parts.next_part()? else {
                return if self.buffer.len() == self.at { Ok(false) } else { Err(not_understood()) };
            };
            self.buffer.drain(..self.at);
            self.at = 0;
            if self.buffer.is_empty() {
                self.buffer = part;
            } else {
                self.buffer.extend_from_slice(&part);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Given(Vec<Vec<u8>>);

    impl Parts for Given {
        fn next_part(&mut self) -> Result<Option<Vec<u8>>> {
            Ok(if self.0.is_empty() { None } else { Some(self.0.remove(0)) })
        }
    }

    fn parts(write: impl FnOnce(&mut ItemWriter<&mut dyn FnMut(&[u8]) -> Result<()>>)) -> Vec<Vec<u8>> {
        let mut parts = Vec::new();
        let mut put = |part: &[u8]| {
            assert!((1..=MOST_BYTES).contains(&part.len()));
            parts.push(part.to_vec());
            Ok(())
        };
        let mut writer = ItemWriter::new(&mut put as &mut dyn FnMut(&[u8]) -> Result<()>);
        write(&mut writer);
        writer.flush().unwrap();
        parts
    }

    #[test]
    fn items_come_as_they_went_wherever_parts_are_cut() {
        let lengths = [0, 1, MOST_BYTES - 5, MOST_BYTES, 3 * MOST_BYTES + 7, MOST_ITEM_BYTES, 3];
        let sent = parts(|writer| {
            for length in lengths {
                writer.bytes(Tag::Bytes, &vec![7; length]).unwrap();
                writer.value(Tag::Hole, &(length as u64)).unwrap();
            }
        });
        let mut reader = ItemReader::new(Given(sent));
        for length in lengths {
            assert_eq!(reader.expect(Tag::Bytes).unwrap().bytes, vec![7; length]);
            assert_eq!(reader.expect(Tag::Hole).unwrap().value::<u64>().unwrap(), length as u64);
        }
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn what_is_cut_or_no_item_is_an_error_and_takes_no_memory() {
        let whole = parts(|writer| writer.bytes(Tag::Bytes, &[7; 100]).unwrap()).concat();
        for length in 1..whole.len() {
            let mut reader = ItemReader::new(Given(vec![whole[..length].to_vec()]));
            assert!(reader.next().is_err(), "{length}");
        }
        for wrong in [[0, 0, 0, 0, 99], [255, 255, 255, 255, 8], [0, 0, 0, 0, 0]] {
            let mut reader = ItemReader::new(Given(vec![wrong.to_vec(), vec![0; 100]]));
            assert_eq!(reader.next().err().unwrap().kind, ErrorKind::PeerIncompatible, "{wrong:?}");
        }
        let mut writer = ItemWriter::new(|_: &[u8]| Ok(()));
        assert!(writer.bytes(Tag::Bytes, &vec![0; MOST_ITEM_BYTES + 1]).is_err());
    }
}
