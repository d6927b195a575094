//! The name of a pool.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The fully qualified domain name of a pool: compared without case, kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct PoolFqdn(String);

impl PoolFqdn {
    /// The pool of this name, if it is a host name by RFC 1123 with at least two labels.
    ///
    /// # Errors
    /// `InvalidValue`, saying what is wrong with it.
    pub fn parse(name: &str) -> Result<Self> {
        let name = canonical(name);
        let label_is_valid = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() <= 253 && name.contains('.') && name.split('.').all(label_is_valid) {
            return Ok(PoolFqdn(name));
        }
        Err(Error::new(
            ErrorKind::InvalidValue,
            format!("\"{name}\" is not a fully qualified domain name."),
            "Write the pool's full name, for instance atl-cs-001.litwareinc.com: letters, digits and hyphens, with dots between.",
        ))
    }

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name as it is kept: that of what it is kept as is the same again.
fn canonical(name: &str) -> String {
    name.trim_start().trim_end_matches(|c: char| c == '.' || c.is_whitespace()).to_ascii_lowercase()
}

impl fmt::Display for PoolFqdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A name in a request need not be one that a pool could have: it is looked up, and then unknown.
impl From<String> for PoolFqdn {
    fn from(name: String) -> Self {
        PoolFqdn(canonical(&name))
    }
}

impl From<PoolFqdn> for String {
    fn from(fqdn: PoolFqdn) -> String {
        fqdn.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case() {
        assert_eq!(
            PoolFqdn::parse("ATL-cs-001.LitwareInc.com").unwrap().as_str(),
            "atl-cs-001.litwareinc.com"
        );
    }

    #[test]
    fn a_name_that_was_kept_means_the_same_when_it_is_read_again() {
        for name in ["pool.example.", " Pool.example\r.", "pool.example. .", "pool.example\r. \u{2003}."] {
            let kept = PoolFqdn::from(name.to_owned());
            assert_eq!(kept.as_str(), "pool.example", "{name:?}");
            assert_eq!(PoolFqdn::parse(name).unwrap(), kept);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for name in ["", "atl", "a..b", "-a.b", "a_b.c", "a b.c", "ä.b", &format!("{}.b", "a".repeat(64))] {
            assert_eq!(PoolFqdn::parse(name).unwrap_err().kind, ErrorKind::InvalidValue, "{name}");
        }
    }
}
