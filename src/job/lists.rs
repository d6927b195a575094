//! Which steps each kind of job consists of. Nothing else tells one kind from another.

use std::sync::Arc;

use super::lease::LeasePlace;
use super::request::{JobKind, Operation, Returns};
use super::row::Row;
use super::step::{RowSubject, Step};
use super::steps::{
    AwaitState, CopyModule, DisableModule, ForgetStates, GiveBackModule, LookForLoss, RequireFailedOver,
    Restore,
};
use crate::module::BackupModule;
use crate::pool::PoolState;
use crate::store::remote::RemotePlace;
use crate::topology::PoolFqdn;

/// What a job works on: a pool's modules towards its backup pool, and those of the partner, of which it may have lost something.
pub struct Targets {
    /// The pool's own modules.
    pub outward: Vec<Arc<dyn BackupModule>>,
    /// The partner's modules.
    pub inward: Vec<Arc<dyn BackupModule>>,
    /// The lease of the pool's own direction.
    pub lease: LeasePlace,
    /// The lease of the partner's direction.
    pub partner_lease: LeasePlace,
    /// The backup pool.
    pub partner: PoolFqdn,
    /// Through what the pool's stores are reached, where another machine opens them: all that the job reads but not writes.
    pub place: Option<String>,
    /// Places at other machines.
    pub lines: Vec<Arc<RemotePlace>>,
    /// What the pool is doing.
    pub pool_state: PoolState,
    /// What the partner is doing.
    pub partner_state: PoolState,
}

/// A job's steps in their order, and the rows of its report that they fill.
#[derive(Default)]
pub(super) struct List {
    pub(super) steps: Vec<Arc<dyn Step>>,
    pub(super) rows: Vec<Row>,
}

impl List {
    /// The list of an operation.
    pub(super) fn of(operation: &Operation, targets: &Targets) -> Self {
        let mut list = List::default();
        match &operation.kind {
            JobKind::Backup { awaited, failed_over_pool_only } => {
                if *failed_over_pool_only {
                    list.push(RequireFailedOver::new(&operation.pool, targets.pool_state));
                }
                let copies = list.copies(operation, targets);
                if let Some(awaited) = awaited {
                    list.push(AwaitState::new(*awaited, &list.rows, &targets.lease));
                }
                list.steps.extend(copies);
            }
            JobKind::Sync { returns } => {
                let copies = list.copies(operation, targets);
                list.steps.extend(copies);
                match returns {
                    Returns::Nothing => list.look_for_loss(operation, targets),
                    Returns::LostStore => list.give_back(operation, targets, true),
                    Returns::Everything => list.give_back(operation, targets, false),
                }
            }
            JobKind::Disable => {
                for module in &targets.outward {
                    list.push(DisableModule::new(module, &targets.lease));
                }
                list.push(ForgetStates::new(&targets.lease));
            }
            JobKind::Restore { wanted, include, path } => {
                for module in &targets.outward {
                    list.push(Restore::new(module, *wanted, include, path.clone(), &targets.lease));
                }
            }
        }
        list
    }

    fn push(&mut self, step: impl Step + 'static) {
        self.steps.push(Arc::new(step));
    }

    /// Adds a row to the report, for the step that is to fill it.
    fn subject(&mut self, row: Row, to: &PoolFqdn, lease: &LeasePlace) -> RowSubject {
        let module = Arc::clone(&row.module);
        self.rows.push(row);
        RowSubject { row: self.rows.len() - 1, module, to: to.clone(), lease: lease.clone() }
    }

    /// A row for each of the pool's modules, and the step that copies it.
    fn copies(&mut self, operation: &Operation, targets: &Targets) -> Vec<Arc<dyn Step>> {
        let mut steps: Vec<Arc<dyn Step>> = Vec::new();
        for module in &targets.outward {
            let (from, to) = (&operation.pool, &targets.partner);
            let row = Row::new(module, CopyModule::PURPOSE, from, to, targets.pool_state);
            steps.push(Arc::new(CopyModule(self.subject(row, to, &targets.lease))));
        }
        steps
    }

    /// The same for those of the partner's modules of which anything is ever given back.
    fn give_back(&mut self, operation: &Operation, targets: &Targets, only_lost_stores: bool) {
        for module in returnable(targets) {
            let (from, to) = (&operation.pool, &targets.partner);
            let row = Row::new(module, GiveBackModule::PURPOSE, from, to, targets.partner_state);
            let subject = self.subject(row, to, &targets.partner_lease);
            self.push(GiveBackModule::new(subject, from, only_lost_stores));
        }
    }

    /// Where nothing is given back: what the partner lacks is said.
    fn look_for_loss(&mut self, operation: &Operation, targets: &Targets) {
        for module in returnable(targets) {
            self.push(LookForLoss::new(module, &operation.pool, &targets.partner));
        }
    }
}

/// The partner's modules of which anything is ever given back.
fn returnable(targets: &Targets) -> impl Iterator<Item = &Arc<dyn BackupModule>> {
    targets.inward.iter().filter(|module| !module.touches_back().is_empty())
}
