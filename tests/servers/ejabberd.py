"""An ejabberd server as a pool, as Debian ships it, with SQLite for all that it keeps."""

import re
import subprocess
from pathlib import Path

from server import Server, free_ports

PACKAGE = Path("/usr/share/ejabberd")

# What replaces the sections of these names in the configuration that the package brings: where it listens, and SQLite.
OURS = """\
hosts: ["{host}"]
listen:
  - {{ port: {c2s_port}, ip: "127.0.0.1", module: ejabberd_c2s, max_stanza_size: 262144, shaper: c2s_shaper, access: c2s }}
disable_sasl_mechanisms: ["digest-md5", "X-OAUTH2"]
default_db: sql
sql_type: sqlite
sql_database: "{database}"
"""
REPLACED = ("hosts", "certfiles", "listen", "disable_sasl_mechanisms")


def _sections():
    """The configuration that the package brings: name of a section → its text."""
    text = (PACKAGE / "ejabberd.yml.example").read_text()
    return {part.split(":")[0]: part for part in re.split(r"(?m)^(?=[a-z_0-9]+:)", text)[1:]}


class Ejabberd(Server):
    """One ejabberd. Without a name in Erlang's network, so that nothing of it outlives it."""

    ERROR = r"\[(error|critical|emergency|alert)\]"
    PACKAGES = ("ejabberd", "erlang-p1-sqlite3")
    WRITTEN = "SELECT nick FROM rosterusers; SELECT xml FROM spool"
    ACCOUNT = "INSERT INTO users(username, password) VALUES ('{user}', '{password}')"
    ROWS = """INSERT INTO archive(username, timestamp, peer, bare_peer, xml, txt)
        SELECT 'somebody', n, '', '', {text}, '' FROM numbers"""

    def __init__(self, folder, host, data_path=None):
        super().__init__(folder, host, "ejabberd.sqlite", data_path)

    def configure(self):
        (self.c2s_port,) = free_ports(1)
        self._configuration = self.folder / "ejabberd.yml"
        kept = [text for name, text in _sections().items() if name not in REPLACED]
        self._configuration.write_text(OURS.format(**vars(self)) + "\n".join(kept))
        if not self.database.exists():
            # Not in this process: a second SQLite in it would drop the locks of the library's.
            with open(PACKAGE / "sql" / "lite.sql", "rb") as schema:
                subprocess.run(["sqlite3", "-batch", str(self.database)], stdin=schema, check=True, timeout=60)
        return ["erl", "-noinput", "-mnesia", "dir", f'"{self.folder / "mnesia"}"', "-s", "ejabberd"]

    def environment(self):
        return {
            "EJABBERD_CONFIG_PATH": str(self._configuration), "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
            "ERL_LIBS": "/usr/lib/x86_64-linux-gnu", "ERL_CRASH_DUMP": str(self.folder / "crash.dump"), "HOME": str(self.folder),
        }

    def lacks(self):
        ends = ("is started in the node", f"Start accepting TCP connections at 127.0.0.1:{self.c2s_port}")
        return [end for end in ends if not self.logged(re.escape(end))]
