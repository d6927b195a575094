"""writers: what a server's own writes take while the store is synchronized every second, and how long jobs keep a writer waiting."""

import re
import sqlite3
import statistics
import threading
import time

from measure import Result, Target
from service import ServiceProcess
from stores import POOL, USER_STORE, Deployment, fill_users

# A job may hold a lock of the server's database this long, where it may hold one at all.
LONGEST_LOCK_MS = 100
LIMIT = 1.02
# For so long each side writes in a round.
SECONDS = 6
# Synchronous as servers set it for the journal mode.
JOURNALS = {"WAL": "NORMAL", "DELETE": "FULL"}


def writes(root, users, rounds, transactions=2_000, bulk_rows=100_000):
    """The same writes to a database that is synchronized every second and to one that nobody copies, in turn."""
    results = []
    for journal, synchronous in JOURNALS.items():
        deployment = Deployment(root / journal)
        fill_users(deployment.users, users, journal)
        plain = root / f"plain-{journal}.sqlite"
        plain.write_bytes(deployment.users.read_bytes())
        for kind, work in (("small transactions", _small), ("one bulk transaction", _bulk)):
            amount = transactions if work is _small else bulk_rows
            result = Result("writers", f"{kind} of {amount} each, journal {journal}, {users} users")
            result.rows.extend(_compare(work, deployment, plain, journal, synchronous, amount, rounds))
            ratio = statistics.mean(row["ratio"] for row in result.rows)
            result.targets.append(Target(LIMIT, ("the same writes without us",), ratio, ratio <= LIMIT))
            results.append(result)
    return results


class _Syncing:
    """Synchronizes every second until it is left. A store that was too busy is tried again with the next one."""

    def __init__(self, deployment):
        self._service = ServiceProcess(deployment.file)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stopped.wait(1):
            try:
                self._service.sync(USER_STORE, POOL)
            except RuntimeError:
                pass

    def __enter__(self):
        self._service.__enter__()
        self._service.sync(USER_STORE, POOL)
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._stopped.set()
        self._thread.join()
        self._service.__exit__(*failure)


def _connect(database, journal, synchronous):
    connection = sqlite3.connect(database, isolation_level=None, timeout=30)
    connection.execute(f"PRAGMA journal_mode = {journal}").fetchall()
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    return connection


STATEMENTS = {
    "insert": "INSERT INTO contacts (owner, sip_uri, groups, added_ms) VALUES (?1, 'new' || ?2, 'Friends', ?2)",
    "update": "UPDATE contacts SET groups = 'Changed', added_ms = added_ms + 1 WHERE owner = ?1 AND sip_uri = 'new' || ?2",
    "delete": "DELETE FROM contacts WHERE owner = ?1 AND sip_uri = 'new' || ?2",
}


def _small(connection, statement, keys):
    for key in keys:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(statement, key)
        connection.execute("COMMIT")


def _bulk(connection, statement, keys):
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(statement, keys)
    connection.execute("COMMIT")


def _compare(work, deployment, plain, journal, synchronous, amount, rounds):
    """In each round both write the same keys for some seconds, another one first, so that several syncs fall into it."""
    measured = []
    for number in range(rounds + 1):
        def with_us():
            with _Syncing(deployment):
                return _times(work, deployment.users, journal, synchronous, amount)

        def without():
            return _times(work, plain, journal, synchronous, amount)

        if number % 2:
            ours, theirs = with_us(), without()
        else:
            theirs, ours = without(), with_us()
        if number > 0:
            measured.append((ours, theirs))
    for name in STATEMENTS:
        ratios = [ours[name] / theirs[name] for ours, theirs in measured]
        yield {"name": name, "seconds": statistics.median(ours[name] for ours, _ in measured), "ratio": statistics.median(ratios),
               "lowest": min(ratios), "highest": max(ratios), "mebibytes": None}


def _times(work, database, journal, synchronous, amount):
    """The mean of each statement, over and over for some seconds: what a sync costs falls onto few of them."""
    connection = _connect(database, journal, synchronous)
    users = connection.execute("SELECT max(id) FROM users").fetchone()[0]
    keys = [(1 + (i * 7919) % users, i) for i in range(amount)]
    taken = {name: [] for name in STATEMENTS}
    until = time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        for name, statement in STATEMENTS.items():
            started = time.perf_counter()
            work(connection, statement, keys)
            taken[name].append(time.perf_counter() - started)
    connection.close()
    return {name: statistics.mean(seconds) for name, seconds in taken.items()}


class Writer(threading.Thread):
    """Writes small transactions without a pause and keeps the longest time one took."""

    def __init__(self, database, journal):
        super().__init__(daemon=True)
        self._database, self._journal = database, journal
        self._stopped = threading.Event()
        self.longest = 0.0
        self.written = 0

    def run(self):
        connection = _connect(self._database, self._journal, JOURNALS[self._journal])
        while not self._stopped.is_set():
            started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("UPDATE contacts SET added_ms = added_ms + 1 WHERE owner = ?", (1 + self.written % 1000,))
            connection.execute("COMMIT")
            self.longest = max(self.longest, time.perf_counter() - started)
            self.written += 1
            time.sleep(0.002)
        connection.close()

    def stop(self):
        """Ends it; the longest transaction in milliseconds."""
        self._stopped.set()
        self.join()
        return self.longest * 1000


def _let_wait(deployment, service):
    """Says of the pools' servers that they wait for locks: else a store that is written to without a pause is too busy beside a journal."""
    topology = deployment.folder / "topology.toml"
    topology.write_text(re.sub(r"user_store = \{ (url = .*?) \}", r"user_store = { \1, server_waits = true }", topology.read_text()))
    assert "server_waits" in topology.read_text()
    service.request("publishTopology", file=str(topology))


def waits(root, users, rounds):
    """The longest time that a writer's transaction takes while a job runs, and while none does."""
    results = []
    for journal in JOURNALS:
        deployment = Deployment(root / f"waits-{journal}")
        fill_users(deployment.users, users, journal)
        result = Result("writers", f"longest transaction of a busy writer, journal {journal}, {users} users")
        longest = {}
        with ServiceProcess(deployment.file) as service:
            if journal != "WAL":
                _let_wait(deployment, service)
            for situation in ("no job", "first copy", "deltas", "no job again"):
                writer = Writer(deployment.users, journal)
                writer.start()
                for _ in range(1 if situation == "first copy" else rounds):
                    if situation.startswith("no job"):
                        time.sleep(1)
                    else:
                        service.sync(USER_STORE, POOL)
                longest[situation] = writer.stop()
        base = max(longest.pop("no job"), longest.pop("no job again"))
        result.notes.append(f"no job: {base:.1f} ms")
        for situation, milliseconds in longest.items():
            met = "met    " if milliseconds <= max(LONGEST_LOCK_MS, base) else "NOT MET"
            result.notes.append(f"{met} {situation}: {milliseconds:.1f} ms of at most {LONGEST_LOCK_MS} ms")
        results.append(result)
    return results
