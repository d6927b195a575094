//! Why a store of documents refuses to be written to.

use super::{Import, Position};
use crate::error::{Error, ErrorKind};
use crate::topology::StoreUrl;

/// A publication at a copy, or a copy where the master should be.
pub fn not_master(store: &StoreUrl, position: &Position) -> Error {
    let master = position.master.as_deref().unwrap_or("not known here");
    Error::new(
        ErrorKind::NotMaster,
        format!(
            "{store} is a standby copy of the Central Management store: it takes no publications. Its master is {master}."
        ),
        "Name the master as central_management_store in deployment.toml. If the master is lost for good, put this file in \
         its place.",
    )
    .at("store", store)
    .at("master", master)
}

/// A store whose role only a newer build knows.
pub(super) fn unknown_role(store: &StoreUrl) -> Error {
    Error::new(
        ErrorKind::UnsupportedStore,
        format!(
            "A newer build gave the Central Management store {store} a role that this one does not know."
        ),
        "Use that build, or a newer one, wherever this store is used.",
    )
    .at("store", store)
}

/// An importer whose lease was taken over.
pub(super) fn older_generation(copy: &StoreUrl) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("A newer owner has written to the standby copy {copy}."),
        "Nothing is lost: that owner goes on. Look at it with Get-CsBackupJob.",
    )
    .at("copy", copy)
}

/// Whoever would move the role has seen another epoch than there is.
pub(super) fn other_epoch(store: &StoreUrl, epoch: i64, seen: i64) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!("{store} is at epoch {epoch}: its role cannot be moved as of epoch {seen}."),
        "Somebody else has moved the role of the Central Management store meanwhile. Look which store is its master now.",
    )
    .at("store", store)
    .at("epoch", epoch)
}

/// Somebody wrote to the copy between the look and the import.
pub(super) fn changed_meanwhile(copy: &StoreUrl, position: &Position, import: &Import) -> Error {
    Error::new(
        ErrorKind::SplitTimeline,
        format!(
            "Something else wrote to the standby copy {copy} while it was brought up to date: it held revision {} and holds \
             {} now.",
            import.base.revision, position.revision
        ),
        "Nothing was imported. Find out who writes to the copy, and run the command again: it shows what differs.",
    )
    .at("copy", copy)
    .at("master", &import.master)
    .at("revision", position.revision)
}

/// The error of a copy that holds the documents of another Central Management store.
pub fn foreign(copy: &StoreUrl) -> Error {
    Error::new(
        ErrorKind::ForeignContent,
        format!("{copy} holds documents of another Central Management store."),
        "Set that file aside, or name another place as standby.management_store in the topology.",
    )
    .at("copy", copy)
    .at("store", copy)
}

/// The error of a master whose role another store has taken since.
pub fn older_master(master: &str, epoch: i64, copy: &StoreUrl, position: &Position) -> Error {
    Error::new(
        ErrorKind::Fenced,
        format!(
            "{master} is the master of epoch {epoch}, but {copy} knows of epoch {}: another store is the master now.",
            position.reign.epoch
        ),
        "Nothing was written. Find the master of the newer epoch and use that one; what the older one published since \
         then, publish there again.",
    )
    .at("master", master)
    .at("copy", copy)
    .at("epoch", position.reign.epoch)
}

/// The error of two stores that both take publications.
pub fn two_masters(master: &str, copy: &StoreUrl, position: &Position) -> Error {
    Error::new(
        ErrorKind::SplitTimeline,
        format!(
            "{master} and {copy} are both masters of the Central Management store: the second is at revision {}, epoch {}.",
            position.revision, position.reign.epoch
        ),
        "Decide which one is right, and move the other one away: docs/operations.md, \"Two histories of the Central \
         Management store\".",
    )
    .at("master", master)
    .at("copy", copy)
    .at("revision", position.revision)
    .at("epoch", position.reign.epoch)
}
