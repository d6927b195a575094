//! Which job made a state of a copy, as the history tells it.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// What kind of job it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum JobName {
    /// A backup.
    Backup,
    /// A sync, which may have given something back to the partner.
    Sync,
    /// One that takes the product out of a pool.
    Disable,
    /// One that writes an earlier state to a place of its own.
    Restore,
}

impl JobName {
    const ALL: [JobName; 4] = [JobName::Backup, JobName::Sync, JobName::Disable, JobName::Restore];

    const fn name(self) -> &'static str {
        match self {
            JobName::Backup => "backup",
            JobName::Sync => "sync",
            JobName::Disable => "disable",
            JobName::Restore => "restore",
        }
    }
}

/// A job that made a state. Written as its id, and what kind of job it was; where only the id stands, or the kind is one of a newer build,
/// that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MadeBy {
    /// Which one.
    pub job: Uuid,
    /// What kind of job; none where that was not noted.
    pub kind: Option<JobName>,
}

impl fmt::Display for MadeBy {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}", self.job)?;
        self.kind.map_or(Ok(()), |kind| write!(to, " {}", kind.name()))
    }
}

impl FromStr for MadeBy {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (job, kind) = text.split_once(' ').unwrap_or((text, ""));
        let kind = JobName::ALL.into_iter().find(|known| known.name() == kind);
        Ok(MadeBy { job: Uuid::parse_str(job)?, kind })
    }
}

impl Serialize for MadeBy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.collect_str(self);
        }
        let mut bytes = self.job.as_bytes().to_vec();
        bytes.extend(self.kind.map(|kind| kind as u8));
        to.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for MadeBy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = MadeBy;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("the id of a job, and its kind")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<MadeBy, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<MadeBy, E> {
                let job = bytes.get(..16).map(Uuid::from_slice);
                let job = job.ok_or_else(|| E::invalid_length(bytes.len(), &self))?.map_err(E::custom)?;
                let kind = bytes.get(16).and_then(|kind| JobName::ALL.get(usize::from(*kind)).copied());
                Ok(MadeBy { job, kind })
            }
        }

        if from.is_human_readable() { from.deserialize_str(Either) } else { from.deserialize_bytes(Either) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_as_it_was_written_and_one_without_its_kind_is_of_an_unknown_one() {
        let job = Uuid::from_u128(0x0190_f3a1_8a6b_7c3d_9e4f_0123_4567_89ab);
        let kinds = [
            None,
            Some(JobName::Backup),
            Some(JobName::Sync),
            Some(JobName::Disable),
            Some(JobName::Restore),
        ];
        for made_by in kinds.map(|kind| MadeBy { job, kind }) {
            let text = serde_json::to_string(&made_by).unwrap();
            assert_eq!(serde_json::from_str::<MadeBy>(&text).unwrap(), made_by);
            assert_eq!(made_by.to_string().parse::<MadeBy>().unwrap(), made_by);
            let bytes = postcard::to_stdvec(&made_by).unwrap();
            assert_eq!(postcard::from_bytes::<MadeBy>(&bytes).unwrap(), made_by);
        }
        // What builds wrote that noted no kind.
        let unknown = MadeBy { job, kind: None };
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<MadeBy>(&text).unwrap(), unknown);
        let bytes = postcard::to_stdvec(&job).unwrap();
        assert_eq!(postcard::from_bytes::<MadeBy>(&bytes).unwrap(), unknown);
        // What newer ones may write.
        assert_eq!(format!("{job} failOver").parse::<MadeBy>().unwrap(), unknown);
        let bytes = [&[17][..], job.as_bytes(), &[200]].concat();
        assert_eq!(postcard::from_bytes::<MadeBy>(&bytes).unwrap(), unknown);
        assert!("sync".parse::<MadeBy>().is_err());
        assert!(postcard::from_bytes::<MadeBy>(&[3, 1, 2, 3]).is_err());
    }
}
