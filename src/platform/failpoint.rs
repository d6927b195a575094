//! Places where tests make the library fail on purpose, in builds with the feature `failpoints` only.

/// Marks a place by its name, layer first: `fail_point!("job.execute")`. What happens there is said by the environment
/// variable `FAILPOINTS`, for instance `job.execute=panic` (see the crate `fail`). Nothing is compiled in otherwise.
macro_rules! fail_point {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::fail_point!($name);
    };
}
pub(crate) use fail_point;

/// Takes the settings of the environment over, once in the life of the process.
#[cfg(feature = "failpoints")]
pub(crate) fn set_up() {
    static SCENARIO: std::sync::OnceLock<()> = std::sync::OnceLock::new();
    // The scenario's end would take the settings away again; it has none.
    SCENARIO.get_or_init(|| std::mem::forget(fail::FailScenario::setup()));
}
