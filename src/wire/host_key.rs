//! Which host keys ssh would accept for a machine, so that a person can compare them with what is read there.

use std::process::{Command, Stdio};

use super::Route;
use super::route::ssh_program;

/// The port that ssh means where none is named.
const SSH_PORT: &str = "22";

impl Route {
    /// The host keys that this account's ssh knows of the machine, as ssh shows them: `ED25519 SHA256:…`. None for a program of this
    /// machine, and where nothing is known.
    pub fn host_keys(&self) -> Vec<String> {
        let Route::Ssh { host, port, .. } = self else { return Vec::new() };
        let mut asked = vec!["-G".to_owned()];
        asked.extend(port.iter().flat_map(|port| ["-p".to_owned(), port.to_string()]));
        asked.extend(["--".to_owned(), host.clone()]);
        let configuration = output(&ssh_program(), &asked);
        let setting = |name: &str| {
            let line =
                configuration.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name));
            line.map(|(_, value)| value)
        };
        let name = match (setting("hostkeyalias"), setting("hostname").unwrap_or(host), setting("port")) {
            (Some(alias), ..) if alias != "none" => alias.to_owned(),
            (_, name, Some(port)) if port != SSH_PORT => format!("[{name}]:{port}"),
            (_, name, _) => name.to_owned(),
        };
        let files = [setting("userknownhostsfile"), setting("globalknownhostsfile")];
        let mut found: Vec<String> = files
            .into_iter()
            .flatten()
            .flat_map(str::split_whitespace)
            .flat_map(|file| known(&name, &home(file)))
            .collect();
        found.sort();
        found.dedup();
        found
    }
}

/// A file as ssh names it.
fn home(file: &str) -> String {
    match (file.strip_prefix("~/"), std::env::var("HOME")) {
        (Some(rest), Ok(home)) => format!("{home}/{rest}"),
        _ => file.to_owned(),
    }
}

/// The keys that a file of known hosts has of a machine.
fn known(name: &str, file: &str) -> Vec<String> {
    let asked = ["-l", "-F", name, "-f", file].map(str::to_owned);
    let lines = output("ssh-keygen", &asked);
    let key = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let print = words.iter().position(|word| word.starts_with("SHA256:"))?;
        let kind = words.get(print.checked_sub(1)?)?;
        Some(format!("{kind} {}", words.get(print)?))
    };
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(key).collect()
}

/// What a program says; nothing where it fails.
fn output(program: &str, arguments: &[String]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}
