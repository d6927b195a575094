//! How an outcome or a state is shown: a word and an icon, and a colour that repeats them.

use crate::report::{ExportState, ImportState, Outcome};

/// How something is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The class in the style sheet, and the name of the icon.
    pub class: &'static str,
    /// What it is called.
    pub word: &'static str,
    /// What it is called where there is little room.
    pub brief: &'static str,
}

/// The look of a report that only planned.
pub const PLAN: Look = Look { class: "plan", word: "What if: nothing was changed", brief: "What if" };
/// The look of a planned step that the job did not come to.
pub const NOT_RUN: Look = Look { class: "skip", word: "Not run", brief: "Not run" };

/// The look of an outcome.
pub const fn look(outcome: Outcome) -> Look {
    match outcome {
        Outcome::Skipped => Look { class: "skip", word: "Skipped", brief: "Skipped" },
        Outcome::Succeeded => Look { class: "ok", word: "Succeeded", brief: "Succeeded" },
        Outcome::SucceededWithWarnings => {
            Look { class: "warn", word: "Succeeded with warnings", brief: "Warnings" }
        }
        Outcome::Cancelled => Look { class: "stop", word: "Cancelled", brief: "Cancelled" },
        Outcome::Unknown => Look { class: "", word: "Unknown to this version", brief: "Unknown" },
        Outcome::Failed => Look { class: "bad", word: "Failed", brief: "Failed" },
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
