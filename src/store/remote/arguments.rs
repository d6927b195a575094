//! The command line of `csb-serve`, which ssh starts by a forced command:
//!
//! ```text
//! restrict,command="csb-serve --root /srv/pools/atl --pool atl.example.com --partner chi.example.com --grant read" ssh-ed25519 …
//! ```
//!
//! What the partner asked ssh for is ignored.

use std::ffi::OsString;
use std::path::PathBuf;

use super::grants::{Grant, Grants};
use super::served::ServedPlace;
use crate::error::{Error, ErrorKind, Result};
use crate::topology::{PoolFqdn, span_of};

/// How the program is called.
pub const USAGE: &str = "csb-serve --root FOLDER --pool FQDN --partner FQDN --grant read[,write,give-back,cms] [--keep 7d] [--state FOLDER]";

/// The place that a command line names.
///
/// # Errors
/// `InvalidArgument`, naming the argument.
pub fn place_of(arguments: impl IntoIterator<Item = OsString>) -> Result<ServedPlace> {
    let (mut root, mut pool, mut partner, mut state, mut keep) = (None, None, None, None, None);
    let mut grants = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(name) = arguments.next() {
        let value = arguments.next();
        let text = || {
            let value = value.as_ref().ok_or_else(|| wrong(&format!("{} has no value.", name.display())))?;
            value.to_str().ok_or_else(|| wrong(&format!("The value of {} is not UTF-8.", name.display())))
        };
        match name.to_str().unwrap_or_default() {
            "--root" => root = Some(PathBuf::from(text()?)),
            "--state" => state = Some(PathBuf::from(text()?)),
            "--pool" => pool = Some(PoolFqdn::parse(text()?)?),
            "--keep" => keep = Some(span_of(text()?).map_err(|what| wrong(&format!("--keep: {what}.")))?),
            "--partner" => partner = Some(PoolFqdn::parse(text()?)?),
            "--grant" => {
                let named = text()?.split(',').map(str::parse).collect::<Result<Vec<Grant>>>()?;
                grants.extend(named);
            }
            _ => return Err(wrong(&format!("There is no argument {}.", name.display()))),
        }
    }
    let missing = |name: &str| wrong(&format!("{name} is missing."));
    if root.is_none() && pool.is_none() && partner.is_none() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "csb-serve was started without arguments: the key's line in authorized_keys has no forced command.",
            "Put the line that Register-CsPoolPlace prints there into authorized_keys, in place of this key's.",
        ));
    }
    let root = root.ok_or_else(|| missing("--root"))?;
    let pool = pool.ok_or_else(|| missing("--pool"))?;
    let partner = partner.ok_or_else(|| missing("--partner"))?;
    if grants.is_empty() {
        return Err(missing("--grant"));
    }
    let state = state.unwrap_or_else(state_folder).join(pool.as_str());
    let place = ServedPlace::new(&root, pool, partner, Grants::of(grants)?, state)?;
    Ok(match keep {
        Some(keep) => place.keeping(keep),
        None => place,
    })
}

/// Where programs of this account remember things.
fn state_folder() -> PathBuf {
    let own = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    own.or_else(home).unwrap_or_else(std::env::temp_dir).join("csbackup")
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::InvalidArgument, what, format!("Call it as {USAGE}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<ServedPlace> {
        place_of(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn a_command_line_that_lacks_something_is_refused_by_name() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().display();
        let whole =
            format!("--root {root} --pool atl.example.com --partner chi.example.com --grant read --state /s");
        let place = of(&whole).unwrap();
        assert_eq!(place.pool().as_str(), "atl.example.com");
        assert!(place.state().ends_with("s/atl.example.com"));
        for (line, named) in [
            ("", "no forced command"),
            ("--root", "--root"),
            ("--root /nowhere --pool a.b --partner c.d --grant read", "/nowhere"),
            (&*format!("--root {root}"), "--pool"),
            (&format!("--root {root} --pool a.b"), "--partner"),
            (&format!("--root {root} --pool a.b --partner c.d"), "--grant"),
            (&format!("--root {root} --pool a.b --partner c.d --grant lead"), "lead"),
            (&format!("--root {root} --pool a.b --partner c.d --grant write"), "write"),
            (&format!("{whole} --keep forever"), "--keep"),
            ("--rooot x", "--rooot"),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.message.contains(named), "{line}: {error}");
        }
    }
}
