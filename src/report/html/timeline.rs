//! The steps on a scale of time, as numbers that an SVG can take.
//!
//! Positions are percentages of the chart's width and heights are pixels: the chart stretches with the page while its
//! letters keep their size, so that labels stay readable on a narrow screen.

use crate::report::{Outcome, Report, StepReport};

use super::appearance::{Appearance, appearance};
use super::format;
use super::view::ran;

/// Steps beyond these are only listed; a chart of hundreds of bars tells nobody anything.
const MAX_ROWS: usize = 60;
/// As many letters as fit beside the duration on a screen of 400 px.
const LABEL_WIDTH: usize = 38;
const LABEL_LINES: usize = 2;
/// A bar that is drawn narrower cannot be seen on paper.
const MIN_WIDTH: u64 = 60;
const LINE_HEIGHT: u32 = 17;
const BAR_HEIGHT: u32 = 10;
const ROW_GAP: u32 = 16;
const AXIS_HEIGHT: u32 = 18;

/// The distances between marks that a person can count in.
const MARKS_MS: [u64; 30] = [
    1,
    2,
    5,
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    900_000,
    1_800_000,
    3_600_000,
    7_200_000,
    14_400_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    432_000_000,
    864_000_000,
];

/// A chart of the steps.
pub struct Timeline {
    /// Pixels.
    pub height: u32,
    /// Where the scale's letters stand.
    pub axis_y: u32,
    pub rows: Vec<TimelineRow>,
    pub marks: Vec<Mark>,
    /// What the chart shows, for those who cannot see it.
    pub summary: String,
    /// Steps that are not drawn.
    pub more: u64,
}

/// One step.
pub struct TimelineRow {
    pub appearance: Appearance,
    pub lines: Vec<LabelLine>,
    /// The duration, and the outcome where it is not the usual one.
    pub note: String,
    pub note_y: u32,
    pub bar_y: u32,
    pub x: String,
    pub width: String,
    /// Everything about the bar in one line.
    pub hint: String,
}

/// One line of a label.
pub struct LabelLine {
    pub y: u32,
    pub text: String,
}

/// A mark on the scale.
pub struct Mark {
    pub x: String,
    /// The SVG's `text-anchor`: marks near the ends must not stand out of the chart.
    pub anchor: &'static str,
    pub text: String,
    /// Whether a line is drawn through the bars' tracks; the ends have none.
    pub inner: bool,
}

/// The chart of a report; none where nothing ran.
pub fn timeline(report: &Report) -> Option<Timeline> {
    let steps: Vec<&StepReport> = ran(report).collect();
    if steps.is_empty() {
        return None;
    }
    let offsets = offsets_ms(report, &steps);
    let ends = steps.iter().zip(&offsets).map(|(step, offset)| offset.saturating_add(step.duration_ms));
    let span = ends.chain([report.duration_ms]).max().unwrap_or(0);
    let mut y = 0;
    let shown = steps.iter().zip(&offsets).take(MAX_ROWS);
    let rows: Vec<TimelineRow> = shown.map(|(step, offset)| row(step, *offset, span, &mut y)).collect();
    let more = steps.len().saturating_sub(MAX_ROWS) as u64;
    let summary = format!(
        "{} over {}",
        format::counted(steps.len() as u64, "step", "steps"),
        format::duration_words(span)
    );
    Some(Timeline {
        height: y + AXIS_HEIGHT,
        axis_y: y + AXIS_HEIGHT - 5,
        rows,
        marks: marks(span),
        summary,
        more,
    })
}

fn row(step: &StepReport, offset: u64, span: u64, y: &mut u32) -> TimelineRow {
    let appearance = appearance(step.outcome);
    let duration = format::duration(step.duration_ms);
    let note = match step.outcome {
        Outcome::Succeeded => duration.clone(),
        _ => format!("{} · {duration}", appearance.brief),
    };
    let note_y = *y + LINE_HEIGHT - 4;
    let mut lines = Vec::new();
    for text in wrap(&step.title, LABEL_WIDTH, LABEL_LINES) {
        *y += LINE_HEIGHT;
        lines.push(LabelLine { y: *y - 4, text });
    }
    let bar_y = *y + 3;
    *y = bar_y + BAR_HEIGHT + ROW_GAP;
    let width = share(step.duration_ms, span).clamp(MIN_WIDTH, 10_000);
    let x = share(offset, span).min(10_000 - width);
    let hint = format!("{}: {}, {duration}, from {}", step.title, appearance.word, format::duration(offset));
    TimelineRow { appearance, lines, note, note_y, bar_y, x: percent(x), width: percent(width), hint }
}

/// When each step began, from the job's beginning. The times of day say it, unless the clock was set during the job: steps run one
/// after another, and their durations are measured without it, so a step begins where the one before has ended, and early enough for
/// all that follows.
fn offsets_ms(report: &Report, steps: &[&StepReport]) -> Vec<u64> {
    let mut left = steps.iter().fold(0_u64, |sum, step| sum.saturating_add(step.duration_ms));
    let mut earliest = 0_u64;
    let mut offset = |step: &&StepReport| {
        let began = step.started_at.unwrap_or(report.started_at);
        let clock = began.as_millisecond().saturating_sub(report.started_at.as_millisecond());
        let latest = report.duration_ms.saturating_sub(left).max(earliest);
        let offset = u64::try_from(clock).unwrap_or(0).clamp(earliest, latest);
        earliest = offset.saturating_add(step.duration_ms);
        left = left.saturating_sub(step.duration_ms);
        offset
    };
    steps.iter().map(&mut offset).collect()
}

fn marks(span: u64) -> Vec<Mark> {
    let largest = MARKS_MS.last().copied().unwrap_or(1);
    let distance =
        MARKS_MS.into_iter().find(|distance| span / distance <= 4).unwrap_or(largest.max(span / 4));
    (0..=4)
        .map(|number| distance.saturating_mul(number))
        .take_while(|at| *at <= span)
        .map(|at| {
            let position = share(at, span);
            let anchor = match position {
                0..300 => "start",
                300..=9_300 => "middle",
                _ => "end",
            };
            let text = if at == 0 { "0".to_owned() } else { format::duration(at) };
            Mark { x: percent(position), anchor, text, inner: (1..10_000).contains(&position) }
        })
        .collect()
}

/// Hundredths of a percent. A job that took no time has a span of nothing, and everything in it begins at 0.
fn share(part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return 0;
    }
    u64::try_from(u128::from(part) * 10_000 / u128::from(whole)).unwrap_or(10_000).min(10_000)
}

fn percent(hundredths: u64) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// SVG does not wrap text, so that lines are made here; words longer than a line are cut.
fn wrap(text: &str, width: usize, max_lines: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let word_width: usize = word.chars().map(cells).sum();
        let gap = usize::from(used > 0);
        if used > 0 && used + gap + word_width > width && word_width <= width {
            lines.push(String::new());
            used = 0;
        } else if used > 0 {
            append(&mut lines, ' ');
            used += 1;
        }
        for character in word.chars() {
            if used + cells(character) > width {
                lines.push(String::new());
                used = 0;
            }
            append(&mut lines, character);
            used += cells(character);
        }
    }
    if lines.len() > max_lines {
        lines.truncate(max_lines);
        append(&mut lines, '…');
    }
    lines
}

fn append(lines: &mut [String], character: char) {
    if let Some(line) = lines.last_mut() {
        line.push(character);
    }
}

/// Letters of East Asian scripts and most pictures are as wide as two Latin ones.
fn cells(character: char) -> usize {
    if character >= '\u{1100}' { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::html::samples;

    #[test]
    fn a_report_without_steps_has_no_chart() {
        let mut report = samples::succeeded();
        report.steps.clear();
        assert!(timeline(&report).is_none());
    }

    #[test]
    fn a_job_that_took_no_time_is_drawn() {
        let mut report = samples::succeeded();
        report.duration_ms = 0;
        report.finished_at = report.started_at;
        for step in &mut report.steps {
            step.duration_ms = 0;
            step.started_at = Some(report.started_at);
        }
        let chart = timeline(&report).unwrap();
        assert!(chart.rows.iter().all(|row| row.x == "0.00%" && row.width == "0.60%"));
        assert_eq!(chart.marks.len(), 1);
    }

    #[test]
    fn bars_stay_inside_the_chart_whatever_the_clock_did() {
        let mut report = samples::succeeded();
        report.steps[0].started_at = Some("1970-01-01T00:00:00Z".parse().unwrap());
        report.steps[1].duration_ms = u64::MAX;
        let chart = timeline(&report).unwrap();
        for row in &chart.rows {
            let number = |text: &str| text.trim_end_matches('%').parse::<f64>().unwrap();
            assert!(number(&row.x) + number(&row.width) <= 100.0, "{} {}", row.x, row.width);
        }
    }

    #[test]
    fn a_clock_that_was_set_during_the_job_moves_no_bar() {
        let usual = samples::succeeded();
        let mut jumped = usual.clone();
        let last = jumped.steps.len() - 1;
        for (index, hours) in [(last, 24), (0, -24)] {
            let at = &mut jumped.steps[index].started_at;
            *at = at.map(|at| at.checked_add(jiff::SignedDuration::from_hours(hours)).unwrap());
        }
        let (usual, jumped) = (timeline(&usual).unwrap(), timeline(&jumped).unwrap());
        assert_eq!(jumped.summary, usual.summary);
        let ends = |chart: &Timeline| chart.marks.iter().map(|mark| mark.text.clone()).collect::<Vec<_>>();
        assert_eq!(ends(&jumped), ends(&usual));
    }

    #[test]
    fn the_scale_has_a_handful_of_round_marks() {
        for span in [0, 1, 3, 7, 99, 1_500, 61_000, 3_599_999, 90_000_000, 4_000_000_000, u64::MAX] {
            let marks = marks(span);
            assert!((1..=5).contains(&marks.len()), "{span}: {}", marks.len());
        }
        let texts: Vec<String> =
            marks(1_500).into_iter().map(|mark| mark.text.replace('\u{a0}', " ")).collect();
        assert_eq!(texts, ["0", "500 ms", "1 s", "1.5 s"]);
    }

    #[test]
    fn labels_wrap_at_words_and_cut_what_has_none() {
        assert_eq!(wrap("Copy the user store", 10, 2), ["Copy the", "user store"]);
        assert_eq!(wrap("abcdefghijkl", 5, 2), ["abcde", "fghij…"]);
        assert_eq!(wrap("漢字漢字", 4, 2), ["漢字", "漢字"]);
        assert_eq!(wrap("", 10, 2), [""]);
    }

    #[test]
    fn hundreds_of_steps_are_cut_off_and_counted() {
        let mut report = samples::succeeded();
        let step = report.steps[0].clone();
        report.steps = vec![step; 500];
        let chart = timeline(&report).unwrap();
        assert_eq!((chart.rows.len(), chart.more), (60, 440));
    }
}
