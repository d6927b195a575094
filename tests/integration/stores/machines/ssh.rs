//! The same pair, joined by a real ssh server of the test's own.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cs_backup::error::ErrorKind;
use cs_backup::service::Service;
use serde_json::{Value, json};

use super::pair::{Pair, Reach, live, refuse};
use crate::support::*;

/// Where distributions have the server, which is on nobody's PATH.
const SERVERS: [&str; 2] = ["/usr/sbin/sshd", "/usr/lib/openssh/sshd"];

/// Says in the process of a test's own that it is that.
const INSIDE: &str = "CSB_TEST_SSH";

/// How long the server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// An ssh server with keys of its own, and a client's configuration for it.
struct Server {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    std::fs::read_to_string(file.with_extension("pub")).unwrap().trim().to_owned()
}

fn write(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Server {
    fn start(program: &str, folder: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let at = |name: &str| folder.join(name).display().to_string();
        key(folder, "host");
        write(&folder.join("authorized_keys"), "");
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nPidFile none\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nSetEnv XDG_STATE_HOME={}\nLogLevel ERROR\n",
            at("host"),
            at("authorized_keys"),
            at("state")
        );
        write(&folder.join("sshd_config"), &settings);
        let child = Command::new(program)
            .args(["-D", "-e", "-f", &at("sshd_config")])
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("sshd.log")).unwrap())
            .spawn()
            .unwrap();
        let server = Server { folder: folder.to_owned(), port, child };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = std::fs::read_to_string(folder.join("sshd.log")).unwrap();
            assert!(began.elapsed() < PATIENCE, "the server does not listen: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server.knows_host(&std::fs::read_to_string(folder.join("host.pub")).unwrap());
        server
    }

    fn knows_host(&self, public: &str) {
        write(&self.folder.join("known_hosts"), &format!("[127.0.0.1]:{} {public}\n", self.port));
    }

    fn authorize(&self, lines: &[&str]) {
        write(&self.folder.join("authorized_keys"), &(lines.join("\n") + "\n"));
    }
}

/// The folder of the process of the test's own, in which `ssh` is a program that takes its configuration from there. None where this
/// process only started that one, or there is no ssh server.
fn inside() -> Option<(PathBuf, &'static str)> {
    if let Some(folder) = std::env::var_os(INSIDE) {
        let server = SERVERS.into_iter().find(|server| Path::new(server).exists()).unwrap();
        return Some((PathBuf::from(folder), server));
    }
    let has_client = ["ssh", "ssh-keygen"].iter().all(|program| {
        Command::new(program)
            .arg("-V")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
    });
    if !has_client || !SERVERS.iter().any(|server| Path::new(server).exists()) {
        eprintln!(
            "skipped: a pair joined by ssh: there is no ssh server on this machine (the package openssh-server has it)"
        );
        return None;
    }
    if rustix::process::geteuid().is_root() {
        // The server of root wants it for its own processes.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config");
    let ssh = folder.path().join("ssh");
    std::fs::write(&ssh, format!("#!/bin/sh\nexec ssh -F '{}' \"$@\"\n", config.display())).unwrap();
    std::fs::set_permissions(&ssh, std::fs::Permissions::from_mode(0o755)).unwrap();
    let helper = Path::new(env!("CARGO_BIN_EXE_csb-serve")).parent().unwrap();
    let path = format!("{}:{}", helper.display(), std::env::var("PATH").unwrap());
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "stores::machines::ssh::a_pair_of_two_machines_lives_through_ssh", "--nocapture"])
        .env(INSIDE, folder.path())
        .env("CSBACKUP_SSH", &ssh)
        .env("PATH", path)
        .output()
        .unwrap();
    let (said, noted) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && said.contains("1 passed"), "{said}{noted}");
    None
}

fn line(service: &Service, pool: &str, key: &str) -> String {
    let request =
        json!({ "request": "registerPoolPlace", "poolFqdn": pool, "grants": ["read"], "publicKey": key });
    ask(service, request).unwrap()["authorizedKeysLine"].as_str().unwrap().to_owned()
}

fn connection(service: &Service, pool: &str) -> cs_backup::error::Result<Value> {
    ask(service, json!({ "request": "testPoolConnection", "poolFqdn": pool, "localStore": true }))
}

#[test]
fn a_pair_of_two_machines_lives_through_ssh() {
    let Some((folder, program)) = inside() else { return };
    let server = Server::start(program, &folder);
    let (of_atlanta, of_chicago) = (key(&folder, "key-of-atl"), key(&folder, "key-of-chi"));
    let host = |name: &str, identity: &str| {
        format!(
            "Host {name}\n HostName 127.0.0.1\n Port {}\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n",
            server.port,
            folder.join(identity).display(),
            folder.join("known_hosts").display()
        )
    };
    write(&folder.join("config"), &(host("atl-1", "key-of-chi") + &host("chi-1", "key-of-atl")));
    let pair = Pair::joined(&Reach { hosts: ["atl-1", "chi-1"].map(str::to_owned), way: None });

    // No key yet: a refusal that says so, and nothing is asked at a terminal.
    let refused = ask(&pair.chicago, json!({ "request": "getPools" })).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::PeerRefused, "{refused:#?}");
    assert!(
        refused.message.contains("key") && refused.context["place"].starts_with("ssh://atl-1/"),
        "{refused:#?}"
    );

    // What is printed at each machine is pasted there.
    let to_atlanta = line(&pair.atlanta, ATL, &of_chicago);
    server.authorize(&[&to_atlanta]);
    let to_chicago = line(&pair.chicago, CHI, &of_atlanta);
    server.authorize(&[&to_atlanta, &to_chicago]);
    for (service, pool) in [(&pair.chicago, ATL), (&pair.atlanta, CHI)] {
        let seen = connection(service, pool).unwrap();
        assert_eq!(
            (&seen["succeeded"], &seen["line"]["servedPoolFqdn"]),
            (&json!(true), &json!(pool)),
            "{seen:#}"
        );
        assert!(seen["line"]["hostKeys"][0].as_str().unwrap().starts_with("ED25519 SHA256:"), "{seen:#}");
        assert_eq!(seen["warnings"], json!([]));
    }
    refuse(&pair);
    live(&pair);

    // A machine that is another one by now, and a key that opens another pool.
    let again = |pool: &str| {
        let service = pair.sample.another_on(&pair.path("machine-chi/deployment.toml"));
        connection(&service, pool).unwrap_err()
    };
    server.authorize(&[&to_atlanta.replace(ATL, CHI)]);
    let other_pool = again(ATL);
    assert_eq!(other_pool.kind, ErrorKind::PeerRefused, "{other_pool:#?}");
    assert!(other_pool.message.contains(CHI), "{other_pool:#?}");
    server.authorize(&[&to_atlanta]);
    let other_host = key(&folder, "another-host");
    server.knows_host(&other_host);
    let changed = again(ATL);
    assert_eq!(changed.kind, ErrorKind::PeerRefused, "{changed:#?}");
    assert!(changed.message.contains("host key") && changed.advice.contains("ssh-keygen"), "{changed:#?}");
    // And one that is gone.
    drop(server);
    let gone = again(ATL);
    assert_eq!((gone.kind, gone.retryable), (ErrorKind::StoreUnavailable, true), "{gone:#?}");
    assert!(gone.causes.iter().any(|cause| cause.contains("refused")), "{gone:#?}");
}
