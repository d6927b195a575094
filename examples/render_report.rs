//! Turns a job's JSON report into the HTML page: `render_report report.json report.html`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args_os().skip(1);
    let (Some(json), Some(html), None) = (paths.next(), paths.next(), paths.next()) else {
        return Err("give two paths: the JSON report to read and the HTML page to write".into());
    };
    let report = serde_json::from_str(&std::fs::read_to_string(json)?)?;
    std::fs::write(html, cs_backup::report::html::render(&report)?)?;
    Ok(())
}
