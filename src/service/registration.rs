//! `Register-CsPoolPlace`: what an administrator pastes at a pool's machine, so that its partner's machine may reach the stores there.

use serde::{Deserialize, Serialize};

use super::Service;
use super::connection::stores;
use crate::config::{There, Whereabouts};
use crate::error::{Error, ErrorKind, Result};
use crate::platform::account_name;
use crate::store::access::AccessCheck;
use crate::store::factory;
use crate::store::remote::{Grant, Grants};
use crate::topology::{HistoryLimits, Pool, PoolFqdn, PoolPlace, StoreUrl, span_text};

/// The account that is named where the place names none.
const ACCOUNT: &str = "csb";
/// Where packages install the helper.
const HELPER: &str = "/usr/bin/csb-serve";
/// What stands for a key that nobody gave.
const NO_KEY: &str = "ssh-ed25519 KEY-OF-THE-PARTNER";

/// The lines, and what this account may do with the stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlaceRegistration {
    /// The pool whose stores are reached.
    pub pool_fqdn: PoolFqdn,
    /// The pool whose machine reaches them.
    pub partner_fqdn: PoolFqdn,
    /// Its place.
    pub place: String,
    /// The account that the partner's key leads to.
    pub account: String,
    /// What the partner may do.
    pub grants: Vec<String>,
    /// The line for that account's `authorized_keys`.
    pub authorized_keys_line: String,
    /// What to do, in this order.
    pub instructions: Vec<Instruction>,
    /// The account that this was asked with, whose rights are shown.
    pub checked_account: String,
    /// What that account may do with the stores.
    pub checks: Vec<AccessCheck>,
}

/// Lines to paste at one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instruction {
    /// At which pool's machine.
    pub at_pool_fqdn: PoolFqdn,
    /// What they do.
    pub purpose: String,
    /// For a shell.
    pub lines: Vec<String>,
}

impl Service {
    /// The lines that let a pool's partner reach its stores. Nothing is written.
    pub(super) fn register_place(
        &self,
        fqdn: &PoolFqdn,
        grants: &[String],
        key: Option<&str>,
        local_store: bool,
    ) -> Result<PlaceRegistration> {
        let deployment = &self.connected()?.deployment;
        let topology = deployment.documents(local_store)?.topology()?;
        let (pool, partner, _) = topology.pair(fqdn)?;
        let grants = granted(grants)?;
        let key = key.map(public_key).transpose()?;
        if let Whereabouts::There(there) = deployment.config.whereabouts(pool)? {
            return Err(elsewhere(pool, &there));
        }
        let stores = stores(deployment, &topology, pool)?;
        let mut checks = Vec::new();
        for (role, url) in &stores {
            checks.extend(factory::access(*role, url)?);
        }
        let urls: Vec<StoreUrl> = stores.into_iter().map(|(_, url)| url).collect();
        let place = pool.place.clone().or_else(|| PoolPlace::around(&urls)).ok_or_else(|| no_place(pool))?;
        let machine = &deployment.config.machine;
        let account = place.ssh().and_then(|place| place.user()).unwrap_or(ACCOUNT).to_owned();
        let line = authorized_keys_line(&place, pool, partner, &grants, key.as_deref().unwrap_or(NO_KEY))?;
        Ok(PlaceRegistration {
            instructions: instructions(pool, partner, &place, machine, &account, &line, key.is_some()),
            pool_fqdn: pool.fqdn.clone(),
            partner_fqdn: partner.fqdn.clone(),
            place: place.to_string(),
            grants: grants.0.iter().map(Grant::to_string).collect(),
            authorized_keys_line: line,
            account,
            checked_account: account_name(),
            checks,
        })
    }
}

fn granted(names: &[String]) -> Result<Grants> {
    let named: Result<Vec<Grant>> = names.iter().map(|name| name.parse()).collect();
    named.and_then(Grants::of).map_err(|error| error.at("argument", "grants"))
}

/// A public key as `ssh-keygen` writes it, on one line.
fn public_key(text: &str) -> Result<String> {
    let wrong = || {
        Error::new(
            ErrorKind::InvalidArgument,
            "This is no public key of ssh.",
            "Give the one line of the file id_ed25519.pub, as ssh-keygen wrote it: \"ssh-ed25519 AAAA… comment\".",
        )
        .at("argument", "publicKey")
    };
    let text = text.trim();
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let (Some(kind), Some(key)) = (words.next(), words.next()) else { return Err(wrong()) };
    let is_kind = kind.starts_with("ssh-") || kind.starts_with("ecdsa-") || kind.starts_with("sk-");
    let is_word =
        |word: &str, more: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let is_key = key.starts_with("AAAA") && is_word(key, "+/=");
    if !is_kind
        || !is_word(kind, "-@.")
        || !is_key
        || text.chars().any(|c| c.is_control() || "'\"\\".contains(c))
    {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

/// The key may do one thing: start the helper, for this pool, this partner and these grants.
fn authorized_keys_line(
    place: &PoolPlace,
    pool: &Pool,
    partner: &Pool,
    grants: &Grants,
    key: &str,
) -> Result<String> {
    let root =
        place.root().to_str().filter(|root| !root.contains(['"', '\'', '\\', '\n'])).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidValue,
                format!("The root {} cannot be written into a forced command.", place.root().display()),
                "Give the pool a place whose path has no quotes, backslashes or line ends.",
            )
            .at("pool", &pool.fqdn)
        })?;
    let is_plain = root.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let root = if is_plain { root.to_owned() } else { format!("'{root}'") };
    let mut options: Vec<String> = grants.0.iter().map(|grant| format!("--grant {grant}")).collect();
    if grants.0.contains(&Grant::Write) {
        options.extend(shorter_history(partner).map(|keep| format!("--keep {keep}")));
    }
    Ok(format!(
        "restrict,command=\"{} --root {root} --pool {} --partner {} {}\" {key}",
        helper(),
        pool.fqdn,
        partner.fqdn,
        options.join(" ")
    ))
}

/// For how long earlier states of the partner's copies are kept, where that is shorter than whoever writes them from elsewhere could make it.
fn shorter_history(partner: &Pool) -> Option<String> {
    let keep = partner.user_store.history.keep.min(partner.content_store.history.keep);
    (keep < HistoryLimits::default().keep).then(|| span_text(keep))
}

/// Where the helper is: beside other programs of this account, or where packages put it.
fn helper() -> String {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join("csb-serve")).find(|file| file.is_file());
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let found = found.and_then(|file| file.to_str().map(str::to_owned));
    found.filter(|file| file.starts_with('/') && file.chars().all(plain)).unwrap_or_else(|| HELPER.to_owned())
}

fn instructions(
    pool: &Pool,
    partner: &Pool,
    place: &PoolPlace,
    machine: &str,
    account: &str,
    line: &str,
    has_key: bool,
) -> Vec<Instruction> {
    let step = |at: &Pool, purpose: String, lines: Vec<String>| Instruction {
        at_pool_fqdn: at.fqdn.clone(),
        purpose,
        lines,
    };
    let helper = helper();
    let mut steps = vec![step(
        pool,
        "Look whether the helper is there that ssh is to start.".to_owned(),
        vec![format!(
            "test -x {helper} || echo '{helper} is missing: README, \"Two servers\", says how it is installed.'"
        )],
    )];
    if !has_key {
        steps.push(step(
            partner,
            "Make a key without a passphrase for the account of the backup service, and show its public half.".to_owned(),
            vec![
                "test -f ~/.ssh/id_ed25519 || ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519".to_owned(),
                "cat ~/.ssh/id_ed25519.pub".to_owned(),
            ],
        ));
    }
    steps.push(step(
        pool,
        format!("Make the account {account}, which has no password; it needs the rights of the stores, for instance as a member of their group."),
        vec![
            format!("id {account} >/dev/null 2>&1 || sudo useradd --system --create-home --shell /bin/sh {account}"),
            format!("sudo install -d -m 700 -o {account} -g {account} ~{account}/.ssh"),
        ],
    ));
    let purpose = match has_key {
        true => "Let the partner's key start the helper, and nothing else.".to_owned(),
        false => "Let the partner's key start the helper, and nothing else. Put its public half in the place of KEY-OF-THE-PARTNER.".to_owned(),
    };
    steps.push(step(
        pool,
        purpose,
        vec![
            format!("echo '{}' | sudo tee -a ~{account}/.ssh/authorized_keys", line.replace('\'', "'\\''")),
            format!("sudo chown {account}: ~{account}/.ssh/authorized_keys && sudo chmod 600 ~{account}/.ssh/authorized_keys"),
        ],
    ));
    steps.push(step(
        pool,
        "Show the host key, to be compared at the other machine.".to_owned(),
        vec!["ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub".to_owned()],
    ));
    if place.ssh().is_none() {
        steps.push(step(
            pool,
            "Give the pool this place in the topology document, under the name by which the partner's machine reaches this one, and publish it with Publish-CsTopology. Its stores are written relative to the place.".to_owned(),
            vec![
                format!("place = \"ssh://{account}@{machine}{place}\""),
                format!("computers = [\"{machine}\"]"),
            ],
        ));
    }
    let host = place.ssh().map_or(machine, |ssh| ssh.host());
    let port = place.ssh().and_then(|ssh| ssh.port()).map(|port| format!("-p {port} ")).unwrap_or_default();
    steps.push(step(
        partner,
        "As the account of the backup service: take the host key over once it was compared, and look whether everything is there. Name the deployment file of that machine.".to_owned(),
        vec![
            format!("ssh-keyscan -t ed25519 {port}{host} | tee -a ~/.ssh/known_hosts | ssh-keygen -lf -"),
            format!("pwsh -Command 'Connect-CsDeployment /srv/csbackup/deployment.toml; Test-CsPoolConnection {}'", pool.fqdn),
        ],
    ));
    steps
}

fn no_place(pool: &Pool) -> Error {
    Error::new(
        ErrorKind::InvalidValue,
        format!("{} has no place in the topology, and no folder but / holds all its stores.", pool.fqdn),
        "Move them below one folder. Give the pool place = \"ssh://csb@HOST/ROOT\", with all its stores below that root, and publish the topology.",
    )
    .at("pool", &pool.fqdn)
}

fn elsewhere(pool: &Pool, there: &There) -> Error {
    let machine = there.machine();
    Error::new(
        ErrorKind::PeerRefused,
        format!("The stores of {} are at {machine}: who may reach them is said there.", pool.fqdn),
        format!("Run the command at {machine}."),
    )
    .at("pool", &pool.fqdn)
    .at("machine", &machine)
    .at("place", there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_one_line_and_nothing_that_a_shell_or_ssh_takes_for_more() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIm csb@chi-1";
        assert_eq!(public_key(&format!(" {key}\n")).unwrap(), key);
        for wrong in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 BBBB",
            "command=\"sh\" ssh-ed25519 AAAAC3",
            "ssh-ed25519 AAAAC3\nssh-ed25519 AAAAC4",
            "ssh-ed25519 AAAAC3 it's",
            "ssh-ed25519 AAAA;id",
            "-----BEGIN OPENSSH PRIVATE KEY-----",
        ] {
            let error = public_key(wrong).unwrap_err();
            assert_eq!(
                (error.kind, error.context["argument"].as_str()),
                (ErrorKind::InvalidArgument, "publicKey")
            );
        }
    }

    #[test]
    fn grants_are_those_that_there_are_and_each_is_given_once() {
        let names =
            |names: &[&str]| granted(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["read", "Read"]).unwrap().0, [Grant::Read]);
        assert_eq!(names(&["Read", "Give-Back"]).unwrap().0, [Grant::Read, Grant::GiveBack]);
        for wrong in [&[][..], &["write"], &["everything"], &["read", "lead"]] {
            assert_eq!(names(wrong).unwrap_err().kind, ErrorKind::InvalidArgument, "{wrong:?}");
        }
    }
}
