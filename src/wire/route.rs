//! How the other process is started.

use std::io;
use std::process::{Child, Command, Stdio};

use crate::error::{Error, ErrorKind, Result};
use crate::platform::in_own_group;

/// The program that is asked for at the other machine. It is constant: nothing has to be quoted for any shell, and a forced command takes
/// its place.
const HELPER: &str = "csb-serve";

/// Names another program than `ssh`, which takes the same arguments.
const SSH_VARIABLE: &str = "CSBACKUP_SSH";

/// Never a password, never a forwarding, never a host whose key is not known, whatever the account's own configuration says; a line that is
/// dead is noticed.
const OPTIONS: [&str; 9] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "PermitLocalCommand=no",
    "Compression=no",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=4",
    "ConnectTimeout=15",
];

/// What is started as ssh.
pub(super) fn ssh_program() -> String {
    std::env::var(SSH_VARIABLE).unwrap_or_else(|_| "ssh".to_owned())
}

/// The way to a helper.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Route {
    /// Through the system's ssh, with the account's own configuration, keys and known hosts.
    Ssh {
        /// The account there; none for what ssh's configuration says.
        user: Option<String>,
        /// The host; names are checked where they are read.
        host: String,
        /// The port; none for what ssh's configuration says.
        port: Option<u16>,
    },
    /// A program of this machine, and its arguments.
    Command(Vec<String>),
}

impl Route {
    /// What is started.
    fn arguments(&self) -> Vec<String> {
        match self {
            Route::Command(arguments) => arguments.clone(),
            Route::Ssh { user, host, port } => {
                let mut arguments = vec![ssh_program(), "-T".to_owned()];
                arguments.extend(OPTIONS.into_iter().flat_map(|option| ["-o".to_owned(), option.to_owned()]));
                arguments.extend(port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
                arguments.extend(user.iter().flat_map(|user| ["-l".to_owned(), user.clone()]));
                arguments.extend(["--".to_owned(), host.clone(), HELPER.to_owned()]);
                arguments
            }
        }
    }

    /// Starts it, in a process group of its own: Ctrl+C in a terminal is ours to answer first.
    ///
    /// # Errors
    /// `StoreUnavailable` where it cannot be started.
    pub(super) fn start(&self) -> Result<Child> {
        let arguments = self.arguments();
        let (program, rest) =
            arguments.split_first().ok_or_else(|| no_program("", &io::ErrorKind::NotFound.into()))?;
        let mut command = Command::new(program);
        command.args(rest).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        in_own_group(&mut command);
        command.spawn().map_err(|cause| no_program(program, &cause))
    }
}

fn no_program(program: &str, cause: &io::Error) -> Error {
    Error::new(
        ErrorKind::StoreUnavailable,
        format!("{program} cannot be started."),
        "Install it (the package openssh-client has ssh), or correct [reach] in deployment.toml.",
    )
    .at("program", program)
    .caused_by(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_is_constant_but_for_account_host_and_port() {
        let route = |user: Option<&str>, port| {
            let user = user.map(str::to_owned);
            Route::Ssh { user, host: "atl-1".to_owned(), port }.arguments().split_off(1)
        };
        let plain = route(None, None);
        assert_eq!(plain.first().unwrap(), "-T");
        assert_eq!(plain.iter().filter(|argument| *argument == "-o").count(), OPTIONS.len());
        assert!(plain.contains(&"StrictHostKeyChecking=yes".to_owned()), "{plain:?}");
        assert_eq!(plain[plain.len() - 3..], ["--", "atl-1", "csb-serve"]);
        let whole = route(Some("csb"), Some(2222));
        assert_eq!(whole[whole.len() - 7..], ["-p", "2222", "-l", "csb", "--", "atl-1", "csb-serve"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Route::Command(vec!["/nowhere/csb-serve".to_owned()]).start().unwrap_err();
        assert_eq!(error.kind, ErrorKind::StoreUnavailable);
        assert!(error.message.contains("/nowhere/csb-serve"), "{error}");
    }
}
