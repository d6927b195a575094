//! Backups of a content store that are killed at any point, while its tree changes in every way.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cs_backup::report::Outcome;
use fastrand::Rng;
use serde_json::json;

use crate::support::*;

const KILLS: u32 = 300;
/// After so many of them one backup is let through, and both trees are compared.
const KILLS_PER_CHECK: u32 = 30;

fn options() -> serde_json::Value {
    json!({ "modules": ["DataConf"], "acceptDeletions": true, "retryCount": 0 })
}

/// One of few names, so that changes meet.
fn name(share: &Path, random: &mut Rng) -> PathBuf {
    let mut path = share.join(format!("live-{}", random.u32(0..4)));
    for _ in 0..random.u32(0..3) {
        path.push(format!("{}", random.u32(0..5)));
    }
    path
}

/// One change, of those that the tree allows at the moment.
fn change(share: &Path, random: &mut Rng) {
    let path = name(share, random);
    match random.u32(0..10) {
        0 => drop(fs::remove_file(&path)),
        1 => drop(fs::remove_dir_all(&path)),
        2 => drop(fs::rename(&path, name(share, random))),
        3 => drop(fs::create_dir_all(&path)),
        4 => {
            let mode = 0o700 + random.u32(0..64);
            drop(fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)));
        }
        5 => {
            // A file where a folder was, or the other way round.
            let is_folder = path.is_dir();
            let _ = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            let _ = if is_folder { fs::write(&path, "a file now") } else { fs::create_dir(&path) };
        }
        _ => {
            let _ = path.parent().map(fs::create_dir_all);
            let size = if random.u32(0..12) == 0 { 400_000 } else { random.usize(0..6000) };
            drop(fs::write(&path, vec![random.u8(..); size]));
        }
    }
}

/// Kills one backup after this time, while the tree changes; where it was.
fn round(deployment: &Deployment, delay: Duration, random: &mut Rng) -> String {
    let share = deployment.path("atl/share");
    let stop = AtomicBool::new(false);
    let mut changes = Rng::with_seed(random.u64(..));
    std::thread::scope(|scope| {
        let _stop_at_end = StopOnDrop(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                change(&share, &mut changes);
                std::thread::sleep(Duration::from_micros(changes.u64(0..400)));
            }
        });
        let mut child = Child::sync(deployment, ATL, &options().to_string());
        child.wait_for("started");
        std::thread::sleep(delay);
        child.kill_and_tell()
    })
}

/// One more backup leaves both trees equal and nothing temporary, and another one has nothing to do.
fn check(deployment: &Deployment) {
    let quiet = deployment.another();
    let ended = run_backup(&quiet, with_pool(ATL, json!({ "acceptDeletions": true })));
    let content = ended.module(DATA_CONF);
    assert!(content.errors.is_empty() && content.quarantined.is_empty(), "{ended:#?}");
    // The standby may have been taken away, and the backup killed before it noticed.
    let is_refill = |warning: &String| warning.starts_with("The standby copy was lost");
    assert!(content.warnings.iter().all(is_refill), "{ended:#?}");
    let conflicts = deployment.path("chi/standby/atl/.csb/conflicts");
    assert!(!conflicts.exists(), "what a killed backup left was taken for somebody else's: {ended:#?}");
    deployment.assert_copies_equal("atl", "chi");
    let again = run_backup(&quiet, with_pool(ATL, json!({}))).expect(Outcome::Succeeded);
    assert!(again.module(DATA_CONF).moved.is_nothing(), "{:#?}", again.report);
}

#[test]
fn three_hundred_kills_while_the_tree_changes_lose_nothing_and_leave_nothing() {
    let seed = std::env::var("CSB_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    let mut random = Rng::with_seed(seed);
    let began = Instant::now();
    let deployment = Deployment::in_memory(Size { users: 1, contacts: 1, files: 150 });
    let mut span = Duration::from_millis(60);
    let (mut kills, mut rounds) = (0, 0);
    while kills < KILLS {
        rounds += 1;
        assert!(began.elapsed() < Duration::from_secs(240), "only {kills} kills in {rounds} rounds");
        if rounds % 10 == 1 {
            // A first copy again: then there is most to be interrupted.
            let _ = fs::remove_dir_all(deployment.path("chi/standby/atl"));
        }
        let point = round(&deployment, span.mul_f64(random.f64()), &mut random);
        let too_late = point.starts_with("Succeeded");
        span = span.mul_f64(if too_late { 0.8 } else { 1.05 });
        kills += u32::from(!too_late);
        if kills % KILLS_PER_CHECK == 0 && !too_late {
            check(&deployment);
        }
    }
    eprintln!("seed {seed} (CSB_SEED): {kills} kills in {rounds} rounds took {:?}", began.elapsed());
}
