//! Giving a pool back what it has lost and its backup pool still holds, for one module.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::loss::{not_returned, returned};
use crate::error::{ErrorKind, Result};
use crate::job::step::{Done, JobWork, Pending, Planned, RowSubject, Step};
use crate::module::{GiveBack, Look, Loss};
use crate::report::Outcome;
use crate::topology::PoolFqdn;

/// Gives one module's data back: the module is of the pool that gets it, and the lease that of that pool's own direction.
pub(in crate::job) struct GiveBackModule {
    subject: RowSubject,
    /// The pool that holds the copy.
    holder: PoolFqdn,
    /// Whether single objects stay where they are, because users may have deleted them.
    only_lost_store: bool,
    /// Whether the store was seen to be lost. Once some of it is back it may not look so any more.
    is_lost: AtomicBool,
}

impl GiveBackModule {
    /// What the report's rows of such steps say.
    pub(in crate::job) const PURPOSE: &'static str = "carryBack";

    pub(in crate::job) fn new(subject: RowSubject, holder: &PoolFqdn, only_lost_store: bool) -> Self {
        let is_lost = AtomicBool::new(!only_lost_store);
        GiveBackModule { subject, holder: holder.clone(), only_lost_store, is_lost }
    }

    /// Whether nothing comes back, because only a lost store does; and what is said of what stays away.
    fn refrains(&self, loss: &Loss) -> Option<Option<String>> {
        if !self.only_lost_store || loss.is_store_lost {
            self.is_lost.store(true, Ordering::Relaxed);
            return None;
        }
        let RowSubject { module, to, .. } = &self.subject;
        Some(not_returned(loss, module.id(), &self.holder, to))
    }
}

fn nothing_lost() -> String {
    "Nothing was lost.".to_owned()
}

impl Step for GiveBackModule {
    fn subject(&self) -> Option<&RowSubject> {
        Some(&self.subject)
    }

    fn id(&self) -> String {
        format!("{}:{}", Self::PURPOSE, self.subject.module.id().name())
    }

    fn title(&self) -> String {
        let RowSubject { module, to, .. } = &self.subject;
        let store = module.id().store_name();
        if self.only_lost_store {
            format!("Give {to} its {store} back if that is lost")
        } else {
            format!("Give {to} back what its {store} lost")
        }
    }

    fn touches(&self) -> Vec<String> {
        self.subject.module.touches_back()
    }

    /// What is given back is the pool's own data: where its own job is running, that one has precedence.
    fn gives_way(&self) -> bool {
        true
    }

    fn plan<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Result<Planned>> {
        Box::pin(async move {
            let RowSubject { row, module, .. } = &self.subject;
            let loss = work.loss(module).await;
            let refrains = match &loss {
                Ok(loss) => self.refrains(loss),
                Err(error) if matches!(error.kind, ErrorKind::Cancelled | ErrorKind::Panic) => {
                    return Err(error.clone());
                }
                // What giving back is refused with says it more exactly.
                Err(_) => None,
            };
            let counts = refrains.is_none();
            // Of the partner's own stores only what they lack matters: one that is another store than before is not followed here.
            let look = Look { thorough: false, accept_deletions: false, ..work.look() };
            let module = Arc::clone(module);
            let names = work.options.what_if.then(|| work.names.of_look(module.id().name(), Self::PURPOSE));
            let looking = work.threads.run(&work.job.cancel, move || {
                // A store that is lost cannot be observed, but what would be given back can be counted.
                let seen = module.observe(&look).ok().filter(|seen| seen.refused.is_none());
                let look = Look { names, ..look };
                let lost = if counts { module.observe_carry_back(&look)? } else { GiveBack::default() };
                Ok((lost, seen))
            });
            let (mut lost, seen) = looking.await?;
            if let Some(row) = work.rows.get_mut(*row).filter(|_| work.options.what_if) {
                row.planned(std::mem::take(&mut lost.changes));
            }
            if let Some(seen) = &seen {
                work.saw(*row, seen);
            }
            if let Some(note) = refrains {
                let nothing_to_do = Some(note.clone().unwrap_or_else(nothing_lost));
                return Ok(Planned { items: Some(0), note, nothing_to_do, ..Planned::default() });
            }
            let has_all = lost.items == 0 && lost.refused.is_none() && seen.is_some();
            Ok(Planned {
                items: Some(lost.items),
                bytes: (lost.bytes > 0).then_some(lost.bytes),
                note: loss.ok().and_then(|loss| returned(&loss)),
                refused: lost.refused,
                nothing_to_do: has_all.then(nothing_lost),
                ..Planned::default()
            })
        })
    }

    fn run<'a>(&'a self, work: &'a mut JobWork) -> Pending<'a, Done> {
        Box::pin(async move {
            let row = self.subject.row;
            if !self.is_lost.load(Ordering::Relaxed) {
                match work.loss(&self.subject.module).await.map(|loss| self.refrains(&loss)) {
                    Ok(None) => {}
                    Ok(Some(why)) => {
                        if let Some(row) = work.rows.get_mut(row) {
                            row.done = true;
                        }
                        return Done::of(Outcome::Succeeded, vec![why.unwrap_or_else(nothing_lost)]);
                    }
                    Err(error) => return work.failure(self, error),
                }
            }
            let details = work.run_row(row, &self.id(), false, |m, context| m.carry_back(context)).await;
            Done::of(work.outcome_of_row(row), details)
        })
    }
}
