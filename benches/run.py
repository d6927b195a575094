#!/usr/bin/env python3
"""Speed against what a user would take instead: medians of interleaved rounds in one run, results compared first.

    cargo build --release --lib && benches/run.py [--users N] [--contacts N] [--files N] [--rounds N] [--json FILE]

Peers: `sqlite3 old '.backup new'` and `rsync` of the database for user stores, `rsync -a --delete` and `rsync -a --fsync`
for content stores. Figures are seconds and ratios to the peer in the same run; below 1 we are faster. Ours are whole jobs: lease,
both looks at the states, durable writes and the report are in them, none of which the peers do.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "servers"))
from cs_backup import CsBackup  # noqa: E402

POOL = "atl-cs-001.litwareinc.com"
USER_STORE, CONTENT_STORE = "UserServices.PresenceFocus", "ConfServices.DataConf"


def sample(folder, options):
    """A sample deployment in a new folder; the folder and the path of its deployment file."""
    with CsBackup(None) as service:
        made = service.request(
            "createSampleDeployment",
            folder=str(folder),
            users=options.users,
            contactsPerUser=options.contacts,
            files=options.files,
        )
    return made["deploymentFile"]


def timed(work):
    """How long a piece of work takes, in seconds."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def run(*command):
    """Runs a program that must succeed."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def synchronize(service, module):
    """One sync of one module, which must succeed."""
    report = service.sync(poolFqdn=POOL, modules=[module])
    assert report["outcome"] == "Succeeded", report


def sql(database, statements):
    """Runs SQL in a process of its own: two SQLite libraries in one process drop each other's locks."""
    return subprocess.run(["sqlite3", "-cmd", ".timeout 30000", database, statements], check=True, capture_output=True, text=True).stdout


def require_equal(database, other):
    """Refuses copies that differ in a user or a contact."""
    for table in ("users", "contacts"):
        differing = sql(
            database,
            f"ATTACH '{other}' AS other;"
            f"SELECT count(*) FROM (SELECT * FROM main.{table} EXCEPT SELECT * FROM other.{table});"
            f"SELECT count(*) FROM (SELECT * FROM other.{table} EXCEPT SELECT * FROM main.{table});",
        )
        assert differing.split() == ["0", "0"], f"{table} of {database} and {other}: {differing}"


def change_users(database, round_number):
    """One user in a hundred gets another note on all contacts."""
    sql(database, f"UPDATE contacts SET groups = 'round {round_number}' WHERE owner % 100 = {round_number % 100}")


def change_files(share, round_number):
    """One file in a hundred is written anew, and one new file appears for each of them."""
    for number, path in enumerate(sorted(p for p in share.rglob("*") if p.is_file())):
        if number % 100 == round_number % 100:
            path.write_bytes(b"%d " % round_number * (path.stat().st_size // 2 + 1))
            path.with_name(f"new-{round_number}-{path.name}").write_bytes(b"new" * 1000)


def users(root, options, note):
    """users-first, users-delta, users-idle."""
    deployment = sample(root, options)
    source, standby, copy = root / "atl/users.sqlite", root / "chi/standby/atl.sqlite", root / "peer.sqlite"
    with CsBackup(deployment) as service:
        for round_number in range(options.rounds):
            standby.unlink(missing_ok=True)
            copy.unlink(missing_ok=True)
            note("users-first", "ours", timed(lambda: synchronize(service, USER_STORE)))
            note("users-first", "sqlite3 .backup", timed(lambda: run("sqlite3", source, f".backup {copy}")))
            require_equal(source, standby)
            require_equal(source, copy)
            change_users(source, round_number)
            note("users-delta", "ours", timed(lambda: synchronize(service, USER_STORE)))
            copy.unlink()
            note("users-delta", "sqlite3 .backup", timed(lambda: run("sqlite3", source, f".backup {copy}")))
            require_equal(source, standby)
            note("users-idle", "ours", timed(lambda: synchronize(service, USER_STORE)))
            rsynced = root / "rsynced.sqlite"
            run("rsync", "-a", source, rsynced)
            note("users-idle", "rsync", timed(lambda: run("rsync", "-a", source, rsynced)))


def files(root, options, note):
    """files-first, files-delta, files-idle."""
    for round_number in range(options.rounds):
        folder = root / str(round_number)
        deployment = sample(folder, options)
        share, standby, copy = folder / "atl/share", folder / "chi/standby/atl", folder / "peer"
        with CsBackup(deployment) as service:
            note("files-first", "ours", timed(lambda: synchronize(service, CONTENT_STORE)))
            note("files-first", "rsync -a --fsync", timed(lambda: run("rsync", "-a", "--fsync", f"{share}/", copy)))
            run("diff", "-r", "--exclude=.csb", share, standby)
            change_files(share, round_number)
            note("files-delta", "ours", timed(lambda: synchronize(service, CONTENT_STORE)))
            note("files-delta", "rsync -a --delete", timed(lambda: run("rsync", "-a", "--delete", f"{share}/", copy)))
            run("diff", "-r", "--exclude=.csb", share, standby)
            # What was written less than two seconds ago is read again; an idle cycle is one after that.
            time.sleep(2.5)
            synchronize(service, CONTENT_STORE)
            note("files-idle", "ours", timed(lambda: synchronize(service, CONTENT_STORE)))
            note("files-idle", "rsync -a --delete", timed(lambda: run("rsync", "-a", "--delete", f"{share}/", copy)))
        shutil.rmtree(folder)


def main():
    """Runs both workloads and prints the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--users", type=int, default=2_000)
    arguments.add_argument("--contacts", type=int, default=80)
    arguments.add_argument("--files", type=int, default=2_000)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--json", type=Path, help="write the figures there too")
    options = arguments.parse_args()
    seconds = {}

    def note(workload, who, spent):
        seconds.setdefault(workload, {}).setdefault(who, []).append(spent)

    with tempfile.TemporaryDirectory() as root:
        users(Path(root) / "users", options, note)
        files(Path(root) / "files", options, note)
    table = []
    for workload, measured in seconds.items():
        (ours, own), (peer, theirs) = measured.items()
        ratio = statistics.median(a / b for a, b in zip(own, theirs))
        table.append({"workload": workload, "peer": peer, ours: statistics.median(own),
                      "theirs": statistics.median(theirs), "ratio": ratio})
    print(f"{options.users} users with {options.contacts} contacts, {options.files} files, medians of {options.rounds} rounds")
    print(f"{'workload':12} {'ours s':>9} {'peer s':>9} {'ratio':>6}  peer")
    for row in table:
        print(f"{row['workload']:12} {row['ours']:9.3f} {row['theirs']:9.3f} {row['ratio']:6.2f}  {row['peer']}")
    if options.json:
        options.json.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
