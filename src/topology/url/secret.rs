//! Passwords that were written into a URL.

use url::form_urlencoded;

use crate::error::{Error, ErrorKind, Result};

/// What the name of a parameter has in it, signs left out, whose value is a secret.
const SECRETS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "credential",
    "accesskey",
    "accountkey",
    "signature",
];

/// Names that are secrets only if nothing else is in them.
const SHORT: [&str; 2] = ["sig", "sas"];

/// Refuses what follows the scheme of a URL if it has a password in it, or may have one.
///
/// # Errors
/// `InvalidValue`, which does not repeat it.
pub(in crate::topology) fn refuse(rest: &str) -> Result<()> {
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    if in_authority(before)
        || form_urlencoded::parse(query.as_bytes()).any(|(name, value)| in_query(&name, &value))
    {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            "A password stands in this URL, where everybody would see it who sees the URL.",
            "Take it out, change it, and write ?password-file=PATH or ?password-env=NAME, which say where it is kept.",
        ));
    }
    // What stands before an @ may be a password with a sign in it that ends the host's part.
    let after_host = rest.strip_prefix("//").and_then(|rest| rest.split_once(['/', '?', '#']));
    if after_host.is_some_and(|(host, after)| !host.is_empty() && after.contains('@')) {
        return Err(Error::new(
            ErrorKind::InvalidValue,
            "An @ stands behind the host of this URL.",
            "Write %40 for an @ that belongs to a name. A password does not belong into a URL: write ?password-file=PATH \
             or ?password-env=NAME.",
        ));
    }
    Ok(())
}

/// Whether there is a password before the host: `//user:password@host`.
fn in_authority(before_query: &str) -> bool {
    let authority = before_query.strip_prefix("//").and_then(|rest| rest.split(['/', '#']).next());
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':') || user.to_ascii_lowercase().contains("%3a"))
}

/// Whether a parameter is a secret, and not the name of the place where one is kept.
fn in_query(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let signs_left_out: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let is_reference = name.ends_with("-file") || name.ends_with("-env");
    let is_secret =
        SHORT.contains(&signs_left_out.as_str()) || SECRETS.iter().any(|word| signs_left_out.contains(word));
    // Parameters of the engine's own may have parameters in them.
    let holds_one = value.to_ascii_lowercase().contains("password=");
    (is_secret && !is_reference) || holds_one
}
