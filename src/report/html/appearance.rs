//! How an outcome or a state is shown: a word and an icon, and a colour that repeats them.

use crate::report::{ExportState, ImportState, Outcome};

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appearance {
    /// The class in the style sheet, and the name of the icon.
    pub class: &'static str,
    /// What it is called.
    pub word: &'static str,
    /// What it is called where there is little room.
    pub brief: &'static str,
}

/// The appearance of a report that only planned.
pub const PLAN: Appearance =
    Appearance { class: "plan", word: "What if: nothing was changed", brief: "What if" };
/// The appearance of a planned step that the job did not come to.
pub const NOT_RUN: Appearance = Appearance { class: "skip", word: "Not run", brief: "Not run" };

/// The appearance of an outcome.
pub const fn appearance(outcome: Outcome) -> Appearance {
    match outcome {
        Outcome::Skipped => Appearance { class: "skip", word: "Skipped", brief: "Skipped" },
        Outcome::Succeeded => Appearance { class: "ok", word: "Succeeded", brief: "Succeeded" },
        Outcome::SucceededWithWarnings => {
            Appearance { class: "warn", word: "Succeeded with warnings", brief: "Warnings" }
        }
        Outcome::Cancelled => Appearance { class: "stop", word: "Cancelled", brief: "Cancelled" },
        Outcome::Unknown => Appearance { class: "", word: "Unknown to this version", brief: "Unknown" },
        Outcome::Failed => Appearance { class: "bad", word: "Failed", brief: "Failed" },
    }
}

/// The class of an exporting half; only an error is coloured, because the other states are all healthy somewhere.
pub const fn export_class(state: ExportState) -> &'static str {
    match state {
        ExportState::ErrorState => "bad",
        _ => "",
    }
}

/// The class of an importing half.
pub const fn import_class(state: ImportState) -> &'static str {
    match state {
        ImportState::ErrorState => "bad",
        ImportState::NormalState | ImportState::Unknown => "",
    }
}
