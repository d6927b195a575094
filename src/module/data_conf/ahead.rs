//! Tells a store at another machine what is going to be asked of it, a few hundred objects ahead of their turn.

use std::collections::VecDeque;

use crate::error::Result;
use crate::store::content::ContentStore;
use crate::store::content::hints::Want;

/// How many objects are told at once. While half of what was told is worked on, the other half is on its way.
const TOLD_AT_ONCE: usize = 256;

/// The same items; before they come, the store is told what they want of it.
pub(super) fn expecting<'a, T: Send + 'a>(
    store: &'a dyn ContentStore,
    items: impl Iterator<Item = Result<T>> + Send + 'a,
    want: impl Fn(&T) -> Option<Want> + Send + 'a,
) -> Box<dyn Iterator<Item = Result<T>> + Send + 'a> {
    if !store.is_elsewhere() {
        return Box::new(items);
    }
    Box::new(Expecting { store, items, want, told: VecDeque::new(), is_begun: false })
}

struct Expecting<'a, T, I, W> {
    store: &'a dyn ContentStore,
    items: I,
    want: W,
    told: VecDeque<Result<T>>,
    is_begun: bool,
}

impl<T, I: Iterator<Item = Result<T>>, W: Fn(&T) -> Option<Want>> Expecting<'_, T, I, W> {
    fn tell(&mut self) -> Result<()> {
        let next: Vec<_> = self.items.by_ref().take(TOLD_AT_ONCE).collect();
        let wanted: Vec<_> = next.iter().flatten().filter_map(&self.want).collect();
        self.told.extend(next);
        self.store.expect(wanted)
    }
}

impl<T, I: Iterator<Item = Result<T>>, W: Fn(&T) -> Option<Want>> Iterator for Expecting<'_, T, I, W> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let told = if is_first { self.tell() } else { Ok(()) };
        let told = if self.told.len() <= TOLD_AT_ONCE { told.and_then(|()| self.tell()) } else { told };
        match told {
            Ok(()) => self.told.pop_front(),
            Err(error) => Some(Err(error)),
        }
    }
}
