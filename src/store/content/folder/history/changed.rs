//! Of a big file only the parts that its next version changed, where the file system cannot share the rest.
//!
//! The file has a head with the size of the earlier version and the places of the parts, then their bytes. Put over the next
//! version, which is cut or extended to that size, they make the earlier one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;

use rustix::io::Errno;

use super::super::failure::errno;

/// The first bytes; another form has another number.
const MAGIC: &[u8; 8] = b"CSBCHNG1";

/// Before the places: the size of the earlier version, and how many places there are.
const HEAD: usize = MAGIC.len() + 8 + 4;

/// Each place: where it begins, and how long it is.
const PLACE: usize = 16;

/// More parts than this are not worth it.
const MOST_PARTS: usize = 1 << 16;

/// How much is copied at once.
const PIECE: usize = 256 << 10;

/// Where a new version differs from the earlier one.
#[derive(Default)]
pub(in super::super) struct Changed {
    /// Sorted, and apart from each other.
    parts: Vec<(u64, u64)>,
}

impl Changed {
    /// Counts a part that follows the last one.
    pub(in super::super) fn add(&mut self, at: u64, length: u64) {
        match self.parts.last_mut() {
            Some((start, known)) if start.saturating_add(*known) == at => {
                *known = known.saturating_add(length)
            }
            _ => self.parts.push((at, length)),
        }
    }

    /// The parts that the earlier version has, where keeping them takes less than half of it; the new version is this long.
    fn worth_keeping(&self, earlier: u64, new: u64) -> Option<Vec<(u64, u64)>> {
        let within = |(at, length): &(u64, u64)| {
            let length = (*length).min(earlier.saturating_sub(*at));
            (length > 0).then_some((*at, length))
        };
        let mut parts: Vec<_> = self.parts.iter().filter_map(within).collect();
        if earlier > new {
            parts.push((new, earlier - new));
        }
        let bytes: u64 = parts.iter().map(|(_, length)| length).sum();
        (bytes.saturating_mul(2) < earlier && parts.len() <= MOST_PARTS).then_some(parts)
    }

    /// Writes the parts of the earlier version to a new file; says whether that is worth it.
    pub(in super::super) fn write(
        &self,
        earlier: &File,
        new: u64,
        to: impl FnOnce() -> Result<File, Errno>,
    ) -> Result<bool, Errno> {
        let size = earlier.metadata().map_err(errno)?.len();
        let Some(parts) = self.worth_keeping(size, new) else { return Ok(false) };
        let mut file = to()?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&size.to_le_bytes());
        head.extend_from_slice(&u32::try_from(parts.len()).unwrap_or(u32::MAX).to_le_bytes());
        for (at, length) in &parts {
            head.extend_from_slice(&at.to_le_bytes());
            head.extend_from_slice(&length.to_le_bytes());
        }
        file.write_all(&head).map_err(errno)?;
        let mut piece = vec![0; PIECE];
        for (at, length) in parts {
            let mut done = 0;
            while done < length {
                let part = usize::try_from(length - done).unwrap_or(usize::MAX).min(PIECE);
                let piece = piece.get_mut(..part).unwrap_or_default();
                earlier.read_exact_at(piece, at + done).map_err(errno)?;
                file.write_all(piece).map_err(errno)?;
                done += part as u64;
            }
        }
        file.sync_all().map_err(errno)?;
        Ok(true)
    }
}

/// The places of kept parts, read from their file.
pub(in super::super) struct Parts {
    /// How large the earlier version was.
    pub(in super::super) size: u64,
    /// Where each part begins, how long it is, and where its bytes are in the file.
    pub(in super::super) places: Vec<(u64, u64, u64)>,
}

impl Parts {
    /// Reads them; none from a file that is none of these.
    pub(in super::super) fn of(file: &File) -> Result<Option<Self>, Errno> {
        let mut head = [0; HEAD];
        if file.read_exact_at(&mut head, 0).is_err() || !head.starts_with(MAGIC) {
            return Ok(None);
        }
        let (size, count) = head.get(MAGIC.len()..).unwrap_or_default().split_at(8);
        let (size, count) = (number(size), number(count));
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MOST_PARTS {
            return Ok(None);
        }
        let mut bytes = vec![0; count * PLACE];
        file.read_exact_at(&mut bytes, HEAD as u64).map_err(errno)?;
        let mut from = (HEAD + bytes.len()) as u64;
        let places = bytes.chunks_exact(PLACE).map(|place| {
            let (at, length) = place.split_at(8);
            let (at, length) = (number(at), number(length));
            let part = (at, length, from);
            from = from.saturating_add(length);
            part
        });
        Ok(Some(Parts { size, places: places.collect() }))
    }
}

/// A number whose lowest byte comes first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_kept_where_they_are_less_than_half_of_the_earlier_version() {
        let changed = |parts: &[(u64, u64)]| {
            let mut changed = Changed::default();
            parts.iter().for_each(|(at, length)| changed.add(*at, *length));
            changed
        };
        assert_eq!(
            changed(&[(0, 10), (10, 10), (50, 5)]).worth_keeping(100, 100),
            Some(vec![(0, 20), (50, 5)])
        );
        assert_eq!(changed(&[(0, 50)]).worth_keeping(100, 100), None);
        assert_eq!(
            changed(&[(90, 30)]).worth_keeping(100, 120),
            Some(vec![(90, 10)]),
            "what is new was not there"
        );
        assert_eq!(
            changed(&[(0, 1)]).worth_keeping(100, 80),
            Some(vec![(0, 1), (80, 20)]),
            "what was cut off"
        );
        assert_eq!(changed(&[]).worth_keeping(100, 40), None);
    }

    #[test]
    fn what_was_written_is_read_and_other_files_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("earlier"), (0..=99).collect::<Vec<u8>>()).unwrap();
        let mut changed = Changed::default();
        changed.add(10, 5);
        let earlier = File::open(path("earlier")).unwrap();
        let create =
            || Ok(File::options().read(true).write(true).create_new(true).open(path("parts")).unwrap());
        assert!(changed.write(&earlier, 90, create).unwrap());
        let file = File::open(path("parts")).unwrap();
        let parts = Parts::of(&file).unwrap().unwrap();
        assert_eq!(parts.size, 100);
        let bytes = |(_, length, from): &(u64, u64, u64)| {
            let mut bytes = vec![0; usize::try_from(*length).unwrap()];
            file.read_exact_at(&mut bytes, *from).unwrap();
            bytes
        };
        let found: Vec<_> = parts.places.iter().map(|place| (place.0, bytes(place))).collect();
        assert_eq!(found, [(10, (10..15).collect()), (90, (90..100).collect())]);
        assert!(Parts::of(&earlier).unwrap().is_none());
    }
}
