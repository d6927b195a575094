"""What the workloads work on: a deployment, user stores and file trees; the same for every run with the same size."""

import random
import shutil
import subprocess
from pathlib import Path

from service import ServiceProcess

POOL = "atl-cs-001.litwareinc.com"
USER_STORE, CONTENT_STORE = "UserServices.PresenceFocus", "ConfServices.DataConf"
CONTACTS = 80

FILL = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
BEGIN;
DELETE FROM users; DELETE FROM contacts; DELETE FROM presence;
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users})
INSERT INTO users SELECT i, 'sip:user' || i || '@litwareinc.com', 'User Number ' || i FROM n;
INSERT INTO presence SELECT id, 'Note of ' || id, zeroblob(64) FROM users;
WITH RECURSIVE c (j) AS (SELECT 1 UNION ALL SELECT j + 1 FROM c WHERE j < {contacts})
INSERT INTO contacts
SELECT id, 'sip:user' || (1 + (id * 7919 + j * 104729) % 10000000) || '.' || (100 + j) || '@litwareinc.com', 'Colleagues', 1700000000000 + id
FROM users, c ORDER BY id, 2;
COMMIT;
PRAGMA journal_mode = {journal_mode};
"""


class Deployment:
    """A pair of pools with hardly any data, in a new folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        with ServiceProcess() as service:
            made = service.request("createSampleDeployment", folder=str(folder), users=0, contactsPerUser=0, files=1)
        self.file = made["deploymentFile"]
        self.users, self.users_copy = self.folder / "atl/users.sqlite", self.folder / "chi/standby/atl.sqlite"
        self.share, self.share_copy = self.folder / "atl/share", self.folder / "chi/standby/atl"

    def take_share(self, share):
        """Has a tree of files as the pool's content; nothing knows yet whose content it was before."""
        if self.share.exists():
            shutil.rmtree(self.share)
        shutil.rmtree(share / ".csb", ignore_errors=True)
        share.rename(self.share)


def sql(database, statements):
    """Runs SQL in a process of its own."""
    command = ["sqlite3", "-bail", "-cmd", ".timeout 30000", str(database), statements]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def fill_users(database, users, journal_mode="WAL"):
    """So many users with CONTACTS contacts each."""
    sql(database, FILL.format(users=users, contacts=CONTACTS, journal_mode=journal_mode))


def require_equal(database, other):
    """Refuses copies that differ in a row of the server's."""
    same = {
        "users": "a.id = b.id AND a.sip_uri IS b.sip_uri AND a.display_name IS b.display_name",
        "contacts": "a.owner = b.owner AND a.sip_uri = b.sip_uri AND a.groups IS b.groups AND a.added_ms IS b.added_ms",
        "presence": "a.owner = b.owner AND a.note IS b.note AND a.card IS b.card",
    }
    for table, condition in same.items():
        counts = sql(
            database,
            f"ATTACH '{other}' AS other; SELECT count(*) FROM main.{table}; SELECT count(*) FROM other.{table};"
            f"SELECT count(*) FROM main.{table} a CROSS JOIN other.{table} b ON {condition};",
        ).split()
        if len(set(counts)) != 1:
            raise AssertionError(f"{table} of {database} and {other}: {counts} rows here, there and the same in both")


def require_equal_trees(tree, other):
    """Refuses trees that differ in a name, a content or a modification time."""
    differing = subprocess.run(
        ["rsync", "-rltn", "--checksum", "--delete", "--itemize-changes", "--modify-window=-1", "--exclude=/.csb", f"{tree}/", f"{other}/"],
        check=True, capture_output=True, text=True,
    ).stdout
    # rsync leaves the times of folders that another program made as they are.
    lines = [line for line in differing.splitlines() if not line.startswith(".d..t")]
    if lines:
        raise AssertionError(f"{other} differs from {tree}: {lines[:5]}")


# Of a hundred files, how many are at most so large.
SIZES = [(55, 16 << 10), (35, 256 << 10), (9, 2 << 20), (1, 16 << 20)]


def make_share(folder, files, seed=1):
    """Files as in a share of conference content: many small ones, few large ones, none compressible."""
    rest = random.Random(seed)
    noise = rest.randbytes((16 << 20) + (1 << 16))
    for number in range(files):
        draw = rest.randrange(100)
        for share, largest in SIZES:
            if draw < share:
                break
            draw -= share
        smallest = largest // 16
        path = folder / f"conference-{number // 50:04}" / f"file-{number:06}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        begin = rest.randrange(1 << 16)
        path.write_bytes(noise[begin:begin + rest.randint(smallest, largest)])


def make_tiny(folder, files, in_each=1000):
    """Many files of a few bytes, so many in each folder."""
    for number in range(files):
        if number % in_each == 0:
            inside = folder / f"{number // in_each:04}"
            inside.mkdir(parents=True)
        (inside / f"{number:07}.txt").write_bytes(b"%d\n" % number)


def make_large(path, size, seed=2):
    """One file of that many bytes, none compressible."""
    rest = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for _ in range(size >> 20):
            file.write(rest.randbytes(1 << 20))


def change_share(share, round_number):
    """One file in a hundred is written anew, one is new for each of them, and one in a thousand moves to another folder."""
    files = sorted(path for path in share.glob("conference-*/*") if path.name.startswith("file-"))
    content = random.Random(round_number)
    moved = share / f"moved-{round_number}"
    for number, path in enumerate(files):
        if number % 100 == round_number % 100:
            content_now = content.randbytes(path.stat().st_size)
            path.write_bytes(content_now)
            path.with_name(f"new-{round_number}-{path.name}").write_bytes(content_now[::-1])
        elif number % 1000 == (round_number + 1) % 1000:
            moved.mkdir(exist_ok=True)
            path.rename(moved / path.name)
