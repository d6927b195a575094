//! Which staged files a power cut would leave whole.

use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// File systems whose `syncfs` returns only when all data is on the disk, and reports what could not be written. Others
/// (network shares, FUSE) may merely hand the data on: there each file is synced by itself.
const SYNCED_AS_A_WHOLE: [u64; 5] = [
    0xEF53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683E, // Btrfs
    0xF2F5_2010, // F2FS
    0x0102_1994, // tmpfs, which keeps nothing anyway
];

/// A file's place in the order of syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// Synced by itself.
    Durable,
    /// Written before the sync of this round, if there is one.
    InRound(u64),
}

/// Whether a sealed file may get its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Durable,
    /// It has to be synced first.
    Pending,
    /// A sync failed after it was written: its pages may be gone, and another sync would not say so.
    Ruined,
}

/// Counts syncs of the whole file system.
#[derive(Default)]
pub(super) struct Durability {
    /// The round that a file sealed now belongs to.
    round: AtomicU64,
    /// Every file of an earlier round is durable, unless it is ruined.
    durable: AtomicU64,
    /// Every file of an earlier round is ruined.
    ruined: AtomicU64,
}

impl Durability {
    /// What to remember of a file that has been written completely, but not synced.
    pub(super) fn sealed(&self) -> Sealed {
        Sealed::InRound(self.round.load(Ordering::SeqCst))
    }

    /// Syncs everything that was sealed before.
    pub(super) fn sync(&self, sync: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let round = self.round.fetch_add(1, Ordering::SeqCst);
        let done = sync();
        let counter = if done.is_ok() { &self.durable } else { &self.ruined };
        counter.fetch_max(round + 1, Ordering::SeqCst);
        done
    }

    pub(super) fn verdict(&self, sealed: Sealed) -> Verdict {
        match sealed {
            Sealed::Durable => Verdict::Durable,
            Sealed::InRound(round) if round < self.ruined.load(Ordering::SeqCst) => Verdict::Ruined,
            Sealed::InRound(round) if round < self.durable.load(Ordering::SeqCst) => Verdict::Durable,
            Sealed::InRound(_) => Verdict::Pending,
        }
    }
}

/// Since this version Linux tells whoever syncs a file system what could not be written since its handle was opened; before, only
/// whoever syncs the file itself was told.
const TELLS_FAILURES: (u32, u32) = (5, 8);

static IS_TOLD: LazyLock<bool> =
    LazyLock::new(|| kernel(&rustix::system::uname().release().to_string_lossy()) >= Some(TELLS_FAILURES));

/// The version of a kernel's release, for instance `6.1.0-13-amd64`.
fn kernel(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether one sync of the file system makes all its files durable, and says so where it could not.
pub(super) fn is_synced_as_a_whole(file: impl AsFd) -> bool {
    if !*IS_TOLD {
        return false;
    }
    // The field's type differs between platforms.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
    rustix::fs::fstatfs(file).is_ok_and(|found| SYNCED_AS_A_WHOLE.contains(&(found.f_type as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_first_two_numbers() {
        assert_eq!(kernel("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(kernel("4.18.0-553.el8_10.x86_64"), Some((4, 18)));
        assert!(kernel("5.10.0") >= Some(TELLS_FAILURES) && kernel("5.7.19") < Some(TELLS_FAILURES));
        assert!(kernel("unknown") < Some(TELLS_FAILURES));
    }

    #[test]
    fn a_file_is_durable_after_a_sync_that_began_later_and_ruined_after_one_that_failed() {
        let durability = Durability::default();
        let early = durability.sealed();
        let mut during = None;
        durability
            .sync(|| {
                during = Some(durability.sealed());
                Ok(())
            })
            .unwrap();
        assert_eq!(durability.verdict(early), Verdict::Durable);
        assert_eq!(durability.verdict(during.unwrap()), Verdict::Pending, "the sync may have missed it");
        durability.sync(|| Err(Errno::IO)).unwrap_err();
        durability.sync(|| Ok(())).unwrap();
        assert_eq!(
            durability.verdict(during.unwrap()),
            Verdict::Ruined,
            "a later sync does not bring it back"
        );
        assert_eq!(durability.verdict(Sealed::Durable), Verdict::Durable);
        let late = durability.sealed();
        assert_eq!(durability.verdict(late), Verdict::Pending);
    }

    #[test]
    fn only_file_systems_that_are_known_to_be_are_synced_as_a_whole() {
        let in_memory = rustix::fs::memfd_create("test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        assert!(is_synced_as_a_whole(in_memory));
        assert!(!is_synced_as_a_whole(std::fs::File::open("/proc").unwrap()));
    }
}
