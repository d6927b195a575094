//! What is remembered of a copy, beside it: where it stands, and the hashes of its pages. All of it can be made anew from the copy.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::hashes::Seed;
use super::super::mark::Mark;
use crate::error::{Error, Result};
use crate::platform::{FileStat, Rights, create_file, read_whole, write_all_at};
use crate::store::MadeBy;
use crate::store::sqlite::format::header::{Layout, Own};

const MAGIC: [u8; 8] = *b"CSBPAGE1";
/// Where the hashes begin; before them lies the rest.
const HASHES_AT: usize = 8_192;
const HASH_BYTES: usize = 16;

/// Where a copy stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    pub(super) seed: Seed,
    pub(super) layout: Layout,
    pub(super) pages: u32,
    pub(super) change_counter: u32,
    pub(super) schema_cookie: u32,
    /// How the copy's file looked after it was written.
    standby: FileStat,
    /// When that file was made, where the file system knows it.
    born: Option<Timestamp>,
    /// How the source looked when this state was read.
    pub(super) source: Mark,
    /// When the source was first seen in this state.
    pub(super) at: Timestamp,
    /// The job that brought the copy to it.
    #[serde(default)]
    pub(super) job: Option<MadeBy>,
    /// When the source was last looked at and found to be in this state.
    pub(super) confirmed: Timestamp,
    pub(super) checked: Checked,
    /// The source's owner and mode then: what is given back gets them.
    #[serde(default)]
    pub(super) rights: Option<Rights>,
    /// What the patterns of `exclude` hash to that were last compared with the copy's tables.
    #[serde(default)]
    pub(super) patterns: u64,
    /// What the copy held when the day began that deletions are counted in.
    #[serde(default)]
    pub(super) day: Option<Day>,
    root: u64,
}

/// A day in which no more may go than in one sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Day {
    /// When it began.
    pub(super) since: Timestamp,
    /// The pages that were in use then.
    pub(super) used: u32,
}

/// What checking a copy as a whole found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checked {
    /// When that was last done.
    pub(super) at: Option<Timestamp>,
    /// Marks of the damage that its source had when the copy was made: only what is new counts.
    pub(super) findings: Vec<u64>,
}

/// The parts of a state that a commit decides.
pub(super) struct Committed {
    pub(super) seed: Seed,
    pub(super) layout: Layout,
    pub(super) pages: u32,
    pub(super) own: Own,
    pub(super) source: Mark,
    pub(super) at: Timestamp,
    pub(super) job: Option<MadeBy>,
    pub(super) confirmed: Timestamp,
    pub(super) checked: Checked,
    pub(super) rights: Rights,
    pub(super) patterns: u64,
    pub(super) day: Option<Day>,
}

impl State {
    /// Whether the copy's file is the one that was left, whatever was written to it since.
    pub(super) fn is_same_file(&self, standby: &Metadata) -> bool {
        let look = FileStat::from(standby);
        // A number is given to another file once the first one has gone.
        (look.device, look.inode) == (self.standby.device, self.standby.inode) && born(standby) == self.born
    }

    /// Whether these are the hashes of the copy's pages in this state.
    pub(super) fn had(&self, hashes: &[u128]) -> bool {
        self.seed.root(hashes) == self.root
    }

    /// Whether the copy's file is as it was left: what is remembered of it holds.
    pub(super) fn is_of(&self, standby: &Metadata) -> bool {
        FileStat::from(standby) == self.standby
    }
}

/// The file that a state lies in.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(super) fn at(path: PathBuf) -> Self {
        StateFile { path }
    }

    /// What is remembered, without the hashes; none where there is nothing, or it was not written whole.
    pub(super) fn load(&self) -> Option<State> {
        let file = File::open(&self.path).ok()?;
        let mut head = vec![0; HASHES_AT];
        read_whole(&file, &mut head, 0).ok()?;
        let length = usize::try_from(u32::from_le_bytes(head[8..12].try_into().ok()?)).ok()?;
        let text = head.get(16..16 + length)?;
        let is_whole =
            head.starts_with(&MAGIC) && crc(text) == u32::from_le_bytes(head[12..16].try_into().ok()?);
        if is_whole { serde_json::from_slice(text).ok() } else { None }
    }

    /// The hashes of a state; none where they are not those.
    pub(super) fn hashes(&self, state: &State) -> Option<Arc<[u128]>> {
        let file = File::open(&self.path).ok()?;
        let mut bytes = vec![0; state.pages as usize * HASH_BYTES];
        if read_whole(&file, &mut bytes, HASHES_AT as u64).ok()? < bytes.len() {
            return None;
        }
        let hashes: Arc<[u128]> = bytes
            .chunks_exact(HASH_BYTES)
            .filter_map(|hash| Some(u128::from_le_bytes(hash.try_into().ok()?)))
            .collect();
        state.had(&hashes).then_some(hashes)
    }

    /// Remembers a state of which the hashes have not changed.
    ///
    /// # Errors
    /// `DiskFull`, `AccessDenied`, `Io`.
    pub(super) fn touch(&self, state: &State) -> Result<()> {
        let failed = |cause| Error::io("write", &self.path, &cause);
        let file = File::options().write(true).open(&self.path).map_err(failed)?;
        write_head(&file, state).map_err(failed)
    }

    /// Remembers a state after a commit. `before` is the list that the file holds, where it does.
    ///
    /// # Errors
    /// As for [`StateFile::touch`]; what is in the file then is not believed.
    pub(super) fn store(
        &self,
        committed: Committed,
        standby: &Path,
        hashes: &[u128],
        before: Option<&[u128]>,
    ) -> Result<State> {
        let failed = |cause| Error::io("write", &self.path, &cause);
        let look = std::fs::metadata(standby).map_err(failed)?;
        let state = State {
            seed: committed.seed,
            layout: committed.layout,
            pages: committed.pages,
            change_counter: committed.own.change_counter,
            schema_cookie: committed.own.schema_cookie,
            standby: FileStat::from(&look),
            born: born(&look),
            rights: Some(committed.rights),
            source: committed.source,
            at: committed.at,
            job: committed.job,
            confirmed: committed.confirmed,
            checked: committed.checked,
            day: committed.day,
            patterns: committed.patterns,
            root: committed.seed.root(hashes),
        };
        let file = match File::options().write(true).open(&self.path) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => create_file(&self.path, Rights::PRIVATE),
            opened => opened,
        };
        let file = file.map_err(failed)?;
        // Until the head is written again nobody believes the hashes.
        write_all_at(&file, &[0; 16], 0).map_err(failed)?;
        write_hashes(&file, hashes, before).map_err(failed)?;
        write_head(&file, &state).map_err(failed)?;
        Ok(state)
    }
}

fn born(file: &Metadata) -> Option<Timestamp> {
    Timestamp::try_from(file.created().ok()?).ok()
}

fn crc(text: &[u8]) -> u32 {
    // The lower half of a hash: it only tells a torn text from a whole one.
    u32::try_from(xxhash_rust::xxh3::xxh3_64(text) & u64::from(u32::MAX)).unwrap_or_default()
}

fn write_head(file: &File, state: &State) -> io::Result<()> {
    let text = serde_json::to_vec(state)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length as usize + 16 <= HASHES_AT);
    let length = length.ok_or_else(|| io::Error::other("the state does not fit into its place"))?;
    let mut head = Vec::with_capacity(HASHES_AT);
    head.extend(MAGIC);
    head.extend(length.to_le_bytes());
    head.extend(crc(&text).to_le_bytes());
    head.extend(text);
    head.resize(HASHES_AT, 0);
    write_all_at(file, &head, 0)
}

/// Writes what differs from the list that the file holds, in runs.
fn write_hashes(file: &File, hashes: &[u128], before: Option<&[u128]>) -> io::Result<()> {
    const RUN: usize = 4_096;
    let before = before.unwrap_or(&[]);
    for (run, hashes) in hashes.chunks(RUN).enumerate() {
        let at = run * RUN;
        if before.get(at..at + hashes.len()) == Some(hashes) {
            continue;
        }
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
        write_all_at(file, &bytes, (HASHES_AT + at * HASH_BYTES) as u64)?;
    }
    file.set_len((HASHES_AT + hashes.len() * HASH_BYTES) as u64)
}
