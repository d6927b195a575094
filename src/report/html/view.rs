//! The report as the page shows it: what stands at the top, and in which order the rest follows.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::report::{ModuleReport, Outcome, PlannedStep, Report, StepReport};

use super::appearance::{Appearance, NOT_RUN, PLAN, appearance};
use super::format::{bytes, count, counted, duration};
use super::modules::gives_back;

/// How the job ended, in a word and a sentence.
pub struct Headline<'a> {
    pub appearance: Appearance,
    pub sentence: String,
    /// What to do now, where the job failed.
    pub advice: Option<&'a str>,
}

/// One key figure.
pub struct Figure {
    pub label: &'static str,
    pub value: String,
    /// What completes the figure, in small letters.
    pub note: String,
    /// The class of a figure that asks for attention.
    pub class: &'static str,
}

/// An error or a warning, and the module it belongs to.
pub struct Located<'a, T: ?Sized> {
    pub module: Option<&'a str>,
    pub what: &'a T,
}

/// One step of the plan, and what became of it.
pub struct PlanRow<'a> {
    pub step: &'a PlannedStep,
    pub items: String,
    pub bytes: String,
    /// None in a report that only planned.
    pub result: Option<Appearance>,
}

/// The errors of the job and then of its modules, so that the reader finds all of them in one place.
pub fn errors(report: &Report) -> Vec<Located<'_, Error>> {
    let of_job = report.errors.iter().map(|what| Located { module: None, what });
    let of_modules = report.modules.iter().flat_map(|module| {
        module.errors.iter().map(|what| Located { module: Some(module.module.as_str()), what })
    });
    of_job.chain(of_modules).collect()
}

/// The warnings of the job and then of its modules.
pub fn warnings(report: &Report) -> Vec<Located<'_, str>> {
    let of_job = report.warnings.iter().map(|what| Located { module: None, what: what.as_str() });
    let of_modules = report.modules.iter().flat_map(|module| {
        module
            .warnings
            .iter()
            .map(|what| Located { module: Some(module.module.as_str()), what: what.as_str() })
    });
    of_job.chain(of_modules).collect()
}

/// The sentence that a reader takes along who reads nothing else.
pub fn headline(report: &Report) -> Headline<'_> {
    let failed = report.outcome == Outcome::Failed;
    let first_error = errors(report).into_iter().next().map(|located| located.what).filter(|_| failed);
    let shown = if report.what_if && !failed { PLAN } else { appearance(report.outcome) };
    let sentence = match (first_error, report.what_if) {
        (Some(error), _) => error.message.clone(),
        (None, true) if !failed => planned_sentence(report),
        _ => done_sentence(report),
    };
    Headline { appearance: shown, sentence, advice: first_error.map(|error| error.advice.as_str()) }
}

fn planned_sentence(report: &Report) -> String {
    match report.plan.steps.len() as u64 {
        0 => format!("{} would have nothing to do.", report.command),
        steps => format!("{} would carry out {}.", report.command, counted(steps, "step", "steps")),
    }
}

fn done_sentence(report: &Report) -> String {
    if let (Outcome::Succeeded, Some(restored)) = (report.outcome, restored(report)) {
        return restored.details.first().cloned().unwrap_or_default();
    }
    let totals = totals(report);
    let quarantined = totals.quarantined;
    match report.outcome {
        Outcome::Skipped => "There was nothing to do.".to_owned(),
        Outcome::Succeeded if !report.removed.is_empty() => {
            let removed = counted(report.removed.len() as u64, "item", "items");
            format!("Everything was done; {removed} of the backup service were removed.")
        }
        Outcome::Succeeded if report.modules.is_empty() => "There was nothing left to do.".to_owned(),
        Outcome::Unknown => {
            "A newer version wrote this report, and ended in a way that this one does not know.".to_owned()
        }
        Outcome::Succeeded if totals.written == 0 && totals.deleted == 0 && totals.pending == 0 => {
            "Everything was already in place; nothing had to be copied.".to_owned()
        }
        Outcome::Succeeded if totals.pending > 0 => {
            format!("Everything was done; {} came in since and will follow.", changes(totals.pending))
        }
        Outcome::Succeeded => "Everything was copied; no change is left behind.".to_owned(),
        Outcome::SucceededWithWarnings if quarantined > 0 => {
            let it = if quarantined == 1 { "it is" } else { "they are" };
            format!(
                "Everything was copied except for {}; {it} tried again by every job.",
                counted(quarantined, "quarantined item", "quarantined items")
            )
        }
        Outcome::SucceededWithWarnings => {
            let warnings = counted(warnings(report).len() as u64, "warning", "warnings");
            format!("Everything was done, with {warnings}.")
        }
        Outcome::Cancelled => match not_run(report) {
            0 => "It was stopped on request; what was already done stays.".to_owned(),
            steps => format!(
                "It was stopped on request; what was already done stays, and {} did not run.",
                counted(steps, "planned step", "planned steps")
            ),
        },
        Outcome::Failed => "It failed, and no error says why.".to_owned(),
    }
}

fn changes(pending: u64) -> String {
    counted(pending, "change", "changes")
}

fn not_run(report: &Report) -> u64 {
    plan(report).iter().filter(|row| row.result == Some(NOT_RUN)).count() as u64
}

#[derive(Default)]
struct Totals {
    written: u64,
    deleted: u64,
    bytes: u64,
    batches: u64,
    pending: u64,
    oldest_ms: Option<u64>,
    quarantined: u64,
}

/// The sums saturate: a figure that cannot be true must not keep the page from being written. What is pending of the
/// partner's own data is another job's affair: this one only gave back.
fn totals(report: &Report) -> Totals {
    let pending = |module: &ModuleReport| match gives_back(module) {
        false => (module.after.pending_items, module.after.lag_ms),
        true => (0, None),
    };
    report.modules.iter().fold(Totals::default(), |sum, module| Totals {
        written: sum.written.saturating_add(module.moved.items_written),
        deleted: sum.deleted.saturating_add(module.moved.items_deleted),
        bytes: sum.bytes.saturating_add(module.moved.bytes),
        batches: sum.batches.saturating_add(module.moved.batches),
        pending: sum.pending.saturating_add(pending(module).0),
        oldest_ms: sum.oldest_ms.max(pending(module).1),
        quarantined: sum.quarantined.saturating_add(module.quarantined.len() as u64),
    })
}

/// The step that wrote an earlier state to a file: what it says is all that such a job is about.
fn restored(report: &Report) -> Option<&StepReport> {
    report.steps.iter().find(|step| is_restore(&step.id))
}

pub fn is_restore(step: &str) -> bool {
    step.starts_with("restore:")
}

/// The figures under the headline.
pub fn figures(report: &Report) -> Vec<Figure> {
    if report.what_if { planned_figures(report) } else { done_figures(report) }
}

fn done_figures(report: &Report) -> Vec<Figure> {
    let totals = totals(report);
    let rate = match (totals.bytes, report.duration_ms) {
        (0, _) | (_, 0) => String::new(),
        (size, ms) => {
            let rate = u128::from(size) * 1000 / u128::from(ms);
            format!("{}/s", bytes(u64::try_from(rate).unwrap_or(u64::MAX)))
        }
    };
    let oldest = totals.oldest_ms.filter(|_| totals.pending > 0);
    if !report.removed.is_empty() {
        return vec![removed_figure("Removed", report), retries_figure(report), errors_figure(report)];
    }
    if restored(report).is_some_and(|step| step.outcome == Outcome::Succeeded) {
        let planned = report.plan.steps.iter().find(|step| is_restore(&step.id));
        let size = bytes(planned.and_then(|step| step.bytes).unwrap_or(0));
        let size = Figure { label: "Data written", value: size, note: rate, class: "" };
        return vec![size, retries_figure(report), errors_figure(report)];
    }
    vec![
        Figure {
            label: "Items written",
            value: count(totals.written),
            note: if totals.deleted > 0 {
                format!("{} removed", count(totals.deleted))
            } else {
                String::new()
            },
            class: "",
        },
        Figure { label: "Data written", value: bytes(totals.bytes), note: rate, class: "" },
        Figure {
            label: "Still pending",
            value: count(totals.pending),
            note: oldest.map(|ms| format!("oldest {}", duration(ms))).unwrap_or_default(),
            class: "",
        },
        attention("Quarantined", totals.quarantined, "warn", String::new()),
        retries_figure(report),
        errors_figure(report),
    ]
}

fn planned_figures(report: &Report) -> Vec<Figure> {
    let steps = &report.plan.steps;
    let items = known_sum(steps.iter().map(|step| step.items), count);
    let size = known_sum(steps.iter().map(|step| step.bytes), bytes);
    let planned =
        Figure { label: "Planned steps", value: count(steps.len() as u64), note: String::new(), class: "" };
    if !report.removed.is_empty() {
        return vec![planned, removed_figure("To be removed", report), errors_figure(report)];
    }
    vec![
        planned,
        Figure { label: "Items to move", value: items.0, note: items.1.to_owned(), class: "" },
        Figure { label: "Data to move", value: size.0, note: size.1.to_owned(), class: "" },
        errors_figure(report),
    ]
}

fn removed_figure(label: &'static str, report: &Report) -> Figure {
    Figure { label, value: count(report.removed.len() as u64), note: String::new(), class: "" }
}

fn retries_figure(report: &Report) -> Figure {
    Figure { label: "Retries", value: count(report.retries.into()), note: String::new(), class: "" }
}

fn errors_figure(report: &Report) -> Figure {
    let warnings = warnings(report).len() as u64;
    let note = if warnings > 0 { counted(warnings, "warning", "warnings") } else { String::new() };
    attention("Errors", errors(report).len() as u64, "bad", note)
}

fn attention(label: &'static str, number: u64, class: &'static str, note: String) -> Figure {
    Figure { label, value: count(number), note, class: if number > 0 { class } else { "" } }
}

/// The sum of what is known, and a note where that is not all.
fn known_sum(parts: impl Iterator<Item = Option<u64>>, write: fn(u64) -> String) -> (String, &'static str) {
    let parts: Vec<Option<u64>> = parts.collect();
    let known: Vec<u64> = parts.iter().copied().flatten().collect();
    let sum = known.iter().fold(0, |sum: u64, part| sum.saturating_add(*part));
    match known.len() {
        0 if !parts.is_empty() => ("unknown".to_owned(), ""),
        some if some < parts.len() => (write(sum), "as far as known"),
        _ => (write(sum), ""),
    }
}

/// The steps that ran.
pub fn ran(report: &Report) -> impl Iterator<Item = &StepReport> {
    report.steps.iter().filter(|step| step.started_at.is_some())
}

/// The plan, with the outcome of each step where the job was to carry it out.
pub fn plan(report: &Report) -> Vec<PlanRow<'_>> {
    let outcomes: BTreeMap<&str, Outcome> =
        ran(report).map(|step| (step.id.as_str(), step.outcome)).collect();
    let result =
        |step: &PlannedStep| outcomes.get(step.id.as_str()).map_or(NOT_RUN, |outcome| appearance(*outcome));
    let known = |number: Option<u64>, write: fn(u64) -> String| number.map_or_else(|| "–".to_owned(), write);
    let steps = report.plan.steps.iter();
    steps
        .map(|step| PlanRow {
            step,
            items: known(step.items, count),
            bytes: known(step.bytes, bytes),
            result: (!report.what_if).then(|| result(step)),
        })
        .collect()
}
