//! Leases at another machine: a helper of this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::store::remote::tests::loopback::{Loopback, fqdn};

struct Site {
    folder: tempfile::TempDir,
    line: Loopback,
}

impl Site {
    fn new() -> Self {
        Site { folder: tempfile::tempdir().unwrap(), line: Loopback::default() }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn leases(&self, name: &str) -> RemoteLeases {
        let place = self.line.reached(&self.root(), &self.root().join("state"), "chi", "atl");
        let url = StoreUrl::parse(&format!("sqlite:{name}"), &self.root()).unwrap();
        RemoteLeases::new(&place, &url).unwrap()
    }

    fn local(&self) -> SqliteLeases {
        SqliteLeases::new(self.root().join("service.sqlite"), Arc::new(SystemClock::new()))
    }
}

fn soon() -> Until {
    Until::within(Duration::from_secs(5))
}

fn claim(pool: &str, job: u128) -> Claim {
    Claim { pool: fqdn(pool), owner: LeaseOwner::current("atl-1"), job_id: Uuid::from_u128(job) }
}

#[test]
fn a_lease_is_held_at_the_pool_that_receives_and_everybody_there_sees_it() {
    let site = Site::new();
    let (there, local) = (site.leases("service.sqlite"), site.local());
    assert!(there.holder(&fqdn("atl"), &soon()).unwrap().is_none(), "and nothing was made");
    assert!(!there.has_states(&fqdn("atl"), &soon()).unwrap());
    assert!(there.state(&fqdn("atl"), "m", &soon()).unwrap().is_none());
    assert!(!site.root().join("service.sqlite").exists());
    assert_eq!(there.acquire(&claim("atl", 1), &soon()).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert!(!site.root().join("service.sqlite").exists());
    // Whoever receives has made one.
    let own = local.acquire(&claim("atl", 2), &soon()).unwrap().held().unwrap();
    let Acquired::Busy(holder) = there.acquire(&claim("atl", 1), &soon()).unwrap() else {
        panic!("held twice")
    };
    assert_eq!((holder.job_id, holder.generation), (own.job_id, own.generation));
    local.release(&own, &soon()).unwrap();
    let lease = there.acquire(&claim("atl", 1), &soon()).unwrap().held().unwrap();
    assert!(lease.generation > own.generation);
    let seen = local.holder(&fqdn("atl"), &soon()).unwrap().unwrap();
    assert!(seen.owner.unwrap().machine.contains("for atl-1"));
    assert!(matches!(local.acquire(&claim("atl", 3), &soon()).unwrap(), Acquired::Busy(_)));
    there.renew(&lease, &soon()).unwrap();
    let step = NotedStep { number: 1, id: "carryBack:m".to_owned() };
    let now = Timestamp::now();
    assert!(there.begin_list(&lease, "sync", std::slice::from_ref(&step), now, &soon()).unwrap().is_none());
    there.begin_step(&lease, "sync", &step, now, &soon()).unwrap();
    there.end_step(&lease, 1, Outcome::Succeeded, now, &soon()).unwrap();
    there.end_list(&lease, Outcome::Succeeded, now, &soon()).unwrap();
    there.release(&lease, &soon()).unwrap();
    let next = local.acquire(&claim("atl", 4), &soon()).unwrap().held().unwrap();
    assert_eq!(there.renew(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
    assert!(next.generation > lease.generation);
}

#[test]
fn another_direction_and_a_database_that_is_something_else_are_left_alone() {
    let site = Site::new();
    let there = site.leases("service.sqlite");
    for pool in ["chi", "nyc"] {
        assert_eq!(there.acquire(&claim(pool, 1), &soon()).unwrap_err().kind, ErrorKind::PeerRefused);
        assert_eq!(there.holder(&fqdn(pool), &soon()).unwrap_err().kind, ErrorKind::PeerRefused);
    }
    let users = site.root().join("users.sqlite");
    let server = rusqlite::Connection::open(&users).unwrap();
    server
        .execute_batch("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('CREATE TABLE csb_leas')")
        .unwrap();
    drop(server);
    let look = |path: &Path| {
        let seen = std::fs::metadata(path).unwrap();
        (seen.permissions(), seen.modified().unwrap(), std::fs::read(path).unwrap())
    };
    let before = look(&users);
    let wrong = site.leases("users.sqlite");
    assert_eq!(wrong.acquire(&claim("atl", 1), &soon()).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert_eq!(wrong.holder(&fqdn("atl"), &soon()).unwrap_err().kind, ErrorKind::StoreUnavailable);
    assert_eq!(look(&users), before);
    let beside: Vec<_> =
        std::fs::read_dir(site.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside, ["users.sqlite"]);
}

#[test]
fn a_lease_is_free_once_its_line_is_cut_and_held_again_by_a_job_that_goes_on() {
    let site = Site::new();
    let local = site.local();
    let own = local.acquire(&claim("atl", 1), &soon()).unwrap().held().unwrap();
    local.release(&own, &soon()).unwrap();
    // The process that holds it lives on: it is this one.
    let (first, second) = (site.leases("service.sqlite"), site.leases("service.sqlite"));
    let lease = first.acquire(&claim("atl", 2), &soon()).unwrap().held().unwrap();
    assert!(matches!(local.acquire(&claim("atl", 3), &soon()).unwrap(), Acquired::Busy(_)));
    drop(first);
    let began = Instant::now();
    let is_free = |job| matches!(local.acquire(&claim("atl", job), &soon()).unwrap(), Acquired::Held(_));
    // The same job, through another line.
    second.renew(&lease, &soon()).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    second.renew(&lease, &soon()).unwrap();
    assert!(!is_free(4));
    drop(second);
    while !is_free(5) {
        assert!(began.elapsed() < Duration::from_secs(10), "it is not given back");
        std::thread::sleep(Duration::from_millis(5));
    }
    let third = site.leases("service.sqlite");
    assert_eq!(third.renew(&lease, &soon()).unwrap_err().kind, ErrorKind::Fenced);
}
