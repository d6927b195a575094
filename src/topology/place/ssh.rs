//! A folder of another machine, and the machine as `ssh` is told it.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};

use super::{absolute, wrong};
use crate::error::Result;

/// A folder of another machine. Host and user hold nothing that `ssh`, or a shell, takes for anything else than a name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SshPlace {
    user: Option<String>,
    host: String,
    port: Option<u16>,
    root: PathBuf,
}

impl SshPlace {
    /// What such places begin with.
    pub(super) const SCHEME: &'static str = "ssh";

    /// Reads what follows `ssh://`.
    ///
    /// # Errors
    /// `InvalidValue`, which repeats nothing of it.
    pub(super) fn parse(rest: &str) -> Result<Self> {
        let Some((authority, path)) = rest.split_once('/') else {
            return Err(wrong("is no ssh://USER@HOST/ROOT: it names no root"));
        };
        let (user, machine) = match authority.rsplit_once('@') {
            Some((user, machine)) => (Some(user), machine),
            None => (None, authority),
        };
        if user.is_some_and(|user| !is_name(user)) {
            return Err(wrong("has a user with other signs than letters, digits, '.', '-' and '_'"));
        }
        let (host, port) = machine_of(machine)?;
        if path.contains(|sign: char| "%?#".contains(sign) || sign.is_control()) {
            return Err(wrong("has a root with %, ?, # or a control character in it"));
        }
        let root = absolute(path, Path::new("/"))?;
        if root.parent().is_none() {
            return Err(wrong("names no folder below / as its root"));
        }
        Ok(SshPlace { user: user.map(str::to_owned), host, port, root })
    }

    /// The account at the other machine; none where ssh's own configuration says it.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The other machine: a name in lower case, or an address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where its ssh server listens; none where ssh's own configuration says it.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// The folder there, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Host and port.
fn machine_of(text: &str) -> Result<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (address, port) = bracketed.split_once(']').ok_or_else(|| wrong("has a [ without a ]"))?;
            let address: Ipv6Addr =
                address.parse().map_err(|_| wrong("has no address of IPv6 in its brackets"))?;
            (address.to_string(), port)
        }
        None => {
            let (host, port) = text.split_at(text.find(':').unwrap_or(text.len()));
            if !is_name(host) {
                return Err(wrong(
                    "has a host with other signs than letters, digits, '.', '-' and '_', or none",
                ));
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let number = port.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    number.map(|port| (host, Some(port))).ok_or_else(|| wrong("has a port that is no number from 1 to 65535"))
}

/// Whether this is a name, and nothing that `ssh` takes for an option.
fn is_name(text: &str) -> bool {
    let is_sign = |sign: char| sign.is_ascii_alphanumeric() || ".-_".contains(sign);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_sign)
}

impl fmt::Display for SshPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.root.display().fmt(f)
    }
}

impl fmt::Debug for SshPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SshPlace({self})")
    }
}
