"""A Prosody server as a pool."""

import re
from pathlib import Path

from server import Server, free_ports

CONFIGURATION = """\
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{data_path}"
plugin_paths = {{ "{modules}" }}
certificates = "{folder}"
log = {{ {{ levels = {{ min = "info" }}, to = "console", timestamps = "%H:%M:%S" }} }}

modules_enabled = {{
    "roster", "saslauth", "disco", "private", "vcard4", "pep", "register", "ping", "blocklist", "carbons", "mam",
    "bookmarks", "tell_ready"
}}
modules_disabled = {{ "s2s" }}
allow_registration = true
authentication = "internal_hashed"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true

storage = "sql"
sql = {{ driver = "SQLite3", database = "{database}" }}

network_default_read_size = 65536
interfaces = {{ "127.0.0.1" }}
http_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s_port} }}
http_ports = {{ {http_port} }}
https_ports = {{ }}
http_external_url = "http://127.0.0.1:{http_port}/"
http_default_host = "upload.{host}"

VirtualHost "{host}"
Component "upload.{host}" "http_file_share"
"""


def upload_folder(data_path, host):
    """The folder below `data_path` in which http_file_share of `host` keeps uploads."""
    encoded_host = re.sub("[^A-Za-z0-9]", lambda found: f"%{ord(found[0]):02x}", f"upload.{host}")
    return Path(data_path) / encoded_host / "http_file_share"


class Prosody(Server):
    """One Prosody; `uploads` is where it keeps the files of its users."""

    ERROR = r"\serror\t"
    PACKAGES = ("prosody", "lua-dbi-sqlite3")
    WRITTEN = "SELECT value FROM prosody WHERE store = 'roster'; SELECT value FROM prosodyarchive WHERE store = 'offline'"
    ACCOUNT = "INSERT INTO prosody VALUES ('{host}', '{user}', 'accounts', 'password', 'string', '{password}')"
    ROWS = """INSERT INTO prosodyarchive(host, user, store, key, "when", "with", type, value)
        SELECT '{host}', 'somebody', 'old', n, n, '', 'json', {text} FROM numbers"""

    def __init__(self, folder, host, data_path=None):
        super().__init__(folder, host, "prosody.sqlite", data_path)
        self.uploads = upload_folder(self.data_path, host)

    def configure(self):
        self.c2s_port, self.http_port = free_ports(2)
        configuration = self.folder / "prosody.cfg.lua"
        modules = Path(__file__).resolve().parent / "prosody_modules"
        configuration.write_text(CONFIGURATION.format(modules=modules, **vars(self)))
        return ["prosody", "-F", "--config", str(configuration)]

    def lacks(self):
        ends = (f"'c2s' on [127.0.0.1]:{self.c2s_port}", f"'http' on [127.0.0.1]:{self.http_port}", "Ready")
        return [end for end in ends if not self.logged(re.escape(end) + "$")]
