//! The hashes of a copy's pages, as the helper at the source remembers them from the last time: then they need not be sent. A list is
//! known by its root. One that is lost, old or damaged costs bytes, and nothing else: its root is computed when it is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parts::{hash_bytes, hashes_of, root_of};
use crate::store::files::replace_for_now;

/// The list of one store's copy.
pub(super) struct List {
    path: PathBuf,
}

impl List {
    /// That of the store at a path, in the folder of what the helper remembers.
    pub(super) fn of(state: &Path, store: &Path) -> Self {
        let name = blake3::hash(store.as_os_str().as_encoded_bytes()).to_hex();
        List { path: state.join(format!("{}.hashes", name.get(..32).unwrap_or_default())) }
    }

    /// The list with this root, where that is the one that is remembered.
    pub(super) fn load(&self, root: &[u8; 32]) -> Option<Arc<[u128]>> {
        let bytes = std::fs::read(&self.path).ok()?;
        let hashes: Arc<[u128]> = hashes_of(&bytes).collect();
        (root_of(&hashes) == *root).then_some(hashes)
    }

    /// Remembers a list; where that fails it has to be sent the next time.
    pub(super) fn store(&self, hashes: &[u128]) {
        let _ = replace_for_now(&self.path, &hash_bytes(hashes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_found_by_its_root_and_one_that_was_changed_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("not/there");
        let list = List::of(&state, Path::new("/srv/atl/users.sqlite"));
        let hashes = [1, 2, 3];
        assert!(list.load(&root_of(&hashes)).is_none());
        list.store(&hashes);
        assert_eq!(&*list.load(&root_of(&hashes)).unwrap(), hashes);
        assert!(list.load(&root_of(&[1, 2])).is_none());
        let other = List::of(&state, Path::new("/srv/atl/other.sqlite"));
        assert!(other.load(&root_of(&hashes)).is_none());
        for at in 0..48 {
            let mut bytes = hash_bytes(&hashes);
            bytes[at] ^= 1;
            std::fs::write(&list.path, bytes).unwrap();
            assert!(list.load(&root_of(&hashes)).is_none(), "changed at {at}");
        }
    }
}
