//! What a store at another machine is told before it is asked, so that one wait is enough for many objects.

use super::{ContentPath, Listing, ObjectResult};
use crate::error::Result;

/// How much of an object is going to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// What is known without reading it, where a link leads, and extended attributes.
    Head,
    /// What a file's content hashes to as well.
    Hash,
    /// A file's content as well, if it is small.
    Content,
}

/// An object that is going to be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// Which.
    pub path: ContentPath,
    /// How much of it.
    pub what: What,
    /// The content that is there already, by its hash: a file that has it need not be sent.
    pub held: Option<[u8; 32]>,
}

impl Want {
    /// No more than what is known of an object without reading it.
    pub fn head(path: ContentPath) -> Self {
        Want { path, what: What::Head, held: None }
    }
}

/// A folder that a store was walked to.
pub enum FoundFolder {
    /// So many objects lie in folders that list what they are known to list.
    Same {
        /// How many objects.
        count: u64,
        /// Whether anything but folders is among them.
        has_files: bool,
    },
    /// A folder of which that is not known.
    Listed {
        /// Which.
        folder: ContentPath,
        /// What it holds.
        listing: ObjectResult<Listing>,
        /// Whether exactly the folders in it that this names are found as well. If others are, they went or came meanwhile.
        is_as_walked: bool,
    },
}

/// The digests of listings of which everything is held already.
pub trait KnownListings {
    /// Hands over each folder and the digest of its listing, in any order.
    ///
    /// # Errors
    /// When they cannot be read.
    fn each(&self, take: &mut dyn FnMut(&[u8], &[u8; 32])) -> Result<()>;

    /// The digest for one folder; none where it is not known.
    ///
    /// # Errors
    /// When it cannot be read.
    fn of(&self, folder: &ContentPath) -> Result<Option<[u8; 32]>>;
}
