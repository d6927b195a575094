//! The settings of the backup service, which the Central Management store holds.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::stored::StoredDocument;

/// From five seconds to three hours.
const SYNC_INTERVAL_MS: RangeInclusive<u64> = 5_000..=10_800_000;
const CONCURRENT_CALLS: RangeInclusive<u64> = 1..=1_000;
const BATCHES: RangeInclusive<u64> = 1..=1_000_000;
/// From one KiB to one TiB.
const PACKAGE_KB: RangeInclusive<u64> = 1..=1_073_741_824;

/// The settings of the backup service, with the product's defaults. Those of a newer version are not seen, and stay
/// where they are, so that machines of both versions can work on one store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupServiceConfiguration {
    /// How long the service pauses between two synchronizations of a pool, in milliseconds.
    pub sync_interval_ms: u64,
    /// How many calls the service answers at once.
    pub max_concurrent_calls: u64,
    /// How many batches beyond its backlog one cycle follows a user store that goes on changing.
    pub max_batches_per_user_store_sync: u64,
    /// How many batches of documents one cycle copies from the Central Management store.
    pub max_batches_per_cms_sync: u64,
    /// How much content one batch carries, in KiB.
    pub max_data_conf_package_size_kb: u64,
    /// Local accounts that may call the service.
    pub authorized_local_accounts: Vec<String>,
    /// Directory groups whose members may call the service.
    pub authorized_universal_groups: Vec<String>,
}

impl StoredDocument for BackupServiceConfiguration {
    const NAME: &'static str = "configuration of the backup service";
}

impl Default for BackupServiceConfiguration {
    fn default() -> Self {
        BackupServiceConfiguration {
            sync_interval_ms: 120_000,
            max_concurrent_calls: 10,
            max_batches_per_user_store_sync: 500,
            max_batches_per_cms_sync: 500,
            max_data_conf_package_size_kb: 102_400,
            authorized_local_accounts: Vec::new(),
            authorized_universal_groups: Vec::new(),
        }
    }
}

/// What is to be different in the settings; what is none stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConfigurationChange {
    /// See [`BackupServiceConfiguration::sync_interval_ms`].
    pub sync_interval_ms: Option<u64>,
    /// See [`BackupServiceConfiguration::max_concurrent_calls`].
    pub max_concurrent_calls: Option<u64>,
    /// See [`BackupServiceConfiguration::max_batches_per_user_store_sync`].
    pub max_batches_per_user_store_sync: Option<u64>,
    /// See [`BackupServiceConfiguration::max_batches_per_cms_sync`].
    pub max_batches_per_cms_sync: Option<u64>,
    /// See [`BackupServiceConfiguration::max_data_conf_package_size_kb`].
    pub max_data_conf_package_size_kb: Option<u64>,
    /// See [`BackupServiceConfiguration::authorized_local_accounts`].
    pub authorized_local_accounts: Option<Vec<String>>,
    /// See [`BackupServiceConfiguration::authorized_universal_groups`].
    pub authorized_universal_groups: Option<Vec<String>>,
}

impl ConfigurationChange {
    /// The settings after the change.
    ///
    /// # Errors
    /// `InvalidArgument` for a value out of its range.
    pub fn apply(self, mut to: BackupServiceConfiguration) -> Result<BackupServiceConfiguration> {
        let numbers = [
            ("syncIntervalMs", &mut to.sync_interval_ms, self.sync_interval_ms, SYNC_INTERVAL_MS),
            ("maxConcurrentCalls", &mut to.max_concurrent_calls, self.max_concurrent_calls, CONCURRENT_CALLS),
            (
                "maxBatchesPerUserStoreSync",
                &mut to.max_batches_per_user_store_sync,
                self.max_batches_per_user_store_sync,
                BATCHES,
            ),
            (
                "maxBatchesPerCmsSync",
                &mut to.max_batches_per_cms_sync,
                self.max_batches_per_cms_sync,
                BATCHES,
            ),
            (
                "maxDataConfPackageSizeKb",
                &mut to.max_data_conf_package_size_kb,
                self.max_data_conf_package_size_kb,
                PACKAGE_KB,
            ),
        ];
        for (name, setting, given, range) in numbers {
            if let Some(value) = given {
                if !range.contains(&value) {
                    return Err(out_of_range(name, value, &range));
                }
                *setting = value;
            }
        }
        if let Some(accounts) = self.authorized_local_accounts {
            to.authorized_local_accounts = accounts;
        }
        if let Some(groups) = self.authorized_universal_groups {
            to.authorized_universal_groups = groups;
        }
        Ok(to)
    }
}

fn out_of_range(name: &str, value: u64, range: &RangeInclusive<u64>) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        format!("{value} is not a value for {name}."),
        format!("Give a number from {} to {}.", range.start(), range.end()),
    )
    .at("field", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_alone_what_it_does_not_name() {
        let change = ConfigurationChange { max_concurrent_calls: Some(3), ..ConfigurationChange::default() };
        let changed = change.apply(BackupServiceConfiguration::default()).unwrap();
        assert_eq!(
            changed,
            BackupServiceConfiguration { max_concurrent_calls: 3, ..BackupServiceConfiguration::default() }
        );
    }

    #[test]
    fn values_out_of_their_range_are_refused_by_name() {
        for text in [
            r#"{"syncIntervalMs":4999}"#,
            r#"{"syncIntervalMs":10800001}"#,
            r#"{"maxConcurrentCalls":0}"#,
            r#"{"maxBatchesPerUserStoreSync":0}"#,
            r#"{"maxBatchesPerCmsSync":0}"#,
            r#"{"maxDataConfPackageSizeKb":0}"#,
        ] {
            let change: ConfigurationChange = serde_json::from_str(text).unwrap();
            let error = change.apply(BackupServiceConfiguration::default()).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidArgument);
            assert!(text.contains(&error.context["field"]), "{text}: {error:?}");
        }
    }

    #[test]
    fn the_defaults_are_in_their_ranges() {
        let text = serde_json::to_string(&BackupServiceConfiguration::default()).unwrap();
        let all: ConfigurationChange = serde_json::from_str(&text).unwrap();
        let settings = all.apply(BackupServiceConfiguration::default()).unwrap();
        assert_eq!(settings, BackupServiceConfiguration::default());
    }
}
