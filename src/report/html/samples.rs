//! The reports in `examples/reports/`, which are also there to be looked at.

use crate::report::Report;

fn parse(json: &str) -> Report {
    serde_json::from_str(json).unwrap()
}

pub fn succeeded() -> Report {
    parse(include_str!("../../../examples/reports/succeeded.json"))
}

pub fn warnings() -> Report {
    parse(include_str!("../../../examples/reports/warnings.json"))
}

pub fn failed() -> Report {
    parse(include_str!("../../../examples/reports/failed.json"))
}

pub fn cancelled() -> Report {
    parse(include_str!("../../../examples/reports/cancelled.json"))
}

pub fn what_if() -> Report {
    parse(include_str!("../../../examples/reports/what-if.json"))
}

pub fn restored() -> Report {
    parse(include_str!("../../../examples/reports/restored.json"))
}

/// Markup, endless names and the largest numbers in every field that can hold them.
pub fn hostile() -> Report {
    parse(include_str!("../../../examples/reports/hostile.json"))
}

pub fn all() -> Vec<(&'static str, Report)> {
    vec![
        ("succeeded", succeeded()),
        ("warnings", warnings()),
        ("failed", failed()),
        ("cancelled", cancelled()),
        ("what-if", what_if()),
        ("restored", restored()),
        ("hostile", hostile()),
    ]
}
