"""A Prosody server as a pool: an ordinary program on loopback, with everything it keeps in one folder."""

import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

READY_WITHIN_SECONDS = 120
STOPPED_WITHIN_SECONDS = 60

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


class Prosody:
    """One server, running in a `with` block.

    `folder` receives configuration and log; `data_path` may be a standby copy of another server's data.
    """

    def __init__(self, folder, host, data_path=None):
        self.folder = Path(folder)
        self.host = host
        self.data_path = Path(data_path or self.folder / "data")
        self.database = self.data_path / "prosody.sqlite"
        self.uploads = upload_folder(self.data_path, host)
        self.log = []
        self._log_grew = threading.Condition()
        self._ended = False
        self._process = None
        self._reader = None

    def __enter__(self):
        """Starts the server and returns when it accepts clients and uploads."""
        self.data_path.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.c2s_port, self.http_port = _free_ports(2)
        configuration = self.folder / "prosody.cfg.lua"
        modules = Path(__file__).resolve().parent / "prosody_modules"
        configuration.write_text(CONFIGURATION.format(modules=modules, **vars(self)))
        # A group of its own, so that stopping reaches whatever the server itself may have started; and an end of its
        # own should this program be killed.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "prosody", "-F", "--config", str(configuration)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def _stop(self):
        _signal_group(self._process, signal.SIGTERM)
        try:
            self._process.wait(STOPPED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(self._process, signal.SIGKILL)
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def errors(self):
        """What the server logged as an error, a failed database transaction included."""
        return self._find(r"\serror\t")

    def _find(self, pattern):
        with self._log_grew:
            return [line for line in self.log if re.search(pattern, line)]

    def _read_log(self):
        with open(self.folder / "prosody.log", "a", buffering=1) as file:
            for line in self._process.stdout:
                file.write(line)
                with self._log_grew:
                    self.log.append(line.rstrip("\n"))
                    self._log_grew.notify_all()
        with self._log_grew:
            self._ended = True
            self._log_grew.notify_all()

    def _wait_until_ready(self):
        with self._log_grew:
            self._log_grew.wait_for(lambda: self._logged("Ready") or self._ended, READY_WITHIN_SECONDS)
            ports = (("c2s", self.c2s_port), ("http", self.http_port))
            missing = [port for name, port in ports if not self._logged(f"'{name}' on [127.0.0.1]:{port}")]
            if missing or self._ended or not self._logged("Ready"):
                raise RuntimeError(
                    f"Prosody of {self.host} is not ready after {READY_WITHIN_SECONDS} s, or ended, or has not got "
                    f"the ports {missing}. It logged:\n" + "\n".join(self.log))

    def _logged(self, end):
        return any(line.endswith(end) for line in self.log)


def _free_ports(count):
    """Ports of the loopback interface that nobody listens on; all are held until all are found, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
