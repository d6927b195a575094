//! The kinds of steps.

mod attempts;
mod await_state;
mod copy;
mod cycle;
mod disable;
mod forget_states;
mod give_back;
mod look_for_loss;
mod loss;
mod require_state;
mod restore;

pub(super) use await_state::AwaitState;
pub(super) use copy::CopyModule;
pub(super) use disable::DisableModule;
pub(super) use forget_states::ForgetStates;
pub(super) use give_back::GiveBackModule;
pub(super) use look_for_loss::LookForLoss;
pub(super) use require_state::RequireFailedOver;
pub(super) use restore::Restore;
