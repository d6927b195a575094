//! The name of an object within its store.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The path of an object, relative to the root of its store: names separated by `/`, any other bytes but NUL. The
/// empty path is the root. No name is empty, `.` or `..`, so a path cannot lead out of its store.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<[u8]>")]
pub struct ContentPath(Box<[u8]>);

/// Whoever sends a path may be anybody.
impl TryFrom<Box<[u8]>> for ContentPath {
    type Error = &'static str;

    fn try_from(bytes: Box<[u8]>) -> Result<Self, Self::Error> {
        if is_path(&bytes) { Ok(ContentPath(bytes)) } else { Err("a path has names that are not allowed") }
    }
}

impl ContentPath {
    /// The root of every store.
    pub fn root() -> Self {
        ContentPath::default()
    }

    /// The path with these bytes; none if one of its names is not allowed.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        is_path(bytes).then(|| ContentPath(bytes.into()))
    }

    /// The object of this name in this folder; none if the name is not allowed.
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let separator: &[u8] = if self.is_root() { b"" } else { b"/" };
        Some(ContentPath([&self.0, separator, name].concat().into()))
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder that the object is in, and its name there; none for the root.
    pub fn split(&self) -> Option<(ContentPath, &[u8])> {
        if self.is_root() {
            return None;
        }
        let mut parts = self.0.rsplitn(2, |byte| *byte == b'/');
        let name = parts.next()?;
        Some((ContentPath(parts.next().unwrap_or_default().into()), name))
    }

    /// The names from the root down.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The bytes of the path.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn is_path(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.split(|byte| *byte == b'/').all(is_name)
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.contains(&0) && !name.contains(&b'/')
}

/// For people: what is not UTF-8 is replaced, and control characters are escaped, so that a name stays on its line.
impl fmt::Display for ContentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("(the whole store)");
        }
        let text = String::from_utf8_lossy(&self.0);
        if !text.chars().any(char::is_control) {
            return f.write_str(&text);
        }
        for character in text.chars() {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_its_store() {
        for bytes in [&b"/etc"[..], b"a//b", b"a/", b"..", b"a/../b", b"./a", b"a\0b"] {
            assert_eq!(ContentPath::from_bytes(bytes), None, "{bytes:?}");
            let sent = postcard::to_stdvec(bytes).unwrap();
            assert!(postcard::from_bytes::<ContentPath>(&sent).is_err(), "{bytes:?}");
        }
        assert_eq!(ContentPath::root().join(b"a/b"), None);
        assert_eq!(ContentPath::root().join(b".."), None);
    }

    #[test]
    fn paths_are_joined_and_split() {
        let path = ContentPath::root().join(b"a").unwrap().join(b"b\xff").unwrap();
        assert_eq!(path.as_bytes(), b"a/b\xff");
        let (folder, name) = path.split().unwrap();
        assert_eq!((folder.as_bytes(), name), (&b"a"[..], &b"b\xff"[..]));
        assert!(folder.split().unwrap().0.is_root());
        assert_eq!(ContentPath::root().split(), None);
        assert_eq!(path.names().count(), 2);
        assert_eq!(ContentPath::root().names().count(), 0);
    }

    #[test]
    fn a_name_stays_on_its_line() {
        let path = ContentPath::from_bytes(b"a\nb/\xff<i>").unwrap();
        assert_eq!(path.to_string(), "a\\nb/\u{fffd}<i>");
    }
}
