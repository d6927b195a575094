"""users-first, users-delta, users-idle: the user store against sqlite3's own copies and rsync of the file."""

import shutil

from measure import OURS, Contender, Target, compare, program
from service import ServiceProcess
from stores import CONTACTS, POOL, USER_STORE, Deployment, fill_users, require_equal, sql

BACKUP, VACUUM, RSYNC = "sqlite3 .backup", "sqlite3 VACUUM INTO", "rsync -a"


def first(root, users, rounds):
    """A copy where there is none."""
    return _workload("users-first", root, users, rounds, [Target(1.0, (BACKUP, VACUUM))], fresh=True)


def delta(root, users, rounds):
    """One user in a hundred changes all contacts."""
    def change(deployment, number):
        _change(deployment, number, f"owner % 100 = {number % 100}")
    return _workload("users-delta", root, users, rounds, [Target(0.5, (BACKUP, VACUUM, RSYNC))], change)


def delta_fixed(root, users, rounds):
    """The same 2,000 rows change, however many there are: time must not follow the size of the store."""
    def change(deployment, number):
        _change(deployment, number, f"owner BETWEEN {25 * number + 1} AND {25 * number + 25}")
    return _workload("users-delta-2000-rows", root, users, rounds, [Target(0.5, (BACKUP, VACUUM, RSYNC))], change)


def idle(root, users, rounds):
    """Nothing changes."""
    return _workload("users-idle", root, users, rounds, [Target(0.5, (RSYNC,))])


def _change(deployment, number, whose):
    sql(deployment.users, f"UPDATE contacts SET groups = 'round {number}' WHERE {whose}")


def _workload(name, root, users, rounds, targets, change=None, fresh=False):
    deployment = Deployment(root)
    fill_users(deployment.users, users)
    copies = {peer: root / f"{number}.sqlite" for number, peer in enumerate((BACKUP, VACUUM, RSYNC))}
    source = deployment.users
    commands = {
        BACKUP: ("sqlite3", source, f".backup {copies[BACKUP]}"),
        VACUUM: ("sqlite3", source, f"VACUUM INTO '{copies[VACUUM]}'"),
        RSYNC: ("rsync", "-a", source, copies[RSYNC]),
    }
    with ServiceProcess(deployment.file) as service:
        def before_round(number):
            if change:
                change(deployment, number)

        def contender(peer):
            copy = copies[peer]
            # rsync alone goes on from the copy that it made before.
            reset = (lambda: None) if peer == RSYNC and not fresh else (lambda: copy.unlink(missing_ok=True))
            return Contender(peer, lambda: program(*commands[peer]), reset, lambda: require_equal(source, copy))

        peers = [RSYNC] if name == "users-idle" else list(commands)
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
        return compare(name, f"{users} users with {CONTACTS} contacts", [ours, *map(contender, peers)], rounds, targets, before_round)
