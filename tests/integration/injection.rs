//! Jobs in a process of their own, one of whose system calls fails: a driver of `tests/faults/inject.c`.
//!
//! ```ignore
//! if !is_possible() { return }
//! let job = Job { arguments: &["--sync"], deployment: &deployment, pool: ATL, options: json!({ "retryCount": 0 }) };
//! let all = job.run(&Fault::none(WRITING, &files));            // what there is to fail: all.calls
//! let hit = job.run(&Fault::nth(WRITING, &files, 7, "ENOSPC")); // hit.outcome, hit.errors
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cs_backup::error::Error;
use serde_json::Value;

use crate::support::{Deployment, backup_once};

/// Every group of calls that changes something, or makes a change last.
pub const WRITING: &str = "open,write,sync,rename,unlink,truncate,copy,mkdir,link,attributes";

/// What is done to which calls.
pub struct Fault {
    calls: &'static str,
    files: String,
    when: String,
    action: &'static str,
}

impl Fault {
    /// No fault: the calls are only counted. `files` are patterns of absolute paths, separated by `|`.
    pub fn none(calls: &'static str, files: &str) -> Self {
        Fault { calls, files: files.to_owned(), when: "0".to_owned(), action: "kill" }
    }

    /// The n-th call, from 1: an errno, `short`, `hang=MS`, `kill` or `torn`.
    pub fn nth(calls: &'static str, files: &str, number: usize, action: &'static str) -> Self {
        Fault { calls, files: files.to_owned(), when: number.to_string(), action }
    }

    /// What runs a program with this fault: its name and arguments are still to be added.
    pub fn command(&self, log: &Path, record: Option<&Path>) -> Command {
        let mut command = Command::new(inject());
        command.arg("-l").arg(log);
        if let Some(record) = record {
            command.arg("-r").arg(record);
        }
        command.args([self.calls, &self.files, &self.when, self.action]);
        command
    }
}

/// The calls of a log, in the order in which they were made.
pub fn logged(log: &Path) -> Vec<Call> {
    // Names are tried that are no text.
    calls(&String::from_utf8_lossy(&std::fs::read(log).unwrap()))
}

/// A job of the example `backup_once`.
pub struct Job<'a> {
    /// What comes before the deployment's file.
    pub arguments: &'a [&'a str],
    pub deployment: &'a Deployment,
    pub pool: &'a str,
    /// Further fields of the request.
    pub options: Value,
}

/// A call that was in the fault's scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: String,
    pub path: PathBuf,
}

/// How a job ended that ran with a fault.
#[derive(Debug)]
pub struct Hit {
    /// The calls in scope, in the order in which they were made.
    pub calls: Vec<Call>,
    /// None where the process was killed.
    pub outcome: Option<String>,
    pub errors: Vec<Error>,
}

impl Job<'_> {
    /// Runs the job to its end.
    pub fn run(&self, fault: &Fault) -> Hit {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = fault.command(log.path(), None);
        command.arg(backup_once()).args(self.arguments).arg(self.deployment.deployment_file());
        let output = command.arg(self.pool).arg(self.options.to_string()).output().unwrap();
        let [said, complaints] = [&output.stdout, &output.stderr].map(|told| String::from_utf8_lossy(told));
        let lines: Vec<&str> = said.lines().collect();
        let killed = output.status.code() == Some(128 + 9);
        assert!(killed || complaints.is_empty(), "{complaints}");
        assert!(killed || matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        let error = |line: &&str| Some(serde_json::from_str(line.strip_prefix("error ")?).unwrap());
        Hit {
            calls: logged(log.path()),
            outcome: (!killed).then(|| lines.last().unwrap().split(' ').next().unwrap().to_owned()),
            errors: lines.iter().filter_map(error).collect(),
        }
    }
}

fn calls(log: &str) -> Vec<Call> {
    let call = |line: &str| {
        let mut parts = line.splitn(3, ' ').skip(1).map(str::to_owned);
        Call { name: parts.next().unwrap(), path: PathBuf::from(parts.next().unwrap()) }
    };
    log.lines().map(call).collect()
}

/// At most this many of the numbers of some calls, from 1, spread evenly, but the first and the last of every name and
/// path in any case: a job makes many like calls, and each kind of them is worth a fault.
pub fn sample(calls: &[Call], most: usize) -> Vec<usize> {
    let step = calls.len().div_ceil(most).max(1);
    let is_first = |i: usize| !calls[..i].contains(&calls[i]);
    let is_last = |i: usize| !calls[i + 1..].contains(&calls[i]);
    (0..calls.len()).filter(|i| i % step == 0 || is_first(*i) || is_last(*i)).map(|i| i + 1).collect()
}

/// Whether this machine lets calls be intercepted; says so where it does not, and the test is then skipped.
pub fn is_possible() -> bool {
    let tried = Command::new(inject()).args(["write", "/nothing", "0", "kill", "true"]).output().unwrap();
    let possible = tried.status.success();
    if !possible {
        let complaints = String::from_utf8_lossy(&tried.stderr);
        eprintln!("skipped: system calls cannot be intercepted here: {complaints}");
    }
    possible
}

fn inject() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("inject");
        let program = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap().into_temp_path();
        let mut compiler = Command::new("cc");
        compiler.args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic", "-o"]).arg(&program);
        compiler.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/inject.c"));
        assert!(compiler.status().unwrap().success(), "tests/faults/inject.c cannot be compiled");
        program.persist(&place).unwrap();
        place
    })
}
