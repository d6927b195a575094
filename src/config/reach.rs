//! Which pools' stores this machine opens itself, and how it reaches those of the others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::topology::{Pool, PoolFqdn, PoolPlace, SshPlace};

/// A program of this machine, instead of another machine: `pipe:/path/of/csb-serve`.
const PIPE: &str = "pipe:";
/// The stores are opened by this machine itself.
const LOCAL: &str = "local";

/// How a pool's stores are reached, where `[reach]` of the deployment says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReachWay {
    /// They are opened by this machine itself.
    Local,
    /// Through ssh.
    Ssh(SshPlace),
    /// Through a helper that this machine starts itself: this program.
    Pipe(PathBuf),
}

impl ReachWay {
    /// Reads `local`, `ssh://user@host[:port]/root` or `pipe:/path/of/csb-serve`.
    ///
    /// # Errors
    /// `InvalidValue`, which never repeats a secret.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if text == LOCAL {
            return Ok(ReachWay::Local);
        }
        if let Some(program) = text.strip_prefix(PIPE).map(Path::new) {
            return if program.is_absolute() { Ok(ReachWay::Pipe(program.to_owned())) } else { Err(wrong()) };
        }
        match PoolPlace::parse(text, Path::new("/")) {
            Ok(PoolPlace::Ssh(place)) => Ok(ReachWay::Ssh(place)),
            Ok(PoolPlace::Local(_)) => Err(wrong()),
            Err(error) => Err(error),
        }
    }
}

fn wrong() -> Error {
    Error::new(
        ErrorKind::InvalidValue,
        "This is no way to reach a pool's stores.",
        "Write \"local\", \"ssh://USER@HOST/ROOT\", or \"pipe:\" with the absolute path of csb-serve.",
    )
}

/// Where stores are, as this machine sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// This machine opens them itself.
    Here,
    /// Another machine does, or a helper of this one.
    There(There),
}

impl Whereabouts {
    /// Another machine, where there is one.
    pub fn there(&self) -> Option<&There> {
        match self {
            Whereabouts::Here => None,
            Whereabouts::There(there) => Some(there),
        }
    }
}

/// Stores that this machine reaches through a helper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct There {
    /// The pool whose they are.
    pub pool: PoolFqdn,
    /// The pool that works on them, for a helper that this machine starts, where it is known. Another machine says that itself.
    pub partner: Option<PoolFqdn>,
    /// What is started.
    pub helper: Helper,
    /// The folder that the URLs of the stores lie below. What is asked for is relative to it.
    pub root: PathBuf,
}

impl There {
    /// What the stores are at, for comparing places: a machine, or a helper of this one.
    pub fn machine(&self) -> String {
        match &self.helper {
            Helper::Ssh(place) => place.host().to_owned(),
            Helper::Pipe(_) => self.to_string(),
        }
    }
}

/// What is started to reach stores.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Helper {
    /// ssh, to this machine.
    Ssh(SshPlace),
    /// This program, at this machine.
    Pipe(PathBuf),
}

impl fmt::Display for There {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.helper {
            Helper::Ssh(place) => place.fmt(f),
            Helper::Pipe(program) => write!(f, "{PIPE}{}", program.display()),
        }
    }
}

/// `[reach]` of the deployment file, by pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReachTable(pub(super) BTreeMap<PoolFqdn, ReachWay>);

impl ReachTable {
    /// Where the stores of a pool are for the machine of this name: what is said here goes before the pool's place, and a
    /// machine that is one of the pool's computers opens them itself.
    ///
    /// # Errors
    /// `InvalidValue` for a helper of this machine where the topology names no place of the pool.
    pub fn of(&self, pool: &Pool, machine: &str) -> Result<Whereabouts> {
        let way = self.0.get(&pool.fqdn);
        let placed = match (way, &pool.place) {
            (Some(_), place) => place.as_ref(),
            (None, Some(PoolPlace::Ssh(place))) if !is_one_of(machine, &pool.computers) => {
                return Ok(there(pool, Helper::Ssh(place.clone()), place.root()));
            }
            _ => return Ok(Whereabouts::Here),
        };
        match way {
            None | Some(ReachWay::Local) => Ok(Whereabouts::Here),
            Some(ReachWay::Ssh(place)) => {
                let root = placed.map_or(place.root(), PoolPlace::root);
                Ok(there(pool, Helper::Ssh(place.clone()), root))
            }
            Some(ReachWay::Pipe(program)) => {
                let root = placed.map(PoolPlace::root).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidValue,
                        format!(
                            "{} is reached through {}, but has no place in the topology.",
                            pool.fqdn,
                            program.display()
                        ),
                        "Give the pool a place: what the helper may reach lies below it.",
                    )
                    .at("pool", &pool.fqdn)
                })?;
                Ok(there(pool, Helper::Pipe(program.clone()), root))
            }
        }
    }

    /// The same for a store of this pool at a place that the deployment file names.
    pub(super) fn of_place(&self, pool: PoolFqdn, place: &SshPlace) -> Whereabouts {
        let helper = match self.0.get(&pool) {
            Some(ReachWay::Local) => return Whereabouts::Here,
            Some(ReachWay::Pipe(program)) => Helper::Pipe(program.clone()),
            Some(ReachWay::Ssh(place)) => Helper::Ssh(place.clone()),
            None => Helper::Ssh(place.clone()),
        };
        let root = place.root().to_owned();
        Whereabouts::There(There { pool, partner: None, helper, root })
    }
}

fn there(pool: &Pool, helper: Helper, root: &Path) -> Whereabouts {
    let partner = pool.backup_pool.clone().filter(|_| matches!(helper, Helper::Pipe(_)));
    Whereabouts::There(There { pool: pool.fqdn.clone(), partner, helper, root: root.to_owned() })
}

/// Whether a machine is one of these. Case does not count, and a name without a domain is every one that begins with it.
fn is_one_of(machine: &str, computers: &[String]) -> bool {
    computers.iter().any(|computer| {
        let (one, other) = (machine.to_ascii_lowercase(), computer.to_ascii_lowercase());
        let begins = |long: &str, short: &str| !short.contains('.') && long.split('.').next() == Some(short);
        one == other || begins(&one, &other) || begins(&other, &one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    fn pool(place: &str) -> Pool {
        let place = if place.is_empty() { String::new() } else { format!("place = \"{place}\"") };
        let text = format!(
            r#"
            central_management_pool = "atl.example.com"
            [[pools]]
            fqdn = "atl.example.com"
            computers = ["ATL-1.example.com", "atl-2"]
            {place}
            user_store = {{ url = "sqlite:a.sqlite" }}
            content_store = {{ url = "file:a" }}
            "#
        );
        Topology::from_toml(&text, Path::new("/srv/topology.toml")).unwrap().pools.remove(0)
    }

    fn table(way: &str) -> ReachTable {
        let ways = [(PoolFqdn::parse("atl.example.com").unwrap(), ReachWay::parse(way).unwrap())];
        ReachTable(BTreeMap::from(ways))
    }

    /// What is started, and the folder that URLs are below; nothing for "here".
    fn shown(found: &Whereabouts) -> String {
        found.there().map(|there| format!("{there} {}", there.root.display())).unwrap_or_default()
    }

    #[test]
    fn a_machine_of_the_pool_opens_its_stores_and_every_other_one_goes_through_ssh() {
        let (ssh, none) = (pool("ssh://csb@atl-1/srv/pools/atl"), ReachTable::default());
        for machine in ["atl-1.example.com", "ATL-1", "atl-2", "atl-2.example.com", "atl-2.other.org"] {
            assert_eq!(none.of(&ssh, machine).unwrap(), Whereabouts::Here, "{machine}");
        }
        for machine in ["chi-1", "atl-1.other.org", "atl", "atl-11", "example.com", ""] {
            let found = none.of(&ssh, machine).unwrap();
            assert_eq!(shown(&found), "ssh://csb@atl-1/srv/pools/atl /srv/pools/atl", "{machine}");
        }
        for place in ["", "/data"] {
            assert_eq!(none.of(&pool(place), "chi-1").unwrap(), Whereabouts::Here);
        }
    }

    #[test]
    fn what_the_deployment_says_goes_before_the_topology() {
        for machine in ["atl-1", "chi-1"] {
            for (place, way, expected) in [
                ("ssh://csb@atl-1/srv/atl", "local", ""),
                (
                    "ssh://csb@atl-1/srv/atl",
                    "ssh://me@10.0.0.7:2222/jail/atl",
                    "ssh://me@10.0.0.7:2222/jail/atl /srv/atl",
                ),
                ("ssh://csb@atl-1/srv/atl", "pipe:/usr/bin/csb-serve", "pipe:/usr/bin/csb-serve /srv/atl"),
                ("/mnt/atl", "pipe:/usr/bin/csb-serve", "pipe:/usr/bin/csb-serve /mnt/atl"),
                ("", "ssh://atl-1/srv", "ssh://atl-1/srv /srv"),
                ("/mnt/atl", "ssh://atl-1/srv", "ssh://atl-1/srv /mnt/atl"),
            ] {
                assert_eq!(shown(&table(way).of(&pool(place), machine).unwrap()), expected, "{place} {way}");
            }
        }
        let error = table("pipe:/usr/bin/csb-serve").of(&pool(""), "chi-1").unwrap_err();
        assert_eq!(
            (error.kind, error.context["pool"].as_str()),
            (ErrorKind::InvalidValue, "atl.example.com")
        );
    }

    #[test]
    fn what_is_no_way_is_refused() {
        for way in
            ["", "locally", "/srv/atl", "pipe:", "pipe:csb-serve", "http://a/b", "ssh://-a/b", "ssh://a"]
        {
            assert_eq!(ReachWay::parse(way).unwrap_err().kind, ErrorKind::InvalidValue, "{way}");
        }
        let error = ReachWay::parse("ssh://a:pl4nted@chi/x").unwrap_err();
        assert!(!format!("{error:?}").contains("pl4nted"));
    }
}
