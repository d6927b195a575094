"""users-first, users-delta, users-idle, users-verify: the user store against sqlite3's own copies and rsync of the file."""

import os
import shutil
import sqlite3

from measure import OURS, Contender, Target, compare, program
from service import ServiceProcess
from stores import CONTACTS, POOL, USER_STORE, Deployment, fill_users, require_equal, sql

READ, SHA3, JOIN = "sqlite3 reads both", "sqlite3 .sha3sum of both", "sqldiff's joins"
BACKUP, VACUUM, RSYNC = "sqlite3 .backup", "sqlite3 VACUUM INTO", "rsync -a"
# From the source of SQLite, 3.50 or newer; no package has it. $SQLITE3_RSYNC names it where it is not on PATH.
SQLITE_RSYNC = "sqlite3_rsync"
SQLITE_RSYNC_PROGRAM = os.environ.get("SQLITE3_RSYNC", SQLITE_RSYNC)


def first(root, users, rounds):
    """A copy where there is none."""
    return _workload("users-first", root, users, rounds, [Target(0.4, (BACKUP,))], fresh=True)


def delta(root, users, rounds):
    """One user in a hundred changes all contacts."""
    def change(deployment, number):
        _change(deployment, number, f"owner % 100 = {number % 100}")
    return _workload("users-delta", root, users, rounds, [Target(0.25, (BACKUP,))], change)


def delta_fixed(root, users, rounds):
    """The same 2,000 rows change, however many there are: time must not follow the size of the store."""
    def change(deployment, number):
        _change(deployment, number, f"owner BETWEEN {25 * number + 1} AND {25 * number + 25}")
    return _workload("users-delta-2000-rows", root, users, rounds, [Target(0.25, (BACKUP,))], change)


def delta_connected(root, users, rounds):
    """Ten rows change beside a server that stays connected, so that its log tells which pages."""
    server = None

    def change(deployment, number):
        nonlocal server
        server = server or _server(deployment)
        with server:
            ten = "SELECT sip_uri FROM contacts WHERE owner = ?2 LIMIT 10"
            server.execute(f"UPDATE contacts SET groups = ?1 WHERE owner = ?2 AND sip_uri IN ({ten})", (f"round {number}", number + 1))
    # Of a small store a job's own books cost more than its pages.
    targets = [Target(0.02, (BACKUP,))] if users >= 200_000 else []
    try:
        # rsync does not see what is in the log only.
        return _workload("users-delta-connected", root, users, rounds, targets, change, peers=(BACKUP, VACUUM, SQLITE_RSYNC))
    finally:
        if server:
            server.close()


def everything(root, users, rounds):
    """Every page changes, and what was there before goes into the history."""
    def change(deployment, number):
        sql(deployment.users, f"""UPDATE contacts SET groups = 'all of round {number}', added_ms = added_ms + 1;
            UPDATE presence SET note = note || '.', card = randomblob(length(card)); UPDATE users SET display_name = display_name || '.'""")
    return _workload("users-everything", root, users, rounds, [Target(3, (BACKUP,))], change)


def _server(deployment):
    server = sqlite3.connect(deployment.users)
    server.execute("PRAGMA journal_mode = WAL")
    server.execute("PRAGMA wal_autocheckpoint = 0")
    return server


def idle(root, users, rounds):
    """Nothing changes."""
    return _workload("users-idle", root, users, rounds, [Target(0.5, (RSYNC,))], peers=(RSYNC, SQLITE_RSYNC))


def verify(root, users, rounds):
    """Every row of both sides is compared; nothing differs. Only the join finds rows as we do, and names them no more than the
    hash does; reading is the least that anybody must do."""
    deployment = Deployment(root)
    fill_users(deployment.users, users)
    both = (deployment.users, deployment.users_copy)
    columns = {"users": ("id", "sip_uri", "display_name"), "contacts": ("owner", "sip_uri", "groups", "added_ms"), "presence": ("owner", "note", "card")}
    read = "".join(f"SELECT {', '.join(f'max(length({name}))' for name in names)} FROM {table};" for table, names in columns.items())
    join = f"ATTACH '{both[1]}' AS b;" + "".join(_sqldiff(table, names) for table, names in columns.items())
    with ServiceProcess(deployment.file) as service:
        service.sync(USER_STORE, POOL)
        contenders = [
            Contender(OURS, lambda: service.sync(USER_STORE, POOL, verify=True), check=lambda: require_equal(*both)),
            Contender(READ, lambda: _of_both(both, read)),
            Contender(SHA3, lambda: _of_both(both, ".sha3sum")),
            Contender(JOIN, lambda: program("sqlite3", both[0], join)),
        ]
        return compare("users-verify", f"{users} users with {CONTACTS} contacts", contenders, rounds)


def _of_both(databases, statements):
    """One after the other, as a program that knows nothing of the second does."""
    samples = [program("sqlite3", database, statements) for database in databases]
    return sum(seconds for seconds, _ in samples), None


def _sqldiff(table, names):
    """What sqldiff asks: rows that one side lacks or has otherwise."""
    key = names[:2] if table == "contacts" else names[:1]
    same = " AND ".join(f"a.{name} = b.{name}" for name in key)
    otherwise = " OR ".join(f"a.{name} IS NOT b.{name}" for name in names if name not in key)
    missing = "SELECT count(*) FROM {0}.{2} a WHERE NOT EXISTS (SELECT 1 FROM {1}.{2} b WHERE {3});"
    return (
        f"SELECT count(*) FROM main.{table} a, b.{table} b WHERE {same} AND ({otherwise});"
        + missing.format("main", "b", table, same) + missing.format("b", "main", table, same)
    )


def _change(deployment, number, whose):
    sql(deployment.users, f"UPDATE contacts SET groups = 'round {number}' WHERE {whose}")


def _workload(name, root, users, rounds, targets, change=None, fresh=False, peers=(BACKUP, VACUUM, RSYNC, SQLITE_RSYNC)):
    deployment = Deployment(root)
    fill_users(deployment.users, users)
    copies = {peer: root / f"{number}.sqlite" for number, peer in enumerate((BACKUP, VACUUM, RSYNC, SQLITE_RSYNC))}
    source = deployment.users
    commands = {
        BACKUP: ("sqlite3", source, f".backup {copies[BACKUP]}"),
        VACUUM: ("sqlite3", source, f"VACUUM INTO '{copies[VACUUM]}'"),
        # Without the window it takes a file for unchanged that was written to twice within a second.
        RSYNC: ("rsync", "-a", "--modify-window=-1", source, copies[RSYNC]),
        SQLITE_RSYNC: (SQLITE_RSYNC_PROGRAM, source, copies[SQLITE_RSYNC]),
    }
    with ServiceProcess(deployment.file) as service:
        def before_round(number):
            if change:
                change(deployment, number)

        at_hand = [peer for peer in peers if shutil.which(commands[peer][0])]

        def contender(peer):
            copy = copies[peer]
            # These go on from the copy that they made before.
            reset = (lambda: None) if peer in (RSYNC, SQLITE_RSYNC) and not fresh else (lambda: copy.unlink(missing_ok=True))
            return Contender(peer, lambda: program(*commands[peer]), reset, lambda: require_equal(source, copy))

        ours = Contender(
            OURS,
            lambda: service.sync(USER_STORE, POOL),
            (lambda: shutil.rmtree(deployment.users_copy.parent, ignore_errors=True)) if fresh else (lambda: None),
            lambda: require_equal(source, deployment.users_copy),
        )
        if not fresh:
            # What changed is then in the log only, and the copies that rsync goes on from are there.
            service.sync(USER_STORE, POOL)
            program(*commands[RSYNC])
        result = compare(name, f"{users} users with {CONTACTS} contacts", [ours, *map(contender, at_hand)], rounds, targets, before_round)
        result.notes.extend(f"{commands[peer][0]} is not at hand: nothing is said of {peer}" for peer in set(peers) - set(at_hand))
        return result
