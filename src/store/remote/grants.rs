//! What a partner may do at a place.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// One thing that a partner may do. Who may what is said at the machine that is reached, and nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Read the pool's stores, and what it holds of the partner; hold the lease of what is given back to the partner.
    Read,
    /// Write the partner's copy.
    Write,
    /// Give lost stores back.
    GiveBack,
    /// Publish to the Central Management store.
    Cms,
    /// Lead a failover.
    Lead,
}

impl Grant {
    /// All that there are.
    pub const ALL: [Grant; 5] = [Grant::Read, Grant::Write, Grant::GiveBack, Grant::Cms, Grant::Lead];

    /// The spelling in a forced command.
    pub const fn name(self) -> &'static str {
        match self {
            Grant::Read => "read",
            Grant::Write => "write",
            Grant::GiveBack => "give-back",
            Grant::Cms => "cms",
            Grant::Lead => "lead",
        }
    }

    /// Whether this version gives it; the others are reserved.
    pub const fn is_given(self) -> bool {
        !matches!(self, Grant::Lead)
    }

    /// What it cannot be used without.
    pub const fn needs(self) -> Option<Grant> {
        match self {
            Grant::Read | Grant::Lead => None,
            Grant::Write | Grant::GiveBack | Grant::Cms => Some(Grant::Read),
        }
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Grant {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Grant::ALL.into_iter().find(|grant| grant.name().eq_ignore_ascii_case(name));
        let known = found.ok_or_else(|| {
            let advice = "Grant read, write, give-back or cms.";
            Error::new(ErrorKind::InvalidArgument, format!("There is no grant \"{name}\"."), advice)
        })?;
        if known.is_given() {
            return Ok(known);
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("The grant {known} is reserved; this version does not give it."),
            "Grant read, write, give-back or cms.",
        ))
    }
}

/// What a partner may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(pub Vec<Grant>);

impl Grants {
    /// These, each once.
    ///
    /// # Errors
    /// `InvalidArgument` where there is none, or one without what it needs.
    pub fn of(named: impl IntoIterator<Item = Grant>) -> Result<Self> {
        let mut grants: Vec<Grant> = Vec::new();
        for grant in named {
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
        if grants.is_empty() {
            return Err(Error::new(ErrorKind::InvalidArgument, "Nothing is granted.", "Grant read."));
        }
        let lacks = |grant: &&Grant| grant.needs().is_some_and(|needed| !grants.contains(&needed));
        match grants.iter().find(lacks) {
            None => Ok(Grants(grants)),
            Some(grant) => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("The grant {grant} is of no use without read."),
                format!("Grant read,{grant}."),
            )),
        }
    }

    /// Refuses what was not granted.
    ///
    /// # Errors
    /// `PeerRefused`.
    pub fn require(&self, grant: Grant) -> Result<()> {
        if self.0.contains(&grant) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::PeerRefused,
            format!("This key has no grant to {grant}."),
            format!(
                "Let the administrator of that machine add --grant {grant} to the key's forced command; Register-CsPoolPlace there prints it."
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_cannot_be_granted_and_what_was_not_granted_is_refused() {
        assert_eq!("READ".parse::<Grant>().unwrap(), Grant::Read);
        for grant in Grant::ALL.into_iter().filter(|grant| !grant.is_given()) {
            assert!(grant.name().parse::<Grant>().unwrap_err().message.contains("reserved"));
        }
        assert_eq!("all".parse::<Grant>().unwrap_err().kind, ErrorKind::InvalidArgument);
        let (read, write) = (Grant::Read, Grant::Write);
        assert_eq!(Grants::of([read, write, read]).unwrap().0, [read, write]);
        for nothing in [vec![], vec![write], vec![Grant::Cms, write]] {
            assert_eq!(Grants::of(nothing).unwrap_err().kind, ErrorKind::InvalidArgument);
        }
        let none = Grants::default();
        assert_eq!(none.require(Grant::Read).unwrap_err().kind, ErrorKind::PeerRefused);
        Grants(vec![Grant::Read]).require(Grant::Read).unwrap();
    }
}
