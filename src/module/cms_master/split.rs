//! Two stores that disagree: where, and how it is shown.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde::Serialize;

use super::{PAGE, Side};
use crate::error::{Error, ErrorKind, Result};
use crate::report::Verification;
use crate::store::documents::{Document, Documents};
use crate::topology::StoreUrl;

/// How many documents of each side stand in an error.
const SHOWN: usize = 20;

const WAY_BACK: &str =
    "docs/operations.md, \"Two histories of the Central Management store\", says how to go on.";

/// What two stores hold differently, up to the copy's last revision.
#[derive(Default)]
pub(super) struct Differences {
    /// How many versions of the master were compared.
    pub(super) compared: u64,
    /// What the copy has and the master has not, or has otherwise.
    pub(super) wrong: Vec<Document>,
    /// What the master has and the copy has not, or has otherwise.
    pub(super) right: Vec<Document>,
}

impl Differences {
    /// Compares every version up to the copy's last one, a page of each store at a time.
    pub(super) fn find(master: &dyn Documents, copy: &dyn Documents) -> Result<Self> {
        let mut found = Differences::default();
        let (mut ours, mut theirs) = (Pages::of(master, Side::Export), Pages::of(copy, Side::Import));
        while let Some(held) = theirs.peek()? {
            let order = ours.peek()?.map_or(Ordering::Greater, |wanted| wanted.revision.cmp(&held.revision));
            let wanted = if order == Ordering::Greater { None } else { ours.next()? };
            let held = if order == Ordering::Less { None } else { theirs.next()? };
            found.compared += u64::from(wanted.is_some());
            if wanted != held {
                found.right.extend(wanted);
                found.wrong.extend(held);
            }
        }
        Ok(found)
    }

    /// How many versions differ; one that is wrong in both stores differs once.
    pub(super) fn count(&self) -> u64 {
        (self.right.len() + self.superfluous().count()) as u64
    }

    /// What the copy has at revisions at which the master has nothing.
    fn superfluous(&self) -> impl Iterator<Item = &Document> {
        let is_replaced =
            |document: &&Document| self.right.iter().any(|other| other.revision == document.revision);
        self.wrong.iter().filter(move |document| !is_replaced(document))
    }

    /// By kind of document; all of them are put right.
    pub(super) fn report(&self) -> Verification {
        let mut found = Verification { compared_items: self.compared, ..Verification::requested() };
        for document in self.right.iter().chain(self.superfluous()) {
            found.differ(&document.kind, 1);
        }
        found.repaired_items = found.differing_items;
        found
    }

    /// The first place, as a sentence says it.
    fn first(&self) -> (i64, String, String) {
        let (right, wrong) = (self.right.first(), self.wrong.first());
        let revision =
            right.into_iter().chain(wrong).map(|document| document.revision).min().unwrap_or_default();
        let at = |document: Option<&Document>| {
            document.filter(|document| document.revision == revision).map_or("nothing".to_owned(), describe)
        };
        (revision, at(right), at(wrong))
    }
}

/// The versions of a store, in their order.
struct Pages<'s> {
    store: &'s dyn Documents,
    side: Side,
    page: std::vec::IntoIter<Document>,
    last: i64,
    ended: bool,
}

impl<'s> Pages<'s> {
    fn of(store: &'s dyn Documents, side: Side) -> Self {
        Pages { store, side, page: Vec::new().into_iter(), last: 0, ended: false }
    }

    fn peek(&mut self) -> Result<Option<&Document>> {
        if self.page.as_slice().is_empty() && !self.ended {
            let page = self.store.after(self.last, PAGE).map_err(|error| error.on(self.side))?;
            self.ended = page.is_empty();
            self.page = page.into_iter();
        }
        Ok(self.page.as_slice().first())
    }

    fn next(&mut self) -> Result<Option<Document>> {
        self.peek()?;
        let next = self.page.next();
        self.last = next.as_ref().map_or(self.last, |document| document.revision);
        Ok(next)
    }
}

fn describe(document: &Document) -> String {
    let Document { kind, name, version, .. } = document;
    format!("{kind} {name}, version {version}, published {}", published(document))
}

fn published(document: &Document) -> Timestamp {
    Timestamp::from_millisecond(document.published_ms).unwrap_or_default()
}

/// A document as an error's context shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'d> {
    revision: i64,
    kind: &'d str,
    name: &'d str,
    version: i64,
    published_at: Timestamp,
}

fn shown(documents: &[Document]) -> String {
    let shown = documents.iter().take(SHOWN).map(|document| Shown {
        revision: document.revision,
        kind: &document.kind,
        name: &document.name,
        version: document.version,
        published_at: published(document),
    });
    serde_json::to_string(&shown.collect::<Vec<_>>()).unwrap_or_default()
}

fn with_sides(error: Error, master: &StoreUrl, copy: &StoreUrl, found: &Differences) -> Error {
    error
        .at("master", master)
        .at("copy", copy)
        .at("revision", found.first().0)
        .at("differing", found.count())
        .at("masterHolds", shown(&found.right))
        .at("copyHolds", shown(&found.wrong))
}

/// The error of a copy that somebody wrote to.
pub(super) fn touched(master: &StoreUrl, copy: &StoreUrl, found: &Differences) -> Error {
    let (revision, right, wrong) = found.first();
    let error = Error::new(
        ErrorKind::SplitTimeline,
        format!(
            "The standby copy {copy} was written to by something else than its import. At revision {revision} the master \
             {master} holds {right}; the copy holds {wrong}. In all {} versions differ.",
            found.count()
        ),
        format!(
            "If the master is right, run the command again with -Verify: the copy is put right, and what it held is kept in \
             it. If somebody published at the copy, publish that at the master first. {WAY_BACK}"
        ),
    );
    with_sides(error, master, copy, found)
}

/// The error of a master and a copy that both went on from one state.
pub(super) fn two_histories(master: &StoreUrl, copy: &StoreUrl, found: &Differences) -> Error {
    let (revision, right, wrong) = found.first();
    let error = Error::new(
        ErrorKind::SplitTimeline,
        format!(
            "{master} and its copy {copy} hold different documents. At revision {revision} the master holds {right}; the copy \
             holds {wrong}. In all {} versions differ.",
            found.count()
        ),
        format!(
            "The master was restored to an earlier state and published something else, or was changed. Decide which of \
             both is right; neither was written to. {WAY_BACK}"
        ),
    );
    with_sides(error, master, copy, found)
}

/// The error of a master that was restored to an earlier state.
pub(super) fn outdated(master: &StoreUrl, copy: &StoreUrl, found: &Differences) -> Error {
    let (revision, _, wrong) = found.first();
    let error = Error::new(
        ErrorKind::MasterOutdated,
        format!(
            "The standby copy {copy} is newer than the active master {master}. From revision {revision} on, {} versions are in \
             the copy alone; the first is {wrong}.",
            found.count()
        ),
        format!(
            "The master was restored to an earlier state. Look at both before anything is published; the copy is left as it \
             is. {WAY_BACK}"
        ),
    );
    with_sides(error, master, copy, found)
}
