//! A folder that is read in parts.

use rusqlite::params;

use super::{COLUMNS, ContentIndex, HeldName, held_name};
use crate::error::Result;
use crate::store::content::ContentPath;

/// How many names are read at once.
const NAMES_AT_ONCE: usize = 256;

/// What the standby holds in one folder, sorted by name and read in parts: for whoever takes longer over each name than a
/// transaction should last, has many folders open, or writes to the index meanwhile.
pub struct FolderParts {
    folder: ContentPath,
    /// The last name that was read.
    last: Box<[u8]>,
}

impl FolderParts {
    /// Of this folder, from its first name on.
    pub fn of(folder: ContentPath) -> Self {
        FolderParts { folder, last: Box::default() }
    }

    /// The names that follow; none when there are no more.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn next(&mut self, index: &ContentIndex) -> Result<Option<Vec<HeldName>>> {
        let sql = format!(
            "SELECT {COLUMNS}, name FROM csb_content_object
             WHERE pool = ?1 AND folder = ?2 AND name > ?3 ORDER BY name LIMIT {NAMES_AT_ONCE}"
        );
        let read = || -> rusqlite::Result<Vec<_>> {
            index
                .connection
                .prepare_cached(&sql)?
                .query_map(params![index.pool.as_str(), self.folder.as_bytes(), self.last], held_name)?
                .collect()
        };
        let part = read().map_err(index.failed("read"))?;
        let Some((name, _)) = part.last() else { return Ok(None) };
        self.last = name.clone();
        Ok(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{file, new_index};
    use super::*;

    #[test]
    fn every_name_is_read_once_whatever_is_written_between_two_parts() {
        let names_at_once = u64::try_from(NAMES_AT_ONCE).unwrap();
        let path = |text: String| ContentPath::from_bytes(text.as_bytes()).unwrap();
        for count in [0, 1, names_at_once, names_at_once + 1, 2 * names_at_once + 3] {
            let folder = tempfile::tempdir().unwrap();
            let (mut index, generation) = new_index(&folder.path().join("service.sqlite"));
            let named = |number: u64| (path(format!("a/{number:05}")), file(number));
            let beside = ["a", "a/00000/a", "b/00000", "00000"].map(|text| (path(text.to_owned()), file(0)));
            let held: Vec<_> = (0..count).map(named).chain(beside).collect();
            index.settle(generation, &held, &[]).unwrap();
            let mut parts = FolderParts::of(path("a".to_owned()));
            let mut read = Vec::new();
            while let Some(part) = parts.next(&index).unwrap() {
                assert!((1..=NAMES_AT_ONCE).contains(&part.len()));
                let names = part.iter().map(|(name, _)| path(format!("a/{}", str::from_utf8(name).unwrap())));
                index.settle(generation, &[], &names.collect::<Vec<_>>()).unwrap();
                read.extend(part.into_iter().map(|(_, known)| known.meta.inode));
            }
            assert!(read.into_iter().eq(0..count));
            index.settle(generation, &[named(0)], &[]).unwrap();
            assert_eq!(parts.next(&index).unwrap().map(|part| part.len()), (count == 0).then_some(1));
        }
    }
}
