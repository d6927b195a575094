//! The kinds of steps.

mod attempts;
mod await_state;
mod copy;
mod cycle;
mod disable;
mod forget_states;
mod give_back;
mod require_state;
mod restore;

pub(super) use await_state::AwaitState;
pub(super) use copy::Copy;
pub(super) use disable::Disable;
pub(super) use forget_states::ForgetStates;
pub(super) use give_back::GiveBack;
pub(super) use require_state::RequireFailedOver;
pub(super) use restore::Restore;
