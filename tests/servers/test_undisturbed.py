#!/usr/bin/python3
"""Real servers, as Debian ships them, beside backups and syncs: no write may be refused, and nothing that was confirmed may be missing.

    tests/servers/test_undisturbed.py [--seconds N] [--rate N] [--megabytes N] [--servers NAME...] [--folder FOLDER]

Of each server two run at the same time, with the same load in the journal mode that the package has: one is backed up and synchronized all
the time, of the other nobody takes notice. What both were refused is compared. For half an hour: `--seconds 1800`.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pools
from ejabberd import Ejabberd
from kamailio import Kamailio
from load import PASSWORD, Registrations, Talk
from prosody import Prosody

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "hosts" / "python"))
from cs_backup import BackupService, library_path  # noqa: E402

SERVERS = {"ejabberd": (Ejabberd, Talk), "kamailio": (Kamailio, Registrations), "prosody": (Prosody, Talk)}
JOB_SECONDS = 300
PAUSE_SECONDS = 0.2
# A look at the copy reads all that was written, by another process.
LOOKS_EVERY = 10
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"
ROW_BYTES = 4_000


class Pair:
    """A pool with a real server and load, and its backup pool, which only receives."""

    def __init__(self, folder, kind, load, options):
        self.folder = Path(folder)
        self.server = kind(self.folder / "atl", pools.ATLANTA)
        self.load = load(self.server, options.rate)
        self.copy = self.folder / "chi" / "standby" / self.server.database.name
        self.options = options
        self.outcomes, self.ways, self.faults, self.looks = collections.Counter(), collections.Counter(), [], 0

    def prepare(self):
        """Everything that must be there before people work: accounts, and what the server has kept from former years."""
        people = self.load.people(self.options.seconds)
        if people:
            accounts = ";".join(self.server.ACCOUNT.format(host=self.server.host, user=user, password=PASSWORD) for user in people)
            pools.sql(self.server.database, f"BEGIN; {accounts}; COMMIT")
        if count := self.options.megabytes * 1_000_000 // ROW_BYTES:
            rows = self.server.ROWS.format(host=self.server.host, text=f"hex(randomblob({ROW_BYTES // 2}))")
            pools.sql(self.server.database, f"{NUMBERS.format(count=count)} {rows}", seconds=600)

    def deployment(self):
        """Writes the deployment's files; where its description is."""
        def pool(fqdn, partner, folder, standby_database):
            for content in ("files", "standby/files"):
                (self.folder / folder / content).mkdir(parents=True, exist_ok=True)
            return pools.POOL.format(
                fqdn=fqdn, partner=partner, folder=folder, database=self.folder / folder / "data" / self.server.database.name,
                uploads=self.folder / folder / "files", standby_database=standby_database, standby_uploads=self.folder / folder / "standby" / "files")
        (self.folder / "deployment.toml").write_text(pools.DEPLOYMENT)
        (self.folder / "topology.toml").write_text(
            f'central_management_pool = "{pools.ATLANTA}"\n' + pool(pools.ATLANTA, pools.CHICAGO, "atl", self.folder / "atl" / "standby" / "none.sqlite")
            + pool(pools.CHICAGO, pools.ATLANTA, "chi", self.copy))
        return self.folder / "deployment.toml"

    def back_up(self, service, stop):
        """Backups and syncs in turn, until `stop` is set; a thread of its own runs it."""
        for number in range(sys.maxsize):
            told = dict(self.load.promises.told)
            report = self.run(service, (service.backup, service.sync)[number % 2])
            service.request("getBackupServiceStatus", poolFqdn=pools.ATLANTA)
            if report["outcome"] == "Succeeded" and number % LOOKS_EVERY == 0:
                self.look(told)
            if stop.wait(PAUSE_SECONDS):
                return

    def run(self, service, job, **fields):
        """One job; what it ended as is counted."""
        report = job(timeout=JOB_SECONDS, poolFqdn=pools.ATLANTA, **fields)
        kinds = {error["kind"] for module in report["modules"] for error in module.get("errors", [])}
        self.outcomes[" ".join([report["outcome"], *sorted(kinds)])] += 1
        if not kinds <= {"SourceTooBusy"} or report["outcome"] not in ("Succeeded", "Failed"):
            self.faults.append(f"{report['command']}: {report['outcome']}: {json.dumps(report['modules'])[:3000]}")
        self.ways.update(line for step in report["steps"] for line in step["details"] if line.startswith("Read "))
        return report

    def look(self, told):
        """Looks at the copy while everything runs: it is whole, and holds what was confirmed before the job."""
        self.looks += 1
        found = pools.sql(self.copy, f"PRAGMA quick_check; {self.server.WRITTEN}", seconds=120)
        if found[:1] != ["ok"]:
            self.faults.append(f"the copy is damaged: {found[:3]}")
        self.faults += [f"the copy: {line}" for line in self.load.promises.broken(found[1:], told)]

    def ended(self):
        """Once nobody works: what the server itself holds of what it confirmed."""
        lines = pools.sql(self.server.database, self.server.WRITTEN, seconds=120)
        return self.load.promises.broken(lines, self.load.promises.told)

    def told(self, name):
        """A line about what the server's people saw."""
        times = sorted(seconds for seconds, operation in self.load.stopwatch.durations if operation != "log on")
        centile = times[len(times) * 99 // 100] * 1000
        return (f"{name}: {self.load.promises.count} writes told OK, {len(self.load.promises.refused)} refused; "
                f"median {statistics.median(times) * 1000:.1f} ms, 99 of 100 within {centile:.1f}, longest {times[-1] * 1000:.0f}")


async def work(pairs, seconds, beside):
    """The load of all pairs for so long, and `beside` in a thread of its own as long as it lasts."""
    nobody_works, stop = asyncio.Event(), threading.Event()
    async with asyncio.TaskGroup() as group:
        for pair in pairs:
            group.create_task(pair.load.run(nobody_works))
        group.create_task(asyncio.to_thread(beside, stop))
        await asyncio.sleep(seconds)
        stop.set()
        nobody_works.set()


def undisturbed(folder, name, options):
    """Runs one kind of server with and without us; what was wrong."""
    kind, load = SERVERS[name]
    backed_up, alone = (Pair(folder / which, kind, load, options) for which in ("with", "without"))
    with contextlib.ExitStack() as stack:
        for pair in (backed_up, alone):
            stack.enter_context(pair.server)
            pair.prepare()
        mode = pools.sql(backed_up.server.database, "PRAGMA journal_mode")
        service = stack.enter_context(BackupService(backed_up.deployment()))
        service.request("publishTopology", file=str(backed_up.folder / "topology.toml"))
        asyncio.run(work((backed_up, alone), options.seconds, lambda stop: backed_up.back_up(service, stop)))
        faults = backed_up.faults
        last = backed_up.run(service, service.sync, verify=True)
        if last["outcome"] != "Succeeded":
            faults.append(f"the last sync, with nobody at work: {last['outcome']}")
        same = [pools.sql(database, ".sha3sum", seconds=300) for database in (backed_up.server.database, backed_up.copy)]
        if same[0] != same[1]:
            faults.append("the copy is another one than the database")
        for pair, what in ((backed_up, "with us"), (alone, "without us")):
            missing = pair.ended()
            print(f"     {name}, {pair.told(what)}; {len(missing)} of them are not in its database; "
                  f"{len(pair.server.errors())} errors in its log", flush=True)
            if pair is backed_up:
                faults += [f"the server: {line}" for line in missing]
                faults += [f"refused: {text}" for text in pair.load.promises.refused]
                faults += [f"the server logged: {line}" for line in pair.server.errors()]
        size = backed_up.server.database.stat().st_size / 1e6
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in backed_up.outcomes.most_common())
    ways = ", ".join(f"{count} \"{way}\"" for way, count in backed_up.ways.most_common())
    print(f"     {name}: journal_mode {mode[0]}, {size:.1f} MB; jobs: {outcomes}; ways: {ways}; {backed_up.looks} looks at the copy", flush=True)
    if not backed_up.outcomes["Succeeded"] or not backed_up.looks:
        faults.append("no job succeeded while people worked")
    return faults


def lacking(name):
    """The packages that are needed for this server and are not here."""
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Package} ${Status}\n", *SERVERS[name][0].PACKAGES], capture_output=True, text=True)
    return [package for package in SERVERS[name][0].PACKAGES if f"{package} install ok installed" not in done.stdout]


def main():
    """Runs the servers that were named, side by side."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=40)
    arguments.add_argument("--rate", type=float, default=10, help="writes a second at each server")
    arguments.add_argument("--megabytes", type=int, default=0, help="what the database holds already")
    arguments.add_argument("--servers", nargs="*", choices=sorted(SERVERS), default=sorted(SERVERS))
    arguments.add_argument("--folder", type=Path, help="where the stores lie; it must be on a disk, not in memory")
    options = arguments.parse_args()
    # As an interrupt, a termination unwinds the stack, and with it every server ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if library_path() is None:
        sys.exit("The library is not built: run `cargo build`, or name it in CSBACKUP_LIBRARY.\n0 passed, 1 failed")
    sys.exit(run(options))


def run(options):
    """Runs all servers and prints what came of it; 1 where anything failed."""
    missing = {name: packages for name in options.servers if (packages := lacking(name))}
    names = [name for name in options.servers if name not in missing]
    for name, packages in missing.items():
        print(f"skip {name}: {' and '.join(packages)} not installed")
    folder = Path(tempfile.mkdtemp(prefix="csbackup-undisturbed-", dir=options.folder))
    found = {}

    def one(name):
        try:
            found[name] = undisturbed(folder / name, name, options)
        except Exception:
            found[name] = [traceback.format_exc()]

    began = time.monotonic()
    threads = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in names:
        faults = found[name]
        print(f"{'FAIL' if faults else 'ok  '} {name} ({time.monotonic() - began:.0f} s)")
        for fault in faults[:20]:
            print(f"     {fault}")
        if len(faults) > 20:
            print(f"     and {len(faults) - 20} more")
    failed = sum(bool(faults) for faults in found.values())
    if failed:
        print(f"The servers' logs and stores are kept in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{len(names) - failed} passed, {failed} failed" + (f", {len(missing)} skipped" if missing else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    main()
