//! How a session begins: a line each way that any program can read, then a frame each way.
//!
//! ```text
//! CSB1 1-1 0.1.0 9f86d081884c7d65
//! ```
//!
//! The name of the form, the first and the last version of the protocol that the side speaks, the version of its program for people, and a
//! number by which a side notices that somebody only echoes. Both sides use the newest version that both speak.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The versions of the protocol that this build speaks: each release speaks the one before as well.
pub const PROTOCOL: std::ops::RangeInclusive<u16> = 1..=1;

const NAME: &str = "CSB1";

/// How much foreign text before a greeting is read, to be quoted.
const MOST_NOISE_BYTES: usize = 64 << 10;

/// How much of it is quoted.
const QUOTED_CHARS: usize = 200;

/// What the caller says of itself. It never changes once it is released: a new field is a new message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The pool whose stores it wants to reach.
    pub pool: String,
    /// For how many seconds it waits for a byte.
    pub silence_seconds: u16,
}

/// What the helper says of itself; as [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The pool whose stores it opens.
    pub pool: String,
    /// The pool whose machine may call it; none where that was not said.
    pub partner: Option<String>,
    /// What the caller may do, by name.
    pub grants: Vec<String>,
    /// The operating system.
    pub system: String,
    /// The time by the helper's clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// For how many seconds it waits for a byte.
    pub silence_seconds: u16,
}

/// One side's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) program: String,
    pub(super) nonce: u64,
}

impl Greeting {
    /// The line of this build.
    pub(super) fn own() -> Self {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Greeting { first: *PROTOCOL.start(), last: *PROTOCOL.end(), program, nonce: fastrand::u64(..) }
    }

    pub(super) fn line(&self) -> String {
        format!("{NAME} {}-{} {} {:016x}\n", self.first, self.last, self.program, self.nonce)
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.trim_end_matches(['\r', '\n']).split(' ');
        if words.next()? != NAME {
            return None;
        }
        let (first, last) = words.next()?.split_once('-')?;
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let program = words.next().filter(|word| word.len() <= 40)?.to_owned();
        let nonce = u64::from_str_radix(words.next()?, 16).ok()?;
        Some(Greeting { first, last, program, nonce })
    }

    /// The newest version that both sides speak.
    ///
    /// # Errors
    /// `PeerIncompatible`, naming both.
    pub(super) fn agree(&self, theirs: &Greeting) -> Result<u16> {
        if self.nonce == theirs.nonce {
            return Err(incompatible("What was started there only repeats what it is told."));
        }
        let newest = self.last.min(theirs.last);
        if newest >= self.first.max(theirs.first) {
            return Ok(newest);
        }
        let older = if theirs.last < self.first { "there" } else { "here" };
        Err(Error::new(
            ErrorKind::PeerIncompatible,
            format!(
                "CsBackup {} there speaks versions {} to {} of the protocol, and CsBackup {} here {} to {}.",
                theirs.program, theirs.first, theirs.last, self.program, self.first, self.last
            ),
            format!("Install the newer package {older}."),
        ))
    }
}

/// Reads the other side's line. What is before it belongs to nobody: a login shell's start-up files wrote it.
///
/// # Errors
/// `PeerIncompatible`, quoting what came instead of the line or before it; none where nothing came at all.
pub(super) fn read(from: &mut impl Read) -> Result<Option<Greeting>> {
    let mut noise = Vec::new();
    loop {
        let mut line = Vec::new();
        let is_whole = read_line(from, &mut line, MOST_NOISE_BYTES.saturating_sub(noise.len()));
        if let Some(greeting) = is_whole.then(|| Greeting::parse(&String::from_utf8_lossy(&line))).flatten() {
            return if noise.is_empty() { Ok(Some(greeting)) } else { Err(foreign(&noise)) };
        }
        // Cut before its end: that is no other program, and may be helped by trying again.
        if !is_whole && noise.is_empty() && is_begun(&line) {
            return Ok(None);
        }
        noise.extend(line);
        if !is_whole {
            return if noise.is_empty() { Ok(None) } else { Err(foreign(&noise)) };
        }
    }
}

/// Whether this may be the beginning of a greeting.
fn is_begun(line: &[u8]) -> bool {
    let name = NAME.as_bytes();
    name.starts_with(line) || line.starts_with(name)
}

/// Whether a whole line could be read.
fn read_line(from: &mut impl Read, line: &mut Vec<u8>, most: usize) -> bool {
    let mut byte = [0];
    while line.len() < most {
        match from.read(&mut byte) {
            Ok(0) => return false,
            Ok(_) => line.extend(byte),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
        if byte == *b"\n" {
            return true;
        }
    }
    false
}

fn foreign(noise: &[u8]) -> Error {
    let text = String::from_utf8_lossy(noise);
    let shown: String =
        text.trim().chars().filter(|c| !c.is_control() || *c == '\n').take(QUOTED_CHARS).collect();
    incompatible(&format!("Something else than CsBackup's helper wrote: \"{}\".", shown.replace('\n', " / ")))
}

fn incompatible(what: &str) -> Error {
    Error::new(
        ErrorKind::PeerIncompatible,
        what,
        "Let the account's start-up files write nothing where they are not in a terminal, or give it /bin/sh as login shell; its forced command must be csb-serve.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Result<Option<Greeting>> {
        read(&mut text.as_bytes())
    }

    #[test]
    fn a_greeting_is_read_back_and_foreign_text_before_it_is_quoted() {
        let own = Greeting::own();
        assert_eq!(said(&own.line()).unwrap().unwrap(), own);
        for cut in 0..own.line().len() {
            assert_eq!(said(own.line().get(..cut).unwrap()).unwrap(), None, "it was cut");
        }
        for text in ["Welcome to atl-1!\nLast login: never\n", "no newline", "CSB1 \n", "CSB1 x-y 1 2\n"] {
            let error = said(&format!("{text}{}", own.line())).unwrap_err();
            assert_eq!(error.kind, ErrorKind::PeerIncompatible);
            assert!(error.message.contains(text.lines().next().unwrap().trim()), "{error}");
        }
        assert!(said(&"x".repeat(1 << 20)).unwrap_err().message.len() < 400);
    }

    #[test]
    fn both_use_the_newest_version_that_both_speak_or_say_who_is_older() {
        let of = |first, last, nonce| Greeting { first, last, program: "9.9".to_owned(), nonce };
        assert_eq!(of(1, 3, 1).agree(&of(2, 5, 2)).unwrap(), 3);
        assert_eq!(of(2, 3, 1).agree(&of(1, 2, 2)).unwrap(), 2);
        assert!(of(2, 3, 1).agree(&of(1, 1, 2)).unwrap_err().advice.contains("there"));
        assert!(of(1, 1, 1).agree(&of(2, 3, 2)).unwrap_err().advice.contains("here"));
        assert_eq!(of(1, 1, 7).agree(&of(1, 1, 7)).unwrap_err().kind, ErrorKind::PeerIncompatible);
    }
}
