"""writers: what the triggers cost the server's own writes, and how long jobs keep a writer waiting."""

import sqlite3
import statistics
import threading
import time

from measure import Result, Target
from service import ServiceProcess
from stores import POOL, USER_STORE, Deployment, fill_users, sql

# A job may hold a lock of the server's database this long.
LONGEST_LOCK_MS = 100
LIMIT = 1.3
# What any trigger costs that leaves a note: a row of a second table, and so a second page in a transaction that writes one.
LEAST = "key noted"
# Synchronous as servers set it for the journal mode.
JOURNALS = {"WAL": "NORMAL", "DELETE": "FULL"}


def writes(root, users, rounds, transactions=200, bulk_rows=20_000):
    """The same writes to a database with our triggers, to one with triggers that only note the key, and to one without, in turn."""
    results = []
    for journal, synchronous in JOURNALS.items():
        databases = _databases(root / journal, users, journal)
        for kind, work in (("small transactions", _small), ("one bulk transaction", _bulk)):
            amount = transactions if work is _small else bulk_rows
            result = Result("writers", f"{kind} of {amount} each, journal {journal}, {users} users")
            for statement in ("insert", "update", "delete"):
                result.rows.extend(_compare(statement, work, databases, journal, synchronous, amount, rounds))
            ratio = statistics.mean(row["ratio"] for row in result.rows if not row["name"].endswith(LEAST))
            result.targets.append(Target(LIMIT, ("the same writes without triggers",), ratio, ratio <= LIMIT))
            results.append(result)
    return results


def _databases(root, users, journal):
    deployment = Deployment(root)
    fill_users(deployment.users, users, journal)
    plain = root / "plain.sqlite"
    plain.write_bytes(deployment.users.read_bytes())
    least = root / "least.sqlite"
    least.write_bytes(deployment.users.read_bytes())
    sql(least, "CREATE TABLE least (position INTEGER PRIMARY KEY, owner, sip_uri);" + "".join(map(_least_trigger, STATEMENTS)))
    with ServiceProcess(deployment.file) as service:
        service.sync(USER_STORE, POOL)
    return deployment.users, least, plain


def _least_trigger(statement):
    row = "old" if statement == "delete" else "new"
    note = f"INSERT INTO least (owner, sip_uri) VALUES ({row}.owner, {row}.sip_uri)"
    return f"CREATE TRIGGER least_{statement} AFTER {statement} ON contacts BEGIN {note}; END;"


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


def _compare(name, work, databases, journal, synchronous, amount, rounds):
    """Each round writes other keys, as many as `amount`; before it the rows are put there or taken away."""
    seconds = tuple([] for _ in databases)
    for number in range(rounds + 1):
        for which in sorted(range(len(databases)), reverse=number % 2 == 0):
            connection = _connect(databases[which], journal, synchronous)
            users = connection.execute("SELECT max(id) FROM users").fetchone()[0]
            keys = [(1 + (i * 7919) % users, i) for i in range(amount)]
            if name != "insert":
                _bulk(connection, STATEMENTS["insert"], keys)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            started = time.perf_counter()
            work(connection, STATEMENTS[name], keys)
            if number > 0:
                seconds[which].append(time.perf_counter() - started)
            if name != "delete":
                _bulk(connection, STATEMENTS["delete"], keys)
            connection.close()
    ours, least, plain = seconds
    return [_row(name, ours, plain), _row(f"{name}, {LEAST}", least, plain)]


def _row(name, seconds, plain):
    ratios = [ours / theirs for ours, theirs in zip(seconds, plain)]
    return {"name": name, "seconds": statistics.median(seconds), "ratio": statistics.median(ratios), "lowest": min(ratios),
            "highest": max(ratios), "mebibytes": None}


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


def waits(root, users, rounds):
    """The longest time that a writer's transaction takes while a job runs, and while none does."""
    results = []
    for journal in JOURNALS:
        deployment = Deployment(root / f"waits-{journal}")
        fill_users(deployment.users, users, journal)
        result = Result("writers", f"longest transaction of a busy writer, journal {journal}, {users} users")
        longest = {}
        with ServiceProcess(deployment.file) as service:
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
