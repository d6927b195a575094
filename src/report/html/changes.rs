//! What was changed, by name, as the page shows it: by module, kind and folder.

use std::collections::BTreeMap;

use crate::report::{Change, ChangeKind, ChangesOfKind, ModuleReport, Report};

/// How many names are shown unfolded.
const SHOWN_AT_ONCE: u64 = 20;

/// What was changed in one direction by one module.
pub struct ChangesView<'a> {
    pub module: &'a ModuleReport,
    pub kinds: Vec<KindView<'a>>,
}

/// The changes of one kind.
pub struct KindView<'a> {
    pub what: &'static str,
    pub total: u64,
    /// How many are not named.
    pub more: u64,
    /// A few need not be unfolded.
    pub open: bool,
    /// Those that are named, by the folder that they are in.
    pub folders: Vec<(&'a str, Vec<ChangeLine<'a>>)>,
}

/// One change.
pub struct ChangeLine<'a> {
    /// Within its folder.
    pub name: &'a str,
    pub from: Option<&'a str>,
    pub kept_as: Option<&'a str>,
}

/// The changes of every module that has any.
pub fn changes(report: &Report) -> Vec<ChangesView<'_>> {
    let has_any = |module: &&ModuleReport| !module.changes.0.is_empty();
    let view = |module| ChangesView { module, kinds: kinds(module, report.what_if) };
    report.modules.iter().filter(has_any).map(view).collect()
}

fn kinds(module: &ModuleReport, is_plan: bool) -> Vec<KindView<'_>> {
    let total: u64 = module.changes.0.iter().fold(0, |sum, of_kind| sum.saturating_add(of_kind.items));
    module.changes.0.iter().map(|of_kind| kind(of_kind, is_plan, total <= SHOWN_AT_ONCE)).collect()
}

fn kind(of_kind: &ChangesOfKind, is_plan: bool, open: bool) -> KindView<'_> {
    let mut folders: BTreeMap<&str, Vec<ChangeLine<'_>>> = BTreeMap::new();
    for change in &of_kind.first {
        let (folder, name) = change.item.rsplit_once('/').unwrap_or(("", &change.item));
        folders.entry(folder).or_default().push(line(change, name));
    }
    for lines in folders.values_mut() {
        lines.sort_by_key(|line| line.name);
    }
    KindView {
        what: word(of_kind.kind, is_plan),
        total: of_kind.items,
        more: of_kind.items.saturating_sub(of_kind.first.len() as u64),
        open,
        folders: folders.into_iter().collect(),
    }
}

fn line<'a>(change: &'a Change, name: &'a str) -> ChangeLine<'a> {
    ChangeLine { name, from: change.from.as_deref(), kept_as: change.kept_as.as_deref() }
}

/// The kind in words.
const fn word(kind: ChangeKind, is_plan: bool) -> &'static str {
    match (kind, is_plan) {
        (ChangeKind::Copied, false) => "Copied",
        (ChangeKind::Copied, true) => "To be copied",
        (ChangeKind::Replaced, false) => "Replaced",
        (ChangeKind::Replaced, true) => "To be replaced",
        (ChangeKind::Renamed, false) => "Renamed",
        (ChangeKind::Renamed, true) => "To be renamed",
        (ChangeKind::Attributes, false) => "Changed in mode, owner, times or extended attributes only",
        (ChangeKind::Attributes, true) => "To be changed in mode, owner, times or extended attributes only",
        (ChangeKind::Deleted, false) => "Deleted",
        (ChangeKind::Deleted, true) => "To be deleted",
        (ChangeKind::KeptAside, false) => "Changed at the copy by others, and kept aside",
        (ChangeKind::KeptAside, true) => "Changed at the copy by others, to be kept aside",
        (ChangeKind::GivenBack, false) => "Given back",
        (ChangeKind::GivenBack, true) => "To be given back",
        (ChangeKind::Withheld, _) => "Refused: would be deleted or replaced at the copy",
        (ChangeKind::Unknown, _) => "Changed in a way that only a newer version knows",
    }
}
