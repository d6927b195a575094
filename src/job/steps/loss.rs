//! What the steps that look at a partner's losses say of them.

use std::sync::Arc;

use crate::error::Result;
use crate::job::step::JobWork;
use crate::module::{BackupModule, Loss, ModuleId};
use crate::topology::PoolFqdn;

impl JobWork {
    /// What a pool lacks of what the copy of its module holds.
    pub(super) async fn loss(&mut self, module: &Arc<dyn BackupModule>) -> Result<Loss> {
        let (module, look) = (Arc::clone(module), self.look());
        self.threads
            .run(&self.job.cancel, move || {
                crate::platform::failpoint::fail_point!("job.look");
                module.loss(&look)
            })
            .await
    }
}

/// What is said of what a pool lacks and does not get back; none where it lacks nothing.
pub(super) fn not_returned(
    loss: &Loss,
    module: ModuleId,
    holder: &PoolFqdn,
    pool: &PoolFqdn,
) -> Option<String> {
    let (store, name) = (module.store_name(), module.short_name());
    if loss.is_store_lost {
        return Some(format!(
            "{pool} has lost its {store}, or more of it than anybody would delete, and {holder} holds a copy: a sync of {holder} \
             with -BackupModule {name} alone, or with -GiveBack, returns it."
        ));
    }
    (loss.items > 0).then(|| {
        format!(
            "{pool} lacks {} of the objects that {holder} holds for it: its own next sync takes them for deleted; -GiveBack \
             returns them.",
            loss.items
        )
    })
}

/// What is said of what a pool lacks and gets back; none where nothing has a name of its own.
pub(super) fn returned(loss: &Loss) -> Option<String> {
    let named = loss.first.len() as u64;
    if named == 0 {
        return None;
    }
    let more = loss.items.saturating_sub(named);
    let others = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!("To come back: {}{others}.", loss.first.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_lacks_is_said_in_one_line() {
        let [holder, pool] =
            ["atl.example.com", "chi.example.com"].map(|name| PoolFqdn::parse(name).unwrap());
        let said = |loss: &Loss| not_returned(loss, ModuleId::DataConf, &holder, &pool);
        let names = |count: u64| (0..count).map(|number| number.to_string()).collect::<Vec<_>>();
        let mut loss = Loss::default();
        assert_eq!((said(&loss), returned(&loss)), (None, None));
        loss = Loss { items: 12, first: names(2), is_store_lost: false };
        assert!(
            said(&loss).unwrap().starts_with("chi.example.com lacks 12 of the objects that atl.example.com")
        );
        assert_eq!(returned(&loss).unwrap(), "To come back: 0, 1 and 10 more.");
        loss = Loss { items: 2, is_store_lost: true, ..loss };
        assert!(said(&loss).unwrap().contains("-BackupModule DataConf alone"));
        assert_eq!(returned(&loss).unwrap(), "To come back: 0, 1.");
    }
}
