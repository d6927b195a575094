//! What a pool is doing, as the Central Management store has it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stored::{StoredDocument, words};

words! {
    /// What a pool is doing.
    #[derive(Default)]
    pub enum PoolState {
        /// Its servers serve its users.
        #[default]
        Active = "Active",
        /// Its users are being moved to the backup pool.
        FailingOver = "FailingOver",
        /// Its users are served by the backup pool.
        FailedOver = "FailedOver",
        /// Its users are being moved back.
        FailingBack = "FailingBack",
        /// Its servers may read, not write.
        ReadOnly = "ReadOnly",
        ;
    }
}

impl PoolState {
    /// Whether the pool's servers may write the next moment, so that nothing seen of it is final. Of a state that only a
    /// newer build knows nobody can tell.
    pub const fn makes_changes(self) -> bool {
        matches!(self, PoolState::Active | PoolState::Unknown)
    }
}

/// What belongs to a pool's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PoolStateDetails {
    /// Grows whenever the active copy of the pool's data becomes another one; 0 until then.
    pub epoch: u64,
    /// Since when the pool does this; none in documents of former builds.
    pub since: Option<Timestamp>,
    /// The job that brought it about; none where no job did.
    pub job_id: Option<Uuid>,
}

/// What a pool is doing, since when, and by which job. A document of a former build is the state alone, as a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "RecordForm")]
pub struct PoolStateRecord {
    /// What the pool is doing.
    pub state: PoolState,
    /// What belongs to it.
    #[serde(flatten)]
    pub details: PoolStateDetails,
}

impl StoredDocument for PoolStateRecord {
    const NAME: &'static str = "state of a pool";
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RecordForm {
    Object {
        state: PoolState,
        #[serde(flatten)]
        details: PoolStateDetails,
    },
    Word(PoolState),
}

impl From<RecordForm> for PoolStateRecord {
    fn from(form: RecordForm) -> Self {
        match form {
            RecordForm::Object { state, details } => PoolStateRecord { state, details },
            RecordForm::Word(state) => PoolStateRecord { state, ..PoolStateRecord::default() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::stored::Stored;

    fn read(text: &str) -> PoolStateRecord {
        Stored::<PoolStateRecord>::read(text).unwrap().into_known()
    }

    #[test]
    fn a_state_is_read_as_an_object_and_as_the_text_of_a_former_build() {
        let alone = read("\"FailedOver\"");
        assert_eq!((alone.state, alone.details), (PoolState::FailedOver, PoolStateDetails::default()));
        let whole = PoolStateRecord {
            state: PoolState::FailingBack,
            details: PoolStateDetails {
                epoch: 3,
                since: Some("2026-11-01T10:00:00Z".parse().unwrap()),
                job_id: Some(Uuid::from_u128(7)),
            },
        };
        assert_eq!(read(&Stored::new(whole.clone()).to_json().unwrap()), whole);
    }

    #[test]
    fn a_state_of_a_newer_build_is_unknown_and_nothing_is_final_then() {
        for text in ["\"Sleeping\"", r#"{"state":"Sleeping","epoch":4,"bed":2}"#] {
            let record = read(text);
            assert_eq!(record.state, PoolState::Unknown, "{text}");
            assert!(record.state.makes_changes());
        }
        assert_eq!(Stored::<PoolStateRecord>::read("{}").unwrap_err().kind, ErrorKind::Corrupt);
    }
}
