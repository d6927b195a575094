//! Documents that are kept, and grow: what a newer build wrote into one survives being read, changed and written back by
//! this build.
//!
//! [`Stored`] holds a document as it was read beside what this build understands of it. What is changed is written into
//! the document as it was read, so that fields and words that only a newer build knows stay where they are. A document
//! whose fields mean something else than this build knows (its `schemaVersion` is newer) is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::error::{Error, ErrorKind, Result};

/// The field that says which version of its fields a document has; where it is missing they are those of version 1.
const VERSION_FIELD: &str = "schemaVersion";

/// What tells elements of a list apart, where it is not their place in it.
const NAMES: [&str; 5] = ["fqdn", "identity", "id", "revision", "module"];

/// A kind of document that is kept.
pub trait StoredDocument: Serialize + DeserializeOwned {
    /// What it is called in sentences.
    const NAME: &'static str;
    /// The version of its fields that this build writes. It grows when a field changes its meaning, not when one is added.
    const VERSION: u64 = 1;
}

/// A document as it was read, and what this build understands of it.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    known: T,
    /// None for a document that is new.
    read: Option<(String, Value)>,
    is_changed: bool,
}

impl<T: StoredDocument> Stored<T> {
    /// A document that was not kept before.
    pub fn new(known: T) -> Self {
        Stored { known, read: None, is_changed: false }
    }

    /// Reads a document; unknown fields and words are kept.
    ///
    /// # Errors
    /// `UnsupportedStore` for one whose fields only a newer build understands; `Corrupt` for what is none.
    pub fn read(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text).map_err(|cause| damaged::<T>().caused_by(&cause))?;
        if let Some(version) = value.get(VERSION_FIELD).and_then(Value::as_u64).filter(|v| *v > T::VERSION) {
            return Err(newer::<T>(version));
        }
        let known = T::deserialize(&value).map_err(|cause| damaged::<T>().caused_by(&cause))?;
        Ok(Stored { known, read: Some((text.to_owned(), value)), is_changed: false })
    }

    /// What this build understands of it.
    pub fn known(&self) -> &T {
        &self.known
    }

    /// What this build understands of it, alone.
    pub fn into_known(self) -> T {
        self.known
    }

    /// The document with other known content. What this build does not know stays.
    ///
    /// # Errors
    /// `Io` if the content cannot be written as JSON.
    pub fn replace(self, known: T) -> Result<Self> {
        let changed = written(&known)?;
        let Some((text, value)) = self.read else { return Ok(Stored::new(known)) };
        let base = written(&self.known)?;
        if base == changed {
            return Ok(Stored { known, read: Some((text, value)), is_changed: self.is_changed });
        }
        let value = merged(&value, &base, &changed);
        Ok(Stored { known, read: Some((text, value)), is_changed: true })
    }

    /// The document to be written: as it was read, where nothing was changed.
    ///
    /// # Errors
    /// `Io` if the content cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let mut value = match &self.read {
            Some((text, _)) if !self.is_changed => return Ok(text.clone()),
            Some((_, value)) => value.clone(),
            None => written(&self.known)?,
        };
        if let Value::Object(fields) = &mut value {
            fields.entry(VERSION_FIELD).or_insert_with(|| T::VERSION.into());
        }
        Ok(value.to_string())
    }
}

fn written(known: &impl Serialize) -> Result<Value> {
    serde_json::to_value(known).map_err(|cause| {
        Error::new(ErrorKind::Io, "A document cannot be written.", "Report it to the maintainers.")
            .caused_by(&cause)
    })
}

fn damaged<T: StoredDocument>() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("The {} cannot be read.", T::NAME),
        "Restore it from a good copy, or write it again with this version of the product.",
    )
}

fn newer<T: StoredDocument>(version: u64) -> Error {
    Error::new(
        ErrorKind::UnsupportedStore,
        format!(
            "The {} is of a newer build: its fields have version {version}, and this build knows {}.",
            T::NAME,
            T::VERSION
        ),
        "Use that build, or a newer one, wherever this deployment is used. Nothing was changed.",
    )
}

/// The document as it was read, with what changed between two states of its known part.
fn merged(read: &Value, before: &Value, after: &Value) -> Value {
    if before == after {
        return read.clone();
    }
    match (read, before, after) {
        (Value::Object(read), Value::Object(before), Value::Object(after)) => {
            Value::Object(merged_fields(read, before, after))
        }
        (Value::Array(read), Value::Array(before), Value::Array(after)) if read.len() == before.len() => {
            let merge = |(at, item): (usize, &Value)| {
                let former = counterpart(before, after, at);
                let former = former.and_then(|former| Some((read.get(former)?, before.get(former)?)));
                former.map_or_else(|| item.clone(), |(read, before)| merged(read, before, item))
            };
            Value::Array(after.iter().enumerate().map(merge).collect())
        }
        _ => after.clone(),
    }
}

fn merged_fields(
    read: &Map<String, Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Map<String, Value> {
    let mut fields = read.clone();
    fields.retain(|name, _| after.contains_key(name) || !before.contains_key(name));
    for (name, value) in after {
        match (read.get(name), before.get(name)) {
            (Some(read), Some(before)) => fields.insert(name.clone(), merged(read, before, value)),
            // A default that was never written need not be now.
            (None, Some(before)) if before == value => None,
            _ => fields.insert(name.clone(), value.clone()),
        };
    }
    fields
}

/// Where an element of a changed list was before: the one of its name, else the one in its place in a list that is as
/// long as before, else an equal one.
fn counterpart(before: &[Value], after: &[Value], at: usize) -> Option<usize> {
    let item = after.get(at)?;
    if let Some((field, name)) = NAMES.iter().find_map(|field| Some((field, item.get(field)?))) {
        return before.iter().position(|other| other.get(field) == Some(name));
    }
    if before.len() == after.len() { Some(at) } else { before.iter().position(|other| other == item) }
}

/// An enumeration of words in documents. A word that this build does not know is read as `Unknown`. The variants stand
/// from the best to the worst where that matters: those after the semicolon are worse than an unknown one.
macro_rules! words {
    ($(#[$attribute:meta])* $visibility:vis enum $name:ident {
        $( $(#[$before:meta])* $better:ident = $word:literal, )* ;
        $( $(#[$after:meta])* $worse:ident = $worse_word:literal, )*
    }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        $visibility enum $name {
            $( $(#[$before])* $better, )*
            /// A word of a newer build.
            Unknown,
            $( $(#[$after])* $worse, )*
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> ::std::result::Result<S::Ok, S::Error> {
                to.serialize_str(self.name())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(from: D) -> ::std::result::Result<Self, D::Error> {
                let word = <String as ::serde::Deserialize>::deserialize(from)?;
                let known = $name::ALL.iter().copied().find(|known| known.name() == word);
                Ok(known.unwrap_or($name::Unknown))
            }
        }

        impl $name {
            /// Every word that this build knows.
            pub const ALL: &'static [$name] = &[ $( $name::$better, )* $( $name::$worse, )* ];

            /// The spelling in documents.
            pub const fn name(self) -> &'static str {
                match self {
                    $( $name::$better => $word, )*
                    $name::Unknown => "Unknown",
                    $( $name::$worse => $worse_word, )*
                }
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    words! {
        /// A size.
        enum Size {
            /// Small.
            Small = "small",
            ;
            /// Large.
            Large = "large",
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Shelf {
        #[serde(default)]
        label: String,
        size: Size,
        boxes: Vec<Crate>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Crate {
        id: u32,
        weight: u32,
    }

    impl StoredDocument for Shelf {
        const NAME: &'static str = "shelf";
    }

    fn read(value: &Value) -> Stored<Shelf> {
        Stored::read(&value.to_string()).unwrap()
    }

    fn value(stored: &Stored<Shelf>) -> Value {
        serde_json::from_str(&stored.to_json().unwrap()).unwrap()
    }

    #[test]
    fn what_a_newer_build_wrote_survives_a_change_wherever_it_stands() {
        let newer = json!({ "schemaVersion": 1, "size": "enormous", "colour": { "hue": 7 }, "boxes": [
            { "id": 1, "weight": 5, "fragile": true }, { "id": 2, "weight": 6, "fragile": false }] });
        let shelf = read(&newer);
        assert_eq!(shelf.known().size, Size::Unknown);
        let mut known = shelf.known().clone();
        known.label = "top".into();
        known.boxes.reverse();
        known.boxes[1].weight = 50;
        known.boxes.push(Crate { id: 3, weight: 1 });
        let expected = json!({ "schemaVersion": 1, "size": "enormous", "colour": { "hue": 7 }, "label": "top", "boxes": [
            { "id": 2, "weight": 6, "fragile": false }, { "id": 1, "weight": 50, "fragile": true },
            { "id": 3, "weight": 1 }] });
        assert_eq!(value(&shelf.replace(known).unwrap()), expected);
    }

    #[test]
    fn what_was_removed_is_gone_and_what_was_not_changed_is_written_as_it_was_read() {
        let text = r#"{ "size":"small",  "boxes":[{"id":1,"weight":5,"x":1},{"id":2,"weight":6,"x":2}] }"#;
        let shelf: Stored<Shelf> = Stored::read(text).unwrap();
        let known = shelf.known().clone();
        let shelf = shelf.replace(known.clone()).unwrap();
        assert_eq!(shelf.to_json().unwrap(), text);
        let changed = shelf.replace(Shelf { boxes: known.boxes[1..].to_vec(), ..known }).unwrap();
        let expected =
            json!({ "schemaVersion": 1, "size": "small", "boxes": [{ "id": 2, "weight": 6, "x": 2 }] });
        assert_eq!(value(&changed), expected);
    }

    #[test]
    fn a_document_of_a_newer_version_is_refused_by_name_and_one_that_is_none_is_corrupt() {
        let newer = json!({ "schemaVersion": 2, "shape": "round" }).to_string();
        let error = Stored::<Shelf>::read(&newer).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsupportedStore);
        assert!(error.message.starts_with("The shelf is of a newer build"), "{error}");
        for text in ["", "{", "{}", "[]"] {
            assert_eq!(Stored::<Shelf>::read(text).unwrap_err().kind, ErrorKind::Corrupt, "{text}");
        }
    }
}
