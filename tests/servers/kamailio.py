"""A Kamailio server as a pool, as Debian ships it: a registrar that keeps where its users are in SQLite."""

import socket
import subprocess
from pathlib import Path

import sip
from server import Server, free_ports

SCHEMAS = Path("/usr/share/kamailio/db_sqlite")

# Every registration is written when it is made (db_mode 1). One process writes: with several, Kamailio, which waits for no lock, refuses
# writes to itself, and ours could not be told from those. Nothing is said of SQLite's journal or time limits: they are what the package has.
CONFIGURATION = """\
log_stderror=yes
debug=2
children=1
tcp_children=1
disable_tcp=yes
auto_aliases=no
listen=udp:127.0.0.1:{sip_port}
mpath="/usr/lib/x86_64-linux-gnu/kamailio/modules/"
loadmodule "db_sqlite.so"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
modparam("usrloc", "db_url", "sqlite:///{database}")
modparam("usrloc", "db_mode", 1)
modparam("registrar", "max_expires", 3600)
request_route {{
    if (is_method("REGISTER")) {{
        if (!save("location")) sl_reply_error();
        exit;
    }}
    sl_send_reply("200", "OK");
}}
"""


class Kamailio(Server):
    """One Kamailio."""

    ERROR = r"ERROR|CRITICAL|ALERT"
    PACKAGES = ("kamailio", "kamailio-sqlite-modules")
    WRITTEN = "SELECT username || ':registration:' || cseq FROM location"
    ACCOUNT = None
    ROWS = "INSERT INTO acc(to_tag, time) SELECT {text}, '2026-01-01 00:00:00' FROM numbers"

    def __init__(self, folder, host, data_path=None):
        super().__init__(folder, host, "kamailio.sqlite", data_path)

    def configure(self):
        (self.sip_port,) = free_ports(1, socket.SOCK_DGRAM)
        configuration = self.folder / "kamailio.cfg"
        configuration.write_text(CONFIGURATION.format(**vars(self)))
        if not self.database.exists():
            # Not in this process: a second SQLite in it would drop the locks of the library's.
            schema = b"".join((SCHEMAS / f"{name}-create.sql").read_bytes() for name in ("standard", "usrloc", "acc"))
            subprocess.run(["sqlite3", "-batch", str(self.database)], input=schema, check=True, timeout=60)
        return ["kamailio", "-DD", "-E", "-f", str(configuration), "-Y", str(self.folder), "-w", str(self.folder)]

    def lacks(self):
        return [] if sip.answers(self) else ["an answer to OPTIONS"]
