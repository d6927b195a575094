//! What leases have to do, run against every engine.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::*;
use crate::clock::Clock;
use crate::report::ExportState;
use crate::store::{Reach, factory};
use crate::topology::StoreUrl;

/// Runs each of the contract's tests for one engine. The maker gives a place where there are no leases yet, and what
/// keeps it alive.
macro_rules! contract {
    ($engine:ident, $make:expr, [$($test:ident),* $(,)?]) => {
        mod $engine {
            $(
                #[test]
                fn $test() {
                    let (_alive, url) = $make;
                    super::$test(&url);
                }
            )*
        }
    };
}

contract!(
    sqlite,
    super::database(),
    [
        where_nothing_is_nobody_holds_anything,
        of_many_that_come_first_at_once_one_gets_the_lease,
        a_held_lease_is_a_conflict_that_names_its_holder,
        generations_only_grow_whatever_the_clock_says,
        a_lease_of_a_dead_process_is_taken_over_at_once,
        an_owner_that_renews_keeps_its_lease_whatever_the_clocks_say,
        an_owner_that_is_silent_loses_its_lease_whatever_the_clocks_say,
        what_one_process_saw_counts_for_the_next_one_of_its_boot,
        what_was_seen_in_another_boot_does_not_count,
        whoever_lost_its_lease_writes_nothing,
        a_state_keeps_its_last_success_through_failures,
        states_are_forgotten_by_pool,
    ]
);

fn database() -> (tempfile::TempDir, StoreUrl) {
    let folder = tempfile::tempdir().unwrap();
    let url = StoreUrl::try_from(format!("sqlite:{}/service.sqlite", folder.path().display())).unwrap();
    (folder, url)
}

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// How far, in seconds, a clock may be ahead of another.
const SKEWS: [i64; 9] = [0, HOUR, -HOUR, DAY, -DAY, 30 * DAY, -30 * DAY, 20 * YEAR, -20 * YEAR];

/// The clocks of one boot of one machine.
pub(super) struct Machine {
    boot: String,
    wall_ms: AtomicI64,
    monotonic_ms: AtomicU64,
}

impl Machine {
    /// Whose wall clock is ahead by so many seconds, and which has been running for a while.
    pub(super) fn ahead(boot: &str, seconds: i64) -> Arc<Self> {
        let wall_ms = (1_700_000_000 + seconds) * 1_000;
        Arc::new(Machine { boot: boot.to_owned(), wall_ms: wall_ms.into(), monotonic_ms: 77_000.into() })
    }

    /// Time passes.
    pub(super) fn pass(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.monotonic_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms.cast_signed(), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    fn jump(&self, seconds: i64) {
        self.wall_ms.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

impl Clock for Machine {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.wall_ms.load(Ordering::SeqCst)).unwrap()
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_ms.load(Ordering::SeqCst))
    }

    fn boot(&self) -> String {
        self.boot.clone()
    }

    fn sleep(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.pass(time);
        Box::pin(std::future::ready(()))
    }
}

/// A process of a machine.
struct Process {
    leases: Arc<dyn Leases>,
    owner: LeaseOwner,
}

impl Process {
    fn of(machine: &Arc<Machine>, url: &StoreUrl) -> Self {
        let leases = factory::leases(url, &Reach::Here, Arc::clone(machine) as Arc<dyn Clock>).unwrap();
        // Nobody knows from outside whether it is alive.
        let owner = LeaseOwner {
            machine: machine.boot.clone(),
            space: None,
            ..LeaseOwner::current("of this very machine")
        };
        Process { leases, owner }
    }

    fn acquire(&self, job: u128) -> Acquired {
        let claim = Claim { pool: pool(), owner: self.owner.clone(), job_id: Uuid::from_u128(job) };
        self.leases.acquire(&claim, &soon()).unwrap()
    }

    fn take(&self, job: u128) -> Lease {
        self.acquire(job).held().unwrap()
    }

    fn is_refused(&self) -> bool {
        matches!(self.acquire(99), Acquired::Busy(_))
    }

    fn renews(&self, lease: &Lease) -> bool {
        match self.leases.renew(lease, &soon()) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Fenced);
                false
            }
        }
    }
}

fn pool() -> PoolFqdn {
    PoolFqdn::parse("atl.example.com").unwrap()
}

fn soon() -> Until {
    Until::within(PATIENCE)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn state(observed_s: i64) -> StoredState {
    StoredState {
        state: ModuleState::default(),
        cursor: None,
        reason: None,
        observed_at: Timestamp::from_second(observed_s).unwrap(),
        last_success: None,
    }
}

fn where_nothing_is_nobody_holds_anything(url: &StoreUrl) {
    let Process { leases, .. } = Process::of(&Machine::ahead("a", 0), url);
    assert_eq!(leases.holder(&pool(), &soon()).unwrap(), None);
    assert_eq!(leases.state(&pool(), "m", &soon()).unwrap(), None);
    assert!(!leases.has_states(&pool(), &soon()).unwrap());
    let lease = Lease { pool: pool(), generation: Generation(1), job_id: Uuid::nil(), taken_over_from: None };
    assert_eq!(leases.renew(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
    assert_eq!(leases.forget_states(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
    assert!(!url.local_path().unwrap().exists(), "what reads has made something");
}

fn of_many_that_come_first_at_once_one_gets_the_lease(url: &StoreUrl) {
    let machine = Machine::ahead("a", 0);
    for round in 0..30 {
        let url = StoreUrl::try_from(format!("{url}.{round}")).unwrap();
        let start = std::sync::Barrier::new(4);
        let take = |job| {
            let process = Process::of(&machine, &url);
            start.wait();
            matches!(process.acquire(job), Acquired::Held(_))
        };
        let taken: Vec<bool> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|job| scope.spawn(move || take(job))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().filter(|held| **held).count(), 1, "{taken:?}");
    }
}

fn a_held_lease_is_a_conflict_that_names_its_holder(url: &StoreUrl) {
    let machine = Machine::ahead("elsewhere", 0);
    let owner = Process::of(&machine, url);
    let lease = owner.take(1);
    owner.leases.renew(&lease, &soon()).unwrap();
    let Acquired::Busy(holder) = Process::of(&Machine::ahead("here", 0), url).acquire(2) else {
        panic!("it was robbed")
    };
    let expected = Holder {
        pool: pool(),
        owner: Some(owner.owner.clone()),
        job_id: Uuid::from_u128(1),
        generation: lease.generation,
        counter: 1,
        since: machine.now(),
    };
    assert_eq!(holder, expected);
    assert_eq!(owner.leases.holder(&pool(), &soon()).unwrap(), Some(expected));
    let error = holder.conflict();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert_eq!(error.context["machine"], "elsewhere");
    assert_eq!(error.context["jobId"], Uuid::from_u128(1).to_string());
    assert!(error.message.contains("on elsewhere, process "), "{error:?}");
    assert!(error.advice.contains("Stop-CsBackupJob") && error.advice.contains("30 seconds"), "{error:?}");
    // Another pool's is another lease.
    let other = Claim { pool: PoolFqdn::parse("chi.example.com").unwrap(), ..claim(&owner) };
    owner.leases.acquire(&other, &soon()).unwrap().held().unwrap();
}

fn claim(process: &Process) -> Claim {
    Claim { pool: pool(), owner: process.owner.clone(), job_id: Uuid::from_u128(7) }
}

fn generations_only_grow_whatever_the_clock_says(url: &StoreUrl) {
    let machine = Machine::ahead("a", 0);
    let process = Process::of(&machine, url);
    let mut last = Generation(0);
    for jump in SKEWS {
        machine.jump(jump);
        for _ in 0..2 {
            let lease = process.take(1);
            assert!(lease.generation > last, "{lease:?} after {last:?}");
            assert_eq!(lease.taken_over_from, None);
            last = lease.generation;
            process.leases.release(&lease, &soon()).unwrap();
        }
    }
}

fn a_lease_of_a_dead_process_is_taken_over_at_once(url: &StoreUrl) {
    let process = Process::of(&Machine::ahead("a", 0), url);
    let dead = LeaseOwner { process_id: 4_000_000, ..LeaseOwner::current("here") };
    let first = process.leases.acquire(&Claim { owner: dead, ..claim(&process) }, &soon()).unwrap();
    let first = first.held().unwrap();
    let lease = process.take(2);
    assert_eq!(lease.taken_over_from, Some(first.job_id));
    assert!(lease.generation > first.generation);
}

fn an_owner_that_renews_keeps_its_lease_whatever_the_clocks_say(url: &StoreUrl) {
    for skew in SKEWS {
        for jump in SKEWS {
            let (here, there) = (Machine::ahead("here", 0), Machine::ahead("there", skew));
            let owner = Process::of(&there, url);
            let lease = owner.take(1);
            let observer = Process::of(&here, url);
            for second in 0..100 {
                here.pass(seconds(1));
                there.pass(seconds(1));
                if second == 42 {
                    there.jump(jump);
                }
                if second == 57 {
                    here.jump(jump);
                }
                if second % 10 == 9 {
                    assert!(
                        owner.renews(&lease),
                        "robbed after {second} s, {skew} s ahead, then {jump} s more"
                    );
                }
                if second % 7 == 0 {
                    assert!(observer.is_refused(), "{second} s, {skew} s ahead, then {jump} s more");
                }
            }
            owner.leases.release(&lease, &soon()).unwrap();
        }
    }
}

fn an_owner_that_is_silent_loses_its_lease_whatever_the_clocks_say(url: &StoreUrl) {
    for skew in SKEWS {
        for jump in SKEWS {
            let here = Machine::ahead("here", 0);
            let owner = Process::of(&Machine::ahead("there", skew), url);
            let lease = owner.take(1);
            let observer = Process::of(&here, url);
            assert!(observer.is_refused());
            here.pass(seconds(15));
            assert!(owner.renews(&lease), "it is alive");
            // From here on it is silent.
            assert!(observer.is_refused());
            here.jump(jump);
            here.pass(seconds(29));
            assert!(observer.is_refused(), "{skew} s ahead, then {jump} s more");
            here.pass(seconds(1));
            let taken = observer.take(2);
            assert!(taken.generation > lease.generation);
            assert_eq!(taken.taken_over_from, Some(lease.job_id));
            assert!(!owner.renews(&lease), "it wakes and is told that it was robbed");
            assert_eq!(owner.leases.release(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
            assert!(observer.renews(&taken));
            observer.leases.release(&taken, &soon()).unwrap();
        }
    }
}

fn what_one_process_saw_counts_for_the_next_one_of_its_boot(url: &StoreUrl) {
    let here = Machine::ahead("here", 0);
    Process::of(&Machine::ahead("there", 30 * DAY), url).take(1);
    for _ in 0..3 {
        assert!(Process::of(&here, url).is_refused());
        here.pass(seconds(10));
    }
    // Nobody waited; four processes looked and went, one every ten seconds.
    assert_eq!(Process::of(&here, url).take(2).taken_over_from, Some(Uuid::from_u128(1)));
}

fn what_was_seen_in_another_boot_does_not_count(url: &StoreUrl) {
    let here = Machine::ahead("here", 0);
    Process::of(&Machine::ahead("there", 0), url).take(1);
    assert!(Process::of(&here, url).is_refused());
    here.pass(seconds(60));
    // Neither does what another machine saw, nor what this one saw before its clock began anew.
    let (beside, rebooted) = (Machine::ahead("beside", 0), Machine::ahead("here, rebooted", 0));
    let set_back = Machine::ahead("here", 0);
    set_back.monotonic_ms.store(1_000, Ordering::SeqCst);
    for machine in [&beside, &rebooted, &set_back] {
        machine.pass(seconds(1));
        assert!(Process::of(machine, url).is_refused(), "{}", machine.boot);
        machine.pass(seconds(29));
        assert!(Process::of(machine, url).is_refused(), "{}", machine.boot);
    }
    beside.pass(seconds(1));
    Process::of(&beside, url).take(2);
    // What was seen of the former holder says nothing of this one.
    rebooted.pass(seconds(60));
    assert!(Process::of(&rebooted, url).is_refused());
}

fn whoever_lost_its_lease_writes_nothing(url: &StoreUrl) {
    let here = Machine::ahead("here", 0);
    let (owner, observer) = (Process::of(&Machine::ahead("there", 0), url), Process::of(&here, url));
    let old = owner.take(1);
    owner.leases.set_state(&old, "m", &state(1), &soon()).unwrap();
    assert!(observer.is_refused());
    here.pass(LEASE_DURATION);
    let new = observer.take(2);
    let kind = |done: Result<()>| done.unwrap_err().kind;
    assert_eq!(kind(owner.leases.set_state(&old, "m", &state(2), &soon())), ErrorKind::Fenced);
    assert_eq!(kind(owner.leases.forget_states(&old, &soon()).map(|_| ())), ErrorKind::Fenced);
    assert_eq!(observer.leases.state(&pool(), "m", &soon()).unwrap(), Some(state(1)));
    observer.leases.set_state(&new, "m", &state(3), &soon()).unwrap();
    assert_eq!(owner.leases.state(&pool(), "m", &soon()).unwrap(), Some(state(3)));
}

fn a_state_keeps_its_last_success_through_failures(url: &StoreUrl) {
    let process = Process::of(&Machine::ahead("a", 0), url);
    let lease = process.take(1);
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let mut kept = StoredState {
        state: ModuleState { export: ExportState::SteadyState, ..Default::default() },
        cursor: Some("7".into()),
        last_success: Some(at),
        ..state(1)
    };
    process.leases.set_state(&lease, "m", &kept, &soon()).unwrap();
    kept.state.export = ExportState::ErrorState;
    kept.reason = Some("broken".into());
    process
        .leases
        .set_state(&lease, "m", &StoredState { last_success: None, ..kept.clone() }, &soon())
        .unwrap();
    assert_eq!(process.leases.state(&pool(), "m", &soon()).unwrap(), Some(kept));
}

fn states_are_forgotten_by_pool(url: &StoreUrl) {
    let process = Process::of(&Machine::ahead("a", 0), url);
    let lease = process.take(1);
    let other = Claim { pool: PoolFqdn::parse("chi.example.com").unwrap(), ..claim(&process) };
    let other = process.leases.acquire(&other, &soon()).unwrap().held().unwrap();
    for (lease, module) in [(&lease, "m"), (&lease, "n"), (&other, "m")] {
        process.leases.set_state(lease, module, &state(1), &soon()).unwrap();
    }
    assert_eq!(process.leases.forget_states(&lease, &soon()).unwrap(), 2);
    assert!(!process.leases.has_states(&lease.pool, &soon()).unwrap());
    assert!(process.leases.has_states(&other.pool, &soon()).unwrap());
    process.leases.release(&lease, &soon()).unwrap();
    assert!(process.take(2).generation > lease.generation);
}
