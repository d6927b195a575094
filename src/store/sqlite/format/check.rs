//! Whether a page can be what a database has in its place: its kind, the bounds of its parts, and the places of its cells.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::header::{Layout, lock_page, number};

/// A page that cannot be what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::store) struct Suspect {
    pub(in crate::store) page: u32,
    pub(in crate::store) fault: Cow<'static, str>,
}

/// Pages of trees: inner and leaf, of indexes and of tables.
const TREE_KINDS: [u8; 4] = [2, 5, 10, 13];

/// Which page of a database maps pointers, where it has such maps: the second one, and then each after as many pages as one maps.
fn is_pointer_map(page: u32, layout: &Layout) -> bool {
    if !layout.has_pointer_map || page < 2 {
        return false;
    }
    let usable = layout.page_size - u32::from(layout.reserved);
    let each = usable / 5 + 1;
    let mut first = (page - 2) / each * each + 2;
    if first == lock_page(layout.page_size) {
        first += 1;
    }
    first == page
}

/// What is wrong with a page; none where nothing is. A page of content that flows over, or of the free list, may hold anything, but it
/// begins with the number of another page: below 16,777,216 pages its first byte is zero.
pub(in crate::store) fn fault(
    page: u32,
    content: &[u8],
    layout: &Layout,
    pages: u32,
) -> Option<&'static str> {
    if page == lock_page(layout.page_size) || is_pointer_map(page, layout) {
        return None;
    }
    let start = if page == 1 { 100 } else { 0 };
    let kind = content[start];
    if !TREE_KINDS.contains(&kind) {
        let can_be_free = page > 1 && (kind == 0 || pages >= 1 << 24);
        if !can_be_free {
            return Some("it is of no kind that there is");
        }
        // What a device loses most often looks like this, and now and then a page that is free or flows over.
        return content.iter().all(|byte| *byte == 0).then_some("it holds nothing but zeros");
    }
    let usable = content.len() - usize::from(layout.reserved);
    let short = |at: usize| usize::from(u16::from_be_bytes([content[at], content[at + 1]]));
    let is_inner = kind < 8;
    let pointers = start + if is_inner { 12 } else { 8 };
    let cells = short(start + 3);
    let free = short(start + 1);
    let area = match short(start + 5) {
        0 => 65_536,
        area => area,
    };
    if pointers + 2 * cells > area.min(usable) || area > usable {
        return Some("its parts lie over each other");
    }
    if free != 0 && !(area..=usable.saturating_sub(4)).contains(&free) {
        return Some("its free space lies outside");
    }
    if is_inner && !(1..=pages).contains(&number(content, start + 8)) {
        return Some("it leads to a page that there is not");
    }
    let is_outside = |cell: usize| !(area..usable.saturating_sub(3)).contains(&short(pointers + 2 * cell));
    (0..cells).any(is_outside).then_some("a cell lies outside")
}

/// Whether a page is the leaf of a tree and holds nothing.
pub(in crate::store) fn is_empty_leaf(page: u32, content: &[u8]) -> bool {
    let start = if page == 1 { 100 } else { 0 };
    matches!(content[start], 10 | 13) && content[start + 3..start + 5] == [0, 0]
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::header::Header;
    use super::*;

    #[test]
    fn every_page_that_sqlite_writes_passes_and_a_page_of_noise_does_not() {
        let folder = tempfile::tempdir().unwrap();
        for (size, vacuum) in [(512, 0), (512, 1), (4_096, 2), (65_536, 0)] {
            let path = folder.path().join(format!("{size}-{vacuum}"));
            let server = Connection::open(&path).unwrap();
            server
                .execute_batch(&format!(
                    "PRAGMA page_size = {size}; PRAGMA auto_vacuum = {vacuum};
                     CREATE TABLE t (a INTEGER PRIMARY KEY, b, c UNIQUE); CREATE INDEX i ON t (b);
                     CREATE TABLE w (a PRIMARY KEY, b) WITHOUT ROWID;
                     WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 3000)
                     INSERT INTO t SELECT x, randomblob(x % 900), x || 'c' FROM n;
                     INSERT INTO w SELECT c, b FROM t; DELETE FROM t WHERE a % 3 = 0; DROP INDEX i"
                ))
                .unwrap();
            let file = std::fs::read(&path).unwrap();
            let header = Header::read(&file).unwrap();
            let pages = header.page_count(file.len() as u64);
            for (page, content) in (1..).zip(file.chunks_exact(size)) {
                // A free page may hold nothing but zeros, and is looked at more closely then.
                let found = fault(page, content, &header.layout, pages);
                assert!(
                    found.is_none_or(|found| found.contains("zeros")),
                    "page {page} of {size}: {found:?}"
                );
            }
            let mut caught = 0;
            for _ in 0..100 {
                let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(1..)).take(size).collect();
                caught += usize::from(fault(3, &noise, &header.layout, pages).is_some());
            }
            assert!(caught >= 98, "{caught}");
        }
    }

    #[test]
    fn an_empty_leaf_is_told_from_one_with_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.sqlite");
        let server = Connection::open(&path).unwrap();
        server.execute_batch("CREATE TABLE t (x); CREATE TABLE u (x); INSERT INTO u VALUES (1)").unwrap();
        let file = std::fs::read(&path).unwrap();
        let is_empty =
            |page: u32| is_empty_leaf(page, &file[(page as usize - 1) * 4_096..page as usize * 4_096]);
        assert_eq!([is_empty(1), is_empty(2), is_empty(3)], [false, true, false]);
    }
}
