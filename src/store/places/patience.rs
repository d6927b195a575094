//! Looking at places of which some may not answer.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::identity::Resolved;
use super::system::System;
use crate::bound::is_same_place;
use crate::store::files::with_suffix;
use crate::store::sqlite::COMPANIONS;

/// How long one place may take to answer; a file system that is there takes microseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where threads of this process look just now, and since when. Nobody is sent to where one has waited for too long.
static LOOKING: Mutex<Vec<Looking>> = Mutex::new(Vec::new());

#[derive(Clone, PartialEq)]
struct Looking {
    path: PathBuf,
    since: Instant,
    by: ThreadId,
}

/// A path that is looked at, and whether it is that of a database, which has files beside it.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) path: PathBuf,
    pub(super) is_database: bool,
}

/// Where a path leads, and the files that belong to what lies there.
pub(super) struct Answer {
    pub(super) is: Resolved,
    pub(super) beside: Vec<Resolved>,
}

/// Where these paths lead; none for one that does not answer in time.
pub(super) fn identify(asked: &[Asked]) -> Vec<Option<Answer>> {
    let mut answers: Vec<Option<Answer>> = Vec::with_capacity(asked.len());
    while let Some(rest) = asked.get(answers.len()..).filter(|rest| !rest.is_empty()) {
        answers.extend(ask(rest));
    }
    answers
}

/// Asks one after the other on a thread of its own, until one does not answer: its answer is none and the last.
fn ask(asked: &[Asked]) -> Vec<Option<Answer>> {
    let (answer, answered) = mpsc::channel();
    let all = asked.to_vec();
    let work = move || {
        let system = System::default();
        // Nobody listens any more to a thread that waited for too long.
        let _ = all.iter().try_for_each(|asked| answer.send(look(asked, &system)));
    };
    if std::thread::Builder::new().name("cs-backup-places".to_owned()).spawn(work).is_err() {
        let system = System::default();
        return asked.iter().map(|asked| look(asked, &system)).collect();
    }
    let mut answers = Vec::new();
    for _ in asked {
        let Ok(found) = answered.recv_timeout(PATIENCE) else {
            answers.push(None);
            break;
        };
        answers.push(found);
    }
    answers
}

/// Where a path leads; none, at once, where somebody else already waits for the same file system.
fn look(asked: &Asked, system: &System) -> Option<Answer> {
    let now = Instant::now();
    let this = Looking { path: asked.path.clone(), since: now, by: std::thread::current().id() };
    {
        let mut looking = looking();
        let is_stuck = |other: &Looking| now.duration_since(other.since) >= PATIENCE;
        if looking.iter().any(|other| is_stuck(other) && is_same_place(&other.path, &this.path)) {
            return None;
        }
        looking.push(this.clone());
    }
    let is = Resolved::of(&asked.path, system);
    let companions = COMPANIONS.iter().filter(|_| asked.is_database);
    let beside = companions.map(|suffix| Resolved::of(&with_suffix(&is.path, suffix), system)).collect();
    looking().retain(|other| *other != this);
    Some(Answer { is, beside })
}

fn looking() -> MutexGuard<'static, Vec<Looking>> {
    LOOKING.lock().unwrap_or_else(PoisonError::into_inner)
}
