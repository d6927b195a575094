//! Threads of one cycle, which pass a defect on as it was.

use std::thread::ScopedJoinHandle;

/// Waits for a thread, and passes on what it panicked with.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|defect| std::panic::resume_unwind(defect))
}

/// Waits for all threads. What one of them panicked with goes on in this one: of its own accord a scope would only say
/// that something did.
pub(crate) fn join_all(threads: Vec<ScopedJoinHandle<'_, ()>>) {
    let defects: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().err()).collect();
    if let Some(defect) = defects.into_iter().next() {
        std::panic::resume_unwind(defect);
    }
}
