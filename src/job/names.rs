//! What a job changed, by name: all of it, in a file beside the job's record. A job that only plans keeps it to itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::error::Error;
use crate::module::Names;
use crate::report::{Change, ChangeKind};
use crate::store::files::Lines;

/// The names of what a job changed, or would change. What cannot be written is no reason to stop.
pub(super) struct NameList(Mutex<Inner>);

struct Inner {
    lines: Lines,
    /// Whether what is withheld was told, and by an attempt that has ended: the next one withholds the same.
    withheld: bool,
    is_told: bool,
    failure: Option<Error>,
}

/// A line of the file.
#[derive(Serialize)]
struct Named<'a> {
    module: &'a str,
    purpose: &'a str,
    kind: ChangeKind,
    #[serde(flatten)]
    change: &'a Change,
}

impl NameList {
    pub(super) fn new(lines: Lines) -> Arc<Self> {
        let inner = Inner { lines, withheld: false, is_told: false, failure: None };
        Arc::new(NameList(Mutex::new(inner)))
    }

    /// Adds what a module changed; `purpose` is that of its row in the report.
    pub(super) fn add(&self, module: &str, purpose: &str, kind: ChangeKind, change: &Change) {
        let mut inner = self.lock();
        if kind == ChangeKind::Withheld {
            if inner.is_told {
                return;
            }
            inner.withheld = true;
        }
        if inner.failure.is_some() {
            return;
        }
        // Such a document can always be written.
        let line = serde_json::to_vec(&Named { module, purpose, kind, change }).unwrap_or_default();
        inner.failure = inner.lines.push(&line).err();
    }

    /// For a look that tells what it finds.
    pub(super) fn of_look(self: &Arc<Self>, module: &'static str, purpose: &'static str) -> Names {
        let names = Arc::clone(self);
        Names(Arc::new(move |kind, change| names.add(module, purpose, kind, change)))
    }

    /// An attempt has failed, and another one may come.
    pub(super) fn attempt_ended(&self) {
        let mut inner = self.lock();
        inner.is_told |= inner.withheld;
    }

    /// Writes what is still in memory; the file, where there is one, and why not all is in it.
    pub(super) fn finish(&self) -> (Option<String>, Option<Error>) {
        let mut inner = self.lock();
        let Inner { lines, failure, .. } = &mut *inner;
        match lines.flush() {
            Ok(path) => (path.map(|path| path.display().to_string()), failure.take()),
            Err(error) => (None, failure.take().or(Some(error))),
        }
    }

    /// The lines, once nothing more is added.
    pub(super) fn take(&self) -> Lines {
        std::mem::replace(&mut self.lock().lines, Lines::nameless())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
