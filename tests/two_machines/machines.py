"""Two machines of one: each has a folder and a deployment of its own, and reaches the other one by a private sshd."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "examples" / "hosts" / "python"))

ATL, CHI = "atl.example.com", "chi.example.com"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def is_possible():
    """Whether there is an sshd to be started."""
    return Path(SSHD).exists() and shutil.which("ssh") and shutil.which("ssh-keygen")


def free_port():
    """A port that nobody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Site:
    """Both machines. Use `with`, so that sshd ends."""

    def __init__(self, folder, helper, grants="read"):
        self.folder, self.grants = Path(folder).resolve(), grants
        self.helper = Path(helper).resolve()
        self.port = free_port()
        # What the relay is told, for the connections that begin from now on.
        self.line = {}
        self._sshd = None

    # ---- both machines -------------------------------------------------------------------------------------------------

    def __enter__(self):
        for name in ("atl/standby", "chi/standby", "ssh", "state", "atl/share", "chi/share"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._keys()
        self._documents()
        if os.geteuid() == 0:
            # Where a service manager starts sshd, it makes this.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        log = (self.folder / "ssh" / "log").open("w")
        self._sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", str(self.folder / "ssh" / "sshd_config")], stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                if time.monotonic() > deadline or self._sshd.poll() is not None:
                    raise RuntimeError((self.folder / "ssh" / "log").read_text()) from None
                time.sleep(0.02)

    def process_id(self):
        """That of sshd."""
        return self._sshd.pid

    def __exit__(self, *_):
        self._sshd.terminate()
        self._sshd.wait(20)

    def _keys(self):
        folder = self.folder / "ssh"
        for name in ("host", "atl", "chi"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
        lines = []
        for pool, partner in (("atl", "chi"), ("chi", "atl")):
            # The partner's key opens this pool's stores.
            key = (folder / f"{partner}.pub").read_text().strip()
            command = self.command(pool, partner)
            lines.append(f'restrict,command="{command}" {key}')
        keys = folder / "authorized_keys"
        keys.write_text("\n".join(lines) + "\n")
        keys.chmod(0o600)
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {keys}\n"
            "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            f"PidFile {folder}/pid\nMaxStartups 100\n"
        )
        host = (folder / "host.pub").read_text().split()[:2]
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {' '.join(host)}\n")

    def command(self, pool, partner):
        """What the partner's key may do."""
        fqdn = {"atl": ATL, "chi": CHI}
        return (
            f"{self.helper} --root {self.folder}/{pool} --pool {fqdn[pool]} --partner {fqdn[partner]} "
            f"--grant {self.grants} --state {self.folder}/state"
        )

    def ssh(self, machine):
        """The program that this machine uses for ssh; it goes over the line as it is described now."""
        relay = [sys.executable, str(HERE / "relay.py"), "%h", "%p"]
        relay += [part for name, value in self.line.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        proxy = f"ProxyCommand {' '.join(relay)}\n" if self.line else ""
        folder = self.folder / "ssh"
        (folder / f"config-{machine}").write_text(
            f"Host *\nIdentityFile {folder}/{machine}\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
            f"GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n{proxy}"
        )
        program = folder / f"ssh-{machine}"
        program.write_text(f'#!/bin/sh\nexec ssh -F {folder}/config-{machine} "$@"\n')
        program.chmod(0o755)
        return program

    def place(self, pool):
        """The place of a pool."""
        user = os.environ.get("USER") or "root"
        return f"ssh://{user}@127.0.0.1:{self.port}{self.folder}/{pool}"

    def _documents(self):
        def pool(name, fqdn, partner):
            return f"""
[[pools]]
fqdn = "{fqdn}"
computers = ["{name}-1"]
place = "{self.place(name)}"
backup_pool = "{partner}"
user_store = {{ url = "sqlite:users.sqlite" }}
content_store = {{ url = "file:share" }}
standby = {{ user_store = "sqlite:standby/users.sqlite", content_store = "file:standby/share", management_store = "sqlite:standby/cms.sqlite", service_store = "sqlite:standby/service.sqlite" }}
"""
        topology = f'central_management_pool = "{ATL}"\n' + pool("atl", ATL, CHI) + pool("chi", CHI, ATL)
        (self.folder / "topology.toml").write_text(topology)
        own = 'central_management_store = "sqlite:atl/cms.sqlite"'
        other = f'central_management_store = {{ place = "{self.place("atl")}", url = "sqlite:cms.sqlite", pool = "{ATL}" }}'
        for name, store in (("atl", own), ("chi", other), ("third", other)):
            text = f'{store}\nlocal_replica = "{name}.replica.json"\njobs = "jobs-{name}"\nmachine = "{name}-1"\n'
            (self.folder / f"{name}.toml").write_text(text)

    # ---- what is at them -----------------------------------------------------------------------------------------------

    def fill(self, rows=2_000, files=20, pool="atl"):
        """A user store and conference files."""
        with sqlite3.connect(self.folder / pool / "users.sqlite") as server:
            server.execute("PRAGMA journal_mode = WAL")
            server.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, x)")
            server.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO t (x) SELECT hex(randomblob(100)) FROM n",
                (rows,),
            )
        server.close()
        share = self.folder / pool / "share"
        for number in range(files):
            file = share / f"{number % 7}" / f"slides {number}.pptx"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(os.urandom(500 + 97 * number))

    def rows(self, path):
        """What a user store or its copy holds."""
        with sqlite3.connect(f"file:{self.folder / path}?mode=ro", uri=True) as reader:
            found = reader.execute("SELECT id, x FROM t ORDER BY id").fetchall()
        reader.close()
        return found

    def files(self, path):
        """What a content store or its copy holds."""
        share = self.folder / path
        return {
            str(file.relative_to(share)): file.read_bytes()
            for file in sorted(share.rglob("*"))
            if file.is_file() and ".csb" not in file.parts
        }

    def assert_copied(self, source="atl", at="chi"):
        """Whether the copies are as their sources."""
        assert self.rows(f"{at}/standby/users.sqlite") == self.rows(f"{source}/users.sqlite"), "the user store differs"
        assert self.files(f"{at}/standby/share") == self.files(f"{source}/share"), "the content store differs"

    def open(self, machine, library=None):
        """The service of one machine, with the line as it is described now."""
        from cs_backup import BackupService

        os.environ["CSBACKUP_SSH"] = str(self.ssh(machine))
        return BackupService(self.folder / f"{machine}.toml", library)


class Machine:
    """The service of one machine in a process of its own, which may be killed. Use `with`, so that it ends."""

    def __init__(self, site, name, library=None, reach=None):
        environment = {**os.environ, "CSBACKUP_SSH": str(site.ssh(name))}
        deployment = site.folder / f"{name}.toml"
        if reach:
            text = deployment.read_text().split("\n[reach]")[0]
            lines = [f'"{pool}" = "{way}"' for pool, way in reach.items()]
            deployment = site.folder / f"{name}-reach.toml"
            deployment.write_text("\n".join([text, "[reach]", *lines, ""]))
        command = [sys.executable, __file__, str(deployment), str(library or "")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def begin(self, what, **fields):
        """Asks, and waits for nothing."""
        print(json.dumps({"what": what, **fields}), file=self.process.stdin, flush=True)

    def answer(self):
        """The answer to what was asked; none from a process that was killed."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def ask(self, what, **fields):
        """Asks, and waits for the answer."""
        self.begin(what, **fields)
        return self.answer()


def _serve(deployment, library):
    """Answers until there are no more lines: a sync by its report and how long it took, anything else is a request."""
    from cs_backup import BackupService, CsBackupError

    with BackupService(deployment, library or None) as service:
        for line in sys.stdin:
            document = json.loads(line)
            what = document.pop("what")
            began = time.perf_counter()
            try:
                reply = service.sync(**document) if what == "sync" else service.request(what, **document)
            except CsBackupError as error:
                reply = {"error": error.document}
            print(json.dumps({**reply, "seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:3])
