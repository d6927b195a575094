//! The report as one self-contained HTML page.
//!
//! The page loads nothing and runs nothing, and its own content security policy forbids both, so that it can be mailed
//! and opened anywhere. The templates lie in `templates/`; everything they show is prepared by the modules below.

use askama::Template;

use super::{Report, StepReport};
use crate::error::{Error, ErrorKind, Result};

mod appearance;
mod changes;
pub(crate) mod format;
mod modules;
mod timeline;
mod view;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[derive(Template)]
#[template(path = "report.html", whitespace = "minimize")]
struct Page<'a> {
    report: &'a Report,
    headline: view::Headline<'a>,
    figures: Vec<view::Figure>,
    errors: Vec<view::Located<'a, Error>>,
    warnings: Vec<view::Located<'a, str>>,
    quarantines: Vec<modules::Quarantine<'a>>,
    changes: Vec<changes::ChangesView<'a>>,
    timeline: Option<timeline::Timeline>,
    modules: Vec<modules::ModuleView<'a>>,
    steps: Vec<StepView<'a>>,
    plan: Vec<view::PlanRow<'a>>,
    request: String,
}

struct StepView<'a> {
    step: &'a StepReport,
    appearance: appearance::Appearance,
    /// What went wrong is read first, so that it need not be opened.
    open: bool,
}

/// Writes a report as one self-contained HTML page.
pub fn render(report: &Report) -> Result<String> {
    crate::platform::failpoint::fail_point!("report.render");
    let page = Page {
        report,
        headline: view::headline(report),
        figures: view::figures(report),
        errors: view::errors(report),
        warnings: view::warnings(report),
        quarantines: modules::quarantines(report),
        changes: changes::changes(report),
        timeline: timeline::timeline(report),
        modules: modules::modules(report),
        steps: view::ran(report).map(step).collect(),
        plan: view::plan(report),
        request: format!("{:#}", report.request),
    };
    let html = page.render().map_err(|cause| {
        Error::new(
            ErrorKind::Io,
            "The report cannot be written as an HTML page.",
            "Read the report as JSON; it says the same.",
        )
        .at("jobId", report.job_id)
        .caused_by(&cause)
    })?;
    // The markup itself has no such characters, so that one pass over the page reaches every value.
    Ok(html.chars().map(format::visible).collect())
}

fn step(step: &StepReport) -> StepView<'_> {
    let appearance = appearance::appearance(step.outcome);
    StepView {
        step,
        appearance,
        open: !step.details.is_empty()
            && (matches!(appearance.class, "bad" | "warn" | "stop") || view::is_restore(&step.id)),
    }
}
