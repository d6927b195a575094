//! What the operating system is asked for, and nothing else names one but the engines of stores.
//!
//! Each system has a module of its own that provides everything listed here. What is asked may be answered with "not
//! known": the callers say what they then do. Failures are those of [`std::io`]; whoever calls knows what they mean.

pub(crate) mod failpoint;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as system;

pub use system::accounts::{account_name, account_number};
pub use system::databases::{Ours, creating_with, is_open_elsewhere, watch_databases};
pub use system::files::{
    FileId, FileStat, Right, drop_from_cache, is_open_in_process, may, mount_of, names_of, open_regular,
    read_at, read_whole, rename_to_free_name, set_modified, share_blocks, sync_folder, write_all_at,
};
pub use system::locks::{WriteLease, lock_holders, process_name, processes_with};
#[cfg(test)]
pub use system::mapped::MappedFile;
pub use system::mapped::watch_mapped_writes;
pub use system::paths::{Mounts, PathStat, folds_case};
pub use system::place::{Entry, EntryKind, Folder, Head};
pub use system::process::{boot_id, end_group, host_name, in_own_group, process_space, process_start};
pub use system::ranges::{RangeLock, lock_range, range_lock_of_others, unlock_range};
pub use system::raw::RawFile;
pub use system::rights::{Rights, create_file, create_folder, temporary_folder, tighten};
pub use system::time::{time_awake, time_space};
