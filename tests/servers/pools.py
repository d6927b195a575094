"""The deployment under test: two paired pools, the first and its backup pool, each with a Prosody of its own."""

import hashlib
import shutil
import subprocess
from pathlib import Path

from prosody import Prosody, upload_folder

ATLANTA = "atl-cs-001.litwareinc.com"
CHICAGO = "chi-cs-001.litwareinc.com"

DEPLOYMENT = """\
central_management_store = "sqlite:cms/cms.sqlite"
local_replica = "cms/replica.json"
machine = "fe01.litwareinc.com"
"""

POOL = """
[[pools]]
fqdn = "{fqdn}"
site = "{folder}"
backup_pool = "{partner}"
user_store = {{ url = "sqlite:{database}" }}
content_store = {{ url = "file:{uploads}" }}

[pools.standby]
user_store = "sqlite:{standby_database}"
content_store = "file:{standby_uploads}"
management_store = "sqlite:{folder}/standby/cms.sqlite"
"""


class Pools:
    """Where everything of the deployment lies below one folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.deployment_file = self.folder / "deployment.toml"
        self.topology_file = self.folder / "topology.toml"
        self.atlanta = Prosody(self.folder / "atl", ATLANTA)
        self.chicago = Prosody(self.folder / "chi", CHICAGO)
        # Laid out as a data folder of Prosody, so that a server can be started on it as it is.
        self.standby_data = self.folder / "chi" / "standby"
        self.standby_database = self.standby_data / "prosody.sqlite"
        self.standby_uploads = upload_folder(self.standby_data, ATLANTA)

    def write(self):
        """Writes the deployment's files, and the folders that an administrator would make before the first backup."""
        for pool in (self.atlanta, self.chicago):
            pool.uploads.mkdir(parents=True, exist_ok=True)
        self.deployment_file.write_text(DEPLOYMENT)
        self.topology_file.write_text(
            f'central_management_pool = "{ATLANTA}"\n' + self._pool(self.atlanta, self.chicago)
            + self._pool(self.chicago, self.atlanta))

    def server_on_the_standby(self):
        """A server that uses the standby copy itself, fence and all."""
        return Prosody(self.folder / "reader", ATLANTA, data_path=self.standby_data)

    def second_server(self):
        """A server that may write: on a copy of the standby's files, and on a database that a restore is still to make."""
        server = Prosody(self.folder / "second", ATLANTA)
        shutil.copytree(self.standby_uploads, server.uploads)
        return server

    def _pool(self, pool, partner):
        standby = pool.folder / "standby"
        return POOL.format(
            fqdn=pool.host, partner=partner.host, folder=pool.folder.name, database=pool.database, uploads=pool.uploads,
            standby_database=standby / "prosody.sqlite", standby_uploads=upload_folder(standby, partner.host))


def sql(database, statement, seconds=30):
    """Runs a statement in a process of its own: a second SQLite in this one would drop the locks of the library's."""
    done = subprocess.run(
        ["sqlite3", "-batch", "-cmd", ".timeout 5000", str(database), statement],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    if done.returncode != 0:
        raise RuntimeError(f"{database}: {statement}: {done.stderr}")
    return done.stdout.splitlines()


def schema(database):
    """Every object of a database, as it was created."""
    return sql(database, "SELECT type, name, sql FROM sqlite_master ORDER BY type, name")


def footprint(server):
    """Everything that would show that somebody touched a server's data: its schema, its settings, and of each file and folder all that
    the file system knows but when it was read. What lies in the folder of uploads, which gets a marker, is not among it."""
    def known(path):
        it = path.stat()
        return it.st_ino, it.st_mode, it.st_nlink, it.st_uid, it.st_gid, it.st_size, it.st_mtime_ns, it.st_ctime_ns
    paths = [path for path in sorted(server.data_path.rglob("*")) if path != server.uploads and server.uploads not in path.parents]
    found = {str(path): known(path) for path in (server.data_path, *paths)}
    found["content"] = hashlib.sha256(server.database.read_bytes()).hexdigest()
    return found


def files(folder):
    """The uploads in a folder: name → content. What else the backup service keeps there is not among them."""
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.bin")}
