//! Modules and their quarantined items as the page shows them.

use std::collections::HashMap;

use crate::report::{ExportState, ModuleReport, ModuleState, QuarantinedItem, Report, Verification};

use super::appearance::{Appearance, appearance, export_class, import_class};
use super::format::{bytes, count, duration};

/// As many items as a person scrolls through; the rest is for programs, and they read JSON.
pub const SHOWN_ITEMS: usize = 200;

/// One module in one direction.
pub struct ModuleView<'a> {
    pub report: &'a ModuleReport,
    /// Whether it gave the partner back what it had lost.
    pub gives_back: bool,
    pub appearance: Appearance,
    /// What was there before and after; a report that only planned has nothing after.
    pub states: Vec<StateRow>,
    /// What was moved.
    pub facts: Vec<(&'static str, String)>,
    /// What a comparison found; empty where there was none.
    pub verified: Vec<(&'static str, String)>,
    pub quarantined: u64,
    /// What is said where no cursor is known.
    pub no_cursor: &'static str,
}

/// A property before and after the job.
pub struct StateRow {
    pub label: &'static str,
    pub before: Cell,
    pub after: Cell,
}

/// A value and the class it is shown with.
pub struct Cell {
    pub text: String,
    pub class: &'static str,
}

/// The quarantined items of one module.
pub struct Quarantine<'a> {
    pub module: &'a ModuleReport,
    pub groups: Vec<Group<'a>>,
    pub total: u64,
    pub shown: u64,
    pub more: u64,
}

/// The items that share a reason; one of a thousand advices is enough when all say the same.
pub struct Group<'a> {
    pub reason: &'a str,
    pub advice: &'a str,
    pub total: u64,
    pub items: Vec<&'a str>,
}

/// The modules in the report's order. What would be given back is said in the plan: of a job that only planned there is
/// nothing more to show.
pub fn modules(report: &Report) -> Vec<ModuleView<'_>> {
    let is_shown = |module: &&ModuleReport| !(report.what_if && gives_back(module));
    report.modules.iter().filter(is_shown).map(view).collect()
}

/// Whether a row is one of what a pool was given back, which is shown otherwise than what was copied.
pub fn gives_back(report: &ModuleReport) -> bool {
    report.purpose == "carryBack"
}

fn view(report: &ModuleReport) -> ModuleView<'_> {
    let moved = &report.moved;
    ModuleView {
        report,
        gives_back: gives_back(report),
        appearance: appearance(report.outcome),
        states: states(&report.before, &report.after),
        facts: vec![
            ("Items written", count(moved.items_written)),
            ("Items removed", count(moved.items_deleted)),
            ("Data written", bytes(moved.bytes)),
            ("Batches", count(moved.batches)),
            ("Duration", duration(report.duration_ms)),
        ],
        verified: report.verification.as_ref().map(verified).unwrap_or_default(),
        quarantined: report.quarantined.len() as u64,
        no_cursor: no_cursor(report),
    }
}

/// A module that failed may never have looked what its copy holds.
fn no_cursor(report: &ModuleReport) -> &'static str {
    let is_empty = report.errors.is_empty() && report.after.export == ExportState::NotInitialized;
    if is_empty { "none: the standby copy holds nothing" } else { "not known" }
}

fn verified(found: &Verification) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("Why", found.reasons.join(" ")),
        ("Items compared", count(found.compared_items)),
        ("Items that differed", count(found.differing_items)),
    ];
    if found.differing_items > 0 {
        facts.push(("Items repaired", count(found.repaired_items)));
        facts.push(("Where", found.places()));
    }
    facts
}

fn states(before: &ModuleState, after: &ModuleState) -> Vec<StateRow> {
    let pair = |label, of: fn(&ModuleState) -> Cell| StateRow { label, before: of(before), after: of(after) };
    vec![
        pair("Export", |state| Cell {
            text: state.export.name().to_owned(),
            class: export_class(state.export),
        }),
        pair("Import", |state| Cell {
            text: state.import.name().to_owned(),
            class: import_class(state.import),
        }),
        pair("Pending changes", |state| plain(count(state.pending_items))),
        pair("Pending data", |state| match (state.pending_items, state.pending_bytes) {
            // Modules that cannot tell the size say 0, which would be a wrong answer here.
            (1.., 0) => plain("–".to_owned()),
            (_, size) => plain(bytes(size)),
        }),
        pair("Lag", |state| plain(state.lag_ms.map_or_else(|| "none".to_owned(), duration))),
    ]
}

fn plain(text: String) -> Cell {
    Cell { text, class: "" }
}

/// The quarantined items of every module that has any.
pub fn quarantines(report: &Report) -> Vec<Quarantine<'_>> {
    report.modules.iter().filter(|module| !module.quarantined.is_empty()).map(quarantine).collect()
}

fn quarantine(module: &ModuleReport) -> Quarantine<'_> {
    let key = |item: &QuarantinedItem| (item.reason.clone(), item.advice.clone());
    let mut totals: HashMap<_, u64> = HashMap::new();
    for item in &module.quarantined {
        *totals.entry(key(item)).or_default() += 1;
    }
    let mut groups: Vec<Group> = Vec::new();
    for item in module.quarantined.iter().take(SHOWN_ITEMS) {
        let same = |group: &&mut Group| group.reason == item.reason && group.advice == item.advice;
        match groups.iter_mut().find(same) {
            Some(group) => group.items.push(&item.item),
            None => groups.push(Group {
                reason: &item.reason,
                advice: &item.advice,
                total: totals.get(&key(item)).copied().unwrap_or(1),
                items: vec![&item.item],
            }),
        }
    }
    let total = module.quarantined.len();
    let shown = total.min(SHOWN_ITEMS);
    Quarantine { module, groups, total: total as u64, shown: shown as u64, more: (total - shown) as u64 }
}
