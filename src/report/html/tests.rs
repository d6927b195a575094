//! What the page must show, asked of its DOM.

use scraper::{ElementRef, Html, Selector};

use super::{render, samples};
use crate::report::{Outcome, QuarantinedItem, Report};

fn page(report: &Report) -> Html {
    Html::parse_document(&render(report).unwrap())
}

fn all<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect::<String>().replace('\u{a0}', " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    all(page, selector).into_iter().map(text).collect()
}

fn one(page: &Html, selector: &str) -> String {
    let mut found = texts(page, selector);
    assert_eq!(found.len(), 1, "{selector}: {found:?}");
    found.remove(0)
}

#[test]
fn the_outcome_stands_at_the_top_as_icon_word_and_sentence() {
    let cases = [
        (samples::succeeded(), "ok", "Succeeded", "Everything was copied; no change is left behind."),
        (
            samples::warnings(),
            "warn",
            "Succeeded with warnings",
            "Everything was copied except for 4 quarantined items; they are tried again by every job.",
        ),
        (samples::failed(), "bad", "Failed", "The user store is locked by another program."),
        (
            samples::cancelled(),
            "stop",
            "Cancelled",
            "It was stopped on request; what was already done stays, and 2 planned steps did not run.",
        ),
        (
            samples::what_if(),
            "plan",
            "What if: nothing was changed",
            "Backup-CsPool would carry out 5 steps.",
        ),
    ];
    for (report, class, word, sentence) in cases {
        let page = page(&report);
        assert_eq!(one(&page, "h1"), format!("Backup-CsPool: {word}"));
        assert_eq!(one(&page, ".outcome .sentence"), sentence);
        assert_eq!(
            all(&page, &format!("main > header.outcome.{class}:first-child > svg.icon.{class}")).len(),
            1
        );
    }
}

#[test]
fn the_facts_say_who_what_and_when() {
    let page = page(&samples::succeeded());
    assert_eq!(
        texts(&page, ".facts dd"),
        [
            "atl-cs-001.litwareinc.com → to chi-cs-001.litwareinc.com",
            "fe01.litwareinc.com",
            "2026-11-01 10:00:00 UTC",
            "3 minutes 20 seconds",
            "0190f3a1-8a6b-7c3d-9e4f-012345678901",
        ]
    );
    assert_eq!(
        texts(&page, ".figures div"),
        [
            "Items written48,539 18 removed",
            "Data written1.6 GiB 8 MiB/s",
            "Still pending0",
            "Quarantined0",
            "Retries0",
            "Errors0"
        ]
    );
    assert_eq!(one(&page, "head > title"), "Succeeded: Backup-CsPool atl-cs-001.litwareinc.com");
}

#[test]
fn every_module_has_a_table_of_states_and_of_what_was_moved() {
    let page = page(&samples::warnings());
    assert_eq!(all(&page, "#modules table").len(), 2);
    let cells = Selector::parse("th, td").unwrap();
    let rows = all(&page, "#modules .card:nth-child(2) tbody tr").into_iter();
    let rows: Vec<String> =
        rows.map(|row| row.select(&cells).map(text).collect::<Vec<_>>().join(" | ")).collect();
    assert_eq!(
        rows,
        [
            "Export | NotInitialized | SteadyState",
            "Import | NormalState | NormalState",
            "Pending changes | 300 | 4",
            "Pending data | 1 MiB | 4 KiB",
            "Lag | none | 1.5 s",
            "Moved",
            "Items written | 296",
            "Items removed | 0",
            "Data written | 1,020 KiB",
            "Batches | 1",
            "Duration | 1.4 s",
            "Quarantined | 4",
            "Cursor | scan 1 at 2026-11-01T10:00:00Z",
        ]
    );
}

#[test]
fn a_module_that_was_compared_says_what_differed_and_where() {
    let page = page(&samples::warnings());
    let cells = Selector::parse("th, td").unwrap();
    let rows = all(&page, "#modules .card:nth-child(1) tbody tr").into_iter();
    let rows: Vec<String> =
        rows.map(|row| row.select(&cells).map(text).collect::<Vec<_>>().join(" | ")).collect();
    let compared = rows.iter().skip_while(|row| *row != "Compared").take(6).collect::<Vec<_>>();
    assert_eq!(
        compared,
        [
            "Compared",
            "Why | It was asked for.",
            "Items compared | 48,213",
            "Items that differed | 3",
            "Items repaired | 3",
            "Where | contacts (1), users (2)",
        ]
    );
}

#[test]
fn errors_come_with_id_advice_causes_and_context() {
    let page = page(&samples::failed());
    let problems = texts(&page, "#errors .problem");
    assert_eq!(problems.len(), 2);
    for part in [
        "StoreBusy",
        "UserServices.PresenceFocus",
        "Wait for that program",
        "database is locked",
        "/srv/atl/users.sqlite",
    ] {
        assert!(problems[0].contains(part), "{part}: {}", problems[0]);
    }
    assert!(problems[0].contains("may help") && problems[1].contains("does not help"));
}

#[test]
fn quarantined_items_are_grouped_by_reason() {
    let page = page(&samples::warnings());
    assert_eq!(
        texts(&page, "#quarantined summary"),
        ["Permission denied 3 items", "The file changed each time it was read 1 item"]
    );
    assert_eq!(texts(&page, "#quarantined .items li").len(), 4);
}

#[test]
fn of_thousands_of_quarantined_items_two_hundred_are_shown() {
    let mut report = samples::warnings();
    report.modules[1].quarantined = (0..5_000)
        .map(|number| QuarantinedItem {
            item: format!("file {number}"),
            reason: "Permission denied".to_owned(),
            advice: String::new(),
        })
        .collect();
    let page = page(&report);
    assert_eq!(all(&page, "#quarantined .items li").len(), 200);
    assert_eq!(one(&page, "#quarantined summary"), "Permission denied 5,000 items");
    assert_eq!(
        one(&page, "#quarantined .more"),
        "The first 200 of 5,000 items are shown; 4,800 more are in the JSON report."
    );
    assert!(all(&page, "#quarantined details[open]").is_empty());
}

#[test]
fn changes_are_named_by_kind_and_folder() {
    let page = page(&samples::warnings());
    let kinds = texts(&page, "#changes summary");
    assert_eq!(
        kinds,
        [
            "Copied 294 items",
            "Renamed 1 item",
            "Deleted 2 items",
            "Changed at the copy by others, and kept aside 1 item"
        ]
    );
    assert_eq!(
        texts(&page, "#changes details:first-of-type .folder"),
        ["In the store's own folder", "meetings/2026-10/board", "meetings/2026-10/board/slides"]
    );
    let lines = texts(&page, "#changes .items li");
    assert_eq!(lines.first().map(String::as_str), Some("welcome.txt"));
    assert!(lines.contains(&"report.pdf was meetings/2026-09/draft.pdf".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("kept as .csb/conflicts/2026")), "{lines:?}");
    assert_eq!(texts(&page, "#changes .more"), ["And 291 more."]);
    assert!(one(&page, "#changes .lead").contains(".names.jsonl"));
    let planned = self::page(&samples::what_if());
    assert_eq!(one(&planned, "#changes h2"), "What would change");
    assert_eq!(texts(&planned, "#changes summary"), ["To be copied 312 items"]);
    assert!(all(&self::page(&samples::succeeded()), "#changes").is_empty());
}

#[test]
fn a_cursor_that_is_not_known_is_not_said_to_be_none() {
    let mut report = samples::what_if();
    let shown = |report: &Report| texts(&page(report), ".cursor").last().cloned().unwrap();
    assert_eq!(shown(&report), "none: the standby copy holds nothing");
    let module = report.modules.last_mut().unwrap();
    module.errors.push(crate::error::Error::cancelled());
    assert_eq!(shown(&report), "not known");
    let module = report.modules.last_mut().unwrap();
    module.errors.clear();
    module.after.export = crate::report::ExportState::ErrorState;
    assert_eq!(shown(&report), "not known");
}

#[test]
fn steps_that_went_wrong_are_open() {
    let page = page(&samples::failed());
    assert_eq!(all(&page, "#steps details").len(), 4);
    assert_eq!(all(&page, "#steps details[open]").len(), 3);
    assert_eq!(all(&page, "#timeline svg[role=img] rect.bar").len(), 4);
    assert!(one(&page, "#timeline svg > title").starts_with("Timeline: 4 steps over"));
}

#[test]
fn a_restored_state_is_what_its_report_is_about() {
    let page = page(&samples::restored());
    assert!(
        one(&page, "header")
            .contains("Revision 3 of 2026-11-02T08:58:02.117Z is in /srv/restored/earlier.sqlite.")
    );
    assert_eq!(texts(&page, ".figures dt"), ["Data written", "Retries", "Errors"]);
    assert!(one(&page, "#steps details[open]").contains("Rows of users: 1 only in the copy of now"));
}

#[test]
fn a_plan_says_that_nothing_was_changed_and_what_the_partner_lacks() {
    let mut report = samples::what_if();
    let note = "chi lacks 12 of the objects that atl holds for it";
    report.plan.steps[4].note = Some(note.to_owned());
    let page = page(&report);
    assert!(texts(&page, "#plan tbody tr")[4].contains(note));
    assert!(one(&page, "#plan .lead").contains("Nothing of it was done."));
    assert_eq!(all(&page, "#plan tbody tr").len(), 5);
    assert!(texts(&page, "#plan tbody tr")[1].contains("sqlite:/srv/chi/standby/atl.sqlite"));
    assert!(all(&page, "#steps, #timeline, #plan .badge").is_empty());
    assert!(!texts(&page, "th, dt").iter().any(|label| label.contains("written") || label == "After"));
}

#[test]
fn a_plan_that_failed_still_says_that_nothing_was_changed() {
    let mut report = samples::failed();
    report.what_if = true;
    let page = page(&report);
    assert!(one(&page, "h1").ends_with("Failed"));
    assert!(one(&page, ".outcome").contains("nothing was changed"));
}

#[test]
fn empty_sections_are_left_out() {
    let mut report = samples::succeeded();
    report.steps.clear();
    report.modules.clear();
    report.plan.steps.clear();
    report.outcome = Outcome::Failed;
    let page = page(&report);
    assert!(all(&page, "#errors, #warnings, #quarantined, #timeline, #modules, #plan").is_empty());
    assert!(one(&page, "#steps").contains("None"));
    assert_eq!(one(&page, ".sentence"), "It failed, and no error says why.");
}

#[test]
fn nothing_in_a_report_becomes_markup() {
    let html = render(&samples::hostile()).unwrap();
    assert!(!html.contains("<script") && !html.contains("<img"));
    let page = Html::parse_document(&html);
    assert!(all(&page, "script, img, link, iframe, object, [onerror], [style]").is_empty());
    for place in [
        "h1",
        "#errors h3",
        "#quarantined .items",
        "#changes .folder",
        "#changes .lead",
        "#modules h3",
        "svg text",
        "svg g > title",
        "#about pre",
    ] {
        let shown = texts(&page, place).join(" ");
        assert!(place == "#about pre" || shown.contains("<script>alert(1)"), "{place}: {shown}");
    }
    assert!(!html.contains('\u{7}') && !html.contains('\u{202e}'));
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    for (name, report) in samples::all() {
        let html = render(&report).unwrap();
        let page = Html::parse_document(&html);
        for element in all(&page, "*") {
            for (attribute, value) in element.value().attrs() {
                let loads = matches!(attribute, "src" | "href" | "srcset" | "data" | "action" | "xlink:href");
                assert!(!loads || value.starts_with('#'), "{name}: {attribute}={value}");
            }
        }
        let css = one(&page, "style");
        assert!(!css.contains("url(") && !css.contains("@import"), "{name}");
        let policy = all(&page, "meta[http-equiv=Content-Security-Policy]")[0].attr("content").unwrap();
        assert!(policy.starts_with("default-src 'none'"));
    }
}

#[test]
fn the_page_is_valid_and_accessible() {
    for (name, report) in samples::all() {
        let page = page(&report);
        assert!(page.errors.is_empty(), "{name}: {:?}", page.errors);
        assert_eq!(all(&page, "html[lang=en]").len(), 1);
        assert_eq!(all(&page, "meta[name=viewport]").len(), 1);
        assert!(all(&page, "th:not([scope])").is_empty(), "{name}");
        assert_eq!(all(&page, "table").len(), all(&page, "table > caption").len(), "{name}");
        let mut before = 0;
        for heading in all(&page, "h1, h2, h3, h4") {
            let level: u32 = heading.value().name().trim_start_matches('h').parse().unwrap();
            assert!(level <= before + 1 && (level > 1 || before == 0), "{name}: h{level} after h{before}");
            before = level;
        }
        let ids: Vec<&str> = all(&page, "[id]").iter().filter_map(|element| element.attr("id")).collect();
        let unique: std::collections::BTreeSet<&&str> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len(), "{name}: {ids:?}");
        for link in all(&page, "[href]") {
            let target = link.attr("href").unwrap().trim_start_matches('#');
            assert!(ids.contains(&target), "{name}: #{target}");
        }
    }
}

#[test]
fn colours_have_the_contrast_that_wcag_aa_asks_for() {
    let css = include_str!("../../../templates/report.css");
    let (light, dark) = css.split_once("@media screen and (prefers-color-scheme: dark)").unwrap();
    for (mode, css) in [("light", light), ("dark", dark)] {
        let luminance = |name: &str| {
            let (_, rest) = css.split_once(&format!("--{name}: #")).unwrap();
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(rest.get(at..at + 2).unwrap(), 16).unwrap()) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(0) + 0.7152 * channel(2) + 0.0722 * channel(4)
        };
        let contrast = |one: &str, other: &str| {
            let (one, other) = (luminance(one), luminance(other));
            (one.max(other) + 0.05) / (one.min(other) + 0.05)
        };
        for hue in ["ok", "warn", "bad", "stop", "plan", "skip"] {
            let tint = format!("{hue}-tint");
            for (text, ground) in
                [(hue, "page"), (hue, &tint), ("text", &tint), ("muted", &tint), ("muted", "surface")]
            {
                let contrast = contrast(text, ground);
                assert!(contrast >= 4.5, "{mode}: {text} on {ground} has {contrast:.2}");
            }
            // Bars need 3 against their track, because they are shapes and not letters.
            assert!(contrast(hue, "track") >= 3.0, "{mode}: {hue} on its track");
        }
    }
}

#[test]
fn what_a_clock_or_a_counter_can_get_wrong_does_not_stop_the_page() {
    let mut report = samples::hostile();
    report.started_at = jiff::Timestamp::MAX;
    report.finished_at = jiff::Timestamp::MIN;
    assert!(render(&report).is_ok());
    report.started_at = jiff::Timestamp::MIN;
    report.duration_ms = u64::MAX;
    assert!(render(&report).is_ok());
}

#[test]
fn what_the_partner_has_pending_is_not_counted_where_it_was_only_given_back() {
    let mut report = samples::warnings();
    let mut back = report.modules[1].clone();
    back.purpose = "carryBack".to_owned();
    back.quarantined.clear();
    back.moved.items_written = 11;
    let counted = text(all(&page(&report), ".figures div")[2]);
    report.modules.push(back);
    let page = page(&report);
    assert_eq!(text(all(&page, ".figures div")[2]), counted);
    let card = text(*all(&page, "#modules .card").last().unwrap());
    assert!(card.contains("given back") && card.contains("Items written11"), "{card}");
    assert!(!card.contains("SteadyState") && !card.contains("Cursor"), "{card}");
}
