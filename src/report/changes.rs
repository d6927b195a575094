//! What a module changed, by name: the first of each kind. All of them are in a file of their own.

use serde::{Deserialize, Serialize};

use crate::stored::words;

/// How many changes of one kind a report names.
pub const NAMED: usize = 100;

words! {
    /// What became of something that has a name.
    pub enum ChangeKind {
        /// The destination has it now, and had nothing of this name.
        Copied = "copied",
        /// The destination had another version.
        Replaced = "replaced",
        /// The destination had it under another name.
        Renamed = "renamed",
        /// Only what it has besides its content changed: its mode, owner, times or extended attributes.
        Attributes = "attributes",
        /// The destination has it no more.
        Deleted = "deleted",
        /// What others had put or changed there was moved out of the way, and is kept.
        KeptAside = "keptAside",
        /// The pool had lost it and has it again.
        GivenBack = "givenBack",
        /// It would have been deleted or replaced, and that was refused.
        Withheld = "withheld",
        ;
    }
}

/// One change, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The object's name: its path within the store. For people: what is not UTF-8 is replaced.
    pub item: String,
    /// Its size in bytes, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The name that it had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Where it is kept, within the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_as: Option<String>,
}

impl Change {
    /// A change of what has this name.
    pub fn of(item: impl ToString) -> Self {
        Change { item: item.to_string(), ..Change::default() }
    }

    /// With this size in bytes; 0 says nothing.
    #[must_use]
    pub fn sized(self, bytes: u64) -> Self {
        Change { bytes: (bytes > 0).then_some(bytes), ..self }
    }

    /// With the name that it had before.
    #[must_use]
    pub fn named_before(self, from: Option<impl ToString>) -> Self {
        Change { from: from.map(|from| from.to_string()), ..self }
    }

    /// With the place where it is kept.
    #[must_use]
    pub fn kept_as(self, place: impl ToString) -> Self {
        Change { kept_as: Some(place.to_string()), ..self }
    }
}

/// The changes of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangesOfKind {
    /// The kind.
    pub kind: ChangeKind,
    /// How many there are.
    pub items: u64,
    /// The first of them, at most a hundred, sorted by name: files are copied in any order.
    pub first: Vec<Change>,
}

impl ChangesOfKind {
    /// Keeps a change where it is one of the first.
    fn name(&mut self, change: Change) {
        if self.first.len() < NAMED {
            let at = self.first.partition_point(|known| known.item <= change.item);
            self.first.insert(at, change);
        }
    }
}

/// What was changed, sorted by kind: how much, and the first of each by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Changes(pub Vec<ChangesOfKind>);

impl Changes {
    /// Counts a change, and keeps it where it is one of the first.
    pub fn note(&mut self, kind: ChangeKind, change: Change) {
        self.with(kind, |of_kind| {
            of_kind.items += 1;
            of_kind.name(change);
        });
    }

    /// How many changes of a kind there are.
    pub fn items(&self, kind: ChangeKind) -> u64 {
        self.0.iter().find(|of_kind| of_kind.kind == kind).map_or(0, |of_kind| of_kind.items)
    }

    /// Adds those of a later attempt. What was withheld is what the last one withheld.
    pub fn add(&mut self, later: &Changes) {
        self.0.retain(|of_kind| of_kind.kind != ChangeKind::Withheld);
        for ChangesOfKind { kind, items, first } in &later.0 {
            self.with(*kind, |of_kind| {
                of_kind.items += items;
                first.iter().for_each(|change| of_kind.name(change.clone()));
            });
        }
    }

    fn with(&mut self, kind: ChangeKind, change: impl FnOnce(&mut ChangesOfKind)) {
        match self.0.binary_search_by_key(&kind, |of_kind| of_kind.kind) {
            Ok(at) => {
                if let Some(of_kind) = self.0.get_mut(at) {
                    change(of_kind);
                }
            }
            Err(at) => {
                let mut of_kind = ChangesOfKind { kind, items: 0, first: Vec::new() };
                change(&mut of_kind);
                self.0.insert(at, of_kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_the_first_are_named() {
        let mut changes = Changes::default();
        for number in 0..NAMED + 7 {
            changes.note(ChangeKind::Deleted, Change::of(number));
            changes.note(ChangeKind::Copied, Change::of(number).sized(3));
        }
        assert_eq!(changes.items(ChangeKind::Deleted), 107);
        assert_eq!(changes.items(ChangeKind::Renamed), 0);
        let kinds: Vec<_> = changes.0.iter().map(|of_kind| (of_kind.kind, of_kind.first.len())).collect();
        assert_eq!(kinds, [(ChangeKind::Copied, NAMED), (ChangeKind::Deleted, NAMED)]);
        assert_eq!(changes.0[0].first[99], Change { item: "99".into(), bytes: Some(3), ..Change::default() });
    }

    #[test]
    fn what_attempts_did_adds_up_and_what_the_last_one_withheld_counts() {
        let mut all = Changes::default();
        for attempt in 0..3 {
            let mut changes = Changes::default();
            changes.note(ChangeKind::Copied, Change::of(attempt));
            changes.note(ChangeKind::Withheld, Change::of("kept"));
            all.add(&changes);
        }
        assert_eq!((all.items(ChangeKind::Copied), all.items(ChangeKind::Withheld)), (3, 1));
        assert_eq!(all.0[0].first.len(), 3);
    }
}
