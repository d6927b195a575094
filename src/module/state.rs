//! From what was seen in the stores to the states that administrators know.

use jiff::Timestamp;

use super::Observation;
use crate::error::{Error, Side};
use crate::pool::PoolState;
use crate::report::{ExportState, ImportState, ModuleState};

/// The exporting half of a module's state.
///
/// `FinalState` is claimed only of a pool that makes no changes: of an active one nothing is final, and scripts that wait
/// for `SteadyState` would wait for ever.
pub fn export_state(seen: &Observation, pool: PoolState) -> ExportState {
    if seen.not_applicable.is_some() || !seen.initialized {
        ExportState::NotInitialized
    } else if seen.to_compare.is_some() {
        ExportState::NonSteadyState
    } else if seen.pending_items == 0 && !pool.makes_changes() {
        ExportState::FinalState
    } else if seen.fits_one_batch {
        ExportState::SteadyState
    } else {
        ExportState::NonSteadyState
    }
}

/// Both halves, with what is pending; imports work unless what was seen tells that they would not.
pub fn module_state(seen: &Observation, pool: PoolState, now: Timestamp) -> ModuleState {
    let state = ModuleState {
        export: export_state(seen, pool),
        import: ImportState::NormalState,
        pending_items: seen.pending_items,
        pending_bytes: seen.pending_bytes,
        lag_ms: seen.oldest_pending.map(|oldest| age_ms(oldest, now)),
    };
    match &seen.refused {
        Some(error) => failed_state(state, error),
        None => state,
    }
}

/// The state after a failure: the half that it lies on is in error, and what is exported waits for an import that failed.
/// A failure of which nobody could tell the side is taken for one of the export.
pub fn failed_state(last: ModuleState, error: &Error) -> ModuleState {
    match error.side {
        Some(Side::Import) => ModuleState {
            import: ImportState::ErrorState,
            export: match last.export {
                ExportState::FinalState | ExportState::SteadyState => ExportState::NonSteadyState,
                other => other,
            },
            ..last
        },
        Some(Side::Export) | None => ModuleState { export: ExportState::ErrorState, ..last },
    }
}

/// A clock that was set back makes a change younger, never negative.
fn age_ms(oldest: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.as_millisecond() - oldest.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(pending_items: u64, fits_one_batch: bool) -> Observation {
        Observation { initialized: true, pending_items, fits_one_batch, ..Observation::default() }
    }

    #[test]
    fn states_follow_the_table() {
        let table = [
            (Observation::default(), PoolState::Active, ExportState::NotInitialized),
            (seen(9, false), PoolState::Active, ExportState::NonSteadyState),
            (seen(3, true), PoolState::Active, ExportState::SteadyState),
            (seen(0, true), PoolState::Active, ExportState::SteadyState),
            (seen(0, true), PoolState::FailedOver, ExportState::FinalState),
            (seen(1, true), PoolState::ReadOnly, ExportState::SteadyState),
        ];
        for (seen, pool, state) in table {
            assert_eq!(export_state(&seen, pool), state, "{seen:?} {pool:?}");
        }
    }

    #[test]
    fn a_failure_is_an_error_of_the_half_that_it_lies_on() {
        use crate::error::ErrorKind;
        let refused = |side: Option<Side>| {
            let error = Error::new(ErrorKind::StoreUnavailable, "It is gone.", "Mount it.");
            let error = side.into_iter().fold(error, Error::on);
            let seen = Observation { refused: Some(error), ..seen(0, true) };
            let state = module_state(&seen, PoolState::FailedOver, Timestamp::UNIX_EPOCH);
            (state.export, state.import)
        };
        assert_eq!(refused(Some(Side::Export)), (ExportState::ErrorState, ImportState::NormalState));
        assert_eq!(refused(None), (ExportState::ErrorState, ImportState::NormalState));
        assert_eq!(refused(Some(Side::Import)), (ExportState::NonSteadyState, ImportState::ErrorState));
    }

    #[test]
    fn lag_is_never_negative() {
        let observation =
            Observation { oldest_pending: Some(Timestamp::from_second(100).unwrap()), ..seen(1, true) };
        let lag =
            |now| module_state(&observation, PoolState::Active, Timestamp::from_second(now).unwrap()).lag_ms;
        assert_eq!(lag(103), Some(3000));
        assert_eq!(lag(1), Some(0));
    }
}
