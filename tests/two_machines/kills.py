#!/usr/bin/env python3
"""Kills everything that takes part in a sync between two machines, and cuts the line, while a server writes.

    tests/two_machines/kills.py [--pipe N] [--ssh N] [--push N] [--push-ssh N] [--third N] [--library FILE] [--helper FILE] [--seed N]

`--pipe` and `--ssh` are about jobs at the machine that receives, `--push` and `--push-ssh` about jobs at the source's machine, `--third` about jobs
at a machine that reaches both through pipes.

After each: what lies at the backup pool is a state that the server committed, looked at before anything mends it; nobody has to
wait for a lease; and the next sync, status and history work at once. What a sync said that it had copied is never lost.
"""

import argparse
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from machines import ATL, CHI, ROOT, Machine, Site, is_possible

ACCOUNTS, TOTAL = 300, 30_000
SYNC = {"modules": ["PresenceFocus", "DataConf"], "poolFqdn": ATL}


class Server(threading.Thread):
    """Moves amounts between accounts, counts, and writes files whose content is their name. A copy that is written from elsewhere may not have as
    many of them replaced within a day as this would: then each has a new name."""

    def __init__(self, site, replaces=True):
        super().__init__(daemon=True)
        self.replaces = replaces
        self.users, self.share = site.folder / "atl" / "users.sqlite", site.folder / "atl" / "share"
        self.stopped = threading.Event()
        self.refused = 0
        with sqlite3.connect(self.users) as server:
            server.executescript(
                "PRAGMA journal_mode = WAL; CREATE TABLE counter (n); INSERT INTO counter VALUES (0);"
                "CREATE TABLE accounts (id INTEGER PRIMARY KEY, amount, note BLOB);"
            )
            server.executemany("INSERT INTO accounts VALUES (?, 100, randomblob(900))", [(n,) for n in range(ACCOUNTS)])
        server.close()

    def run(self):
        server = sqlite3.connect(self.users, timeout=0, isolation_level=None)
        number = 0
        while not self.stopped.is_set():
            one, other, amount = random.randrange(ACCOUNTS), random.randrange(ACCOUNTS), random.randrange(50)
            try:
                server.execute("BEGIN IMMEDIATE")
                server.execute("UPDATE accounts SET amount = amount - ?, note = randomblob(900) WHERE id = ?", (amount, one))
                server.execute("UPDATE accounts SET amount = amount + ? WHERE id = ?", (amount, other))
                server.execute("UPDATE counter SET n = n + 1")
                server.execute("COMMIT")
            except sqlite3.OperationalError:
                self.refused += 1
            number += 1
            if number % (5 if self.replaces else 40) == 0:
                file = self.share / f"{number % 3}" / f"{number % 97 if self.replaces else number}"
                file.parent.mkdir(exist_ok=True)
                new = file.with_suffix(".new")
                new.write_bytes(f"{file.name} ".encode() * random.randrange(1, 4_000))
                new.rename(file)
            time.sleep(0.002)
        server.close()

    def count(self):
        """How many transactions there were."""
        with sqlite3.connect(f"file:{self.users}?mode=ro", uri=True) as reader:
            (count,) = reader.execute("SELECT n FROM counter").fetchone()
        reader.close()
        return count


def state_of(copy, place):
    """How far the copy at a place has come; raises where it is no state that the server committed. It is looked at in a copy of
    everything that belongs to it, so that nothing is mended."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for file in copy.parent.glob(f"{copy.name}*"):
        if file.is_file():
            shutil.copy(file, place)
    # The fence keeps everybody from writing, a journal that is to be played back too: what undoes it is the product's own file format.
    found = place / copy.name
    if not found.exists():
        return 0
    with found.open("r+b") as database:
        database.seek(18)
        database.write(b"\1\1")
    journal = place / f"{copy.name}-journal"
    reader = sqlite3.connect(found)
    total, count = reader.execute("SELECT (SELECT sum(amount) FROM accounts), (SELECT n FROM counter)").fetchone()
    (sound,) = reader.execute("PRAGMA integrity_check").fetchone()
    reader.close()
    assert sound == "ok", f"the copy is damaged: {sound} (journal: {journal.exists()})"
    assert total == TOTAL, f"the copy is torn: {total}"
    return count


def check_files(share):
    """Whether every file of a copy is one that was written as a whole."""
    for file in share.rglob("*"):
        if file.is_file() and ".csb" not in file.parts:
            content = file.read_bytes()
            assert not content.replace(f"{file.name} ".encode(), b""), f"{file} is torn"


def children(process_id):
    """All processes that a process started, and those that they started."""
    found = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in found.splitlines()]
    below, next_ones = [], [process_id]
    while next_ones:
        parent = next_ones.pop()
        for child, above, name in rows:
            if int(above) == parent:
                below.append((int(child), name))
                next_ones.append(int(child))
    return below


class Story:
    """Syncs of one backup pool, each of which something happens to."""

    def __init__(self, site, options, over_ssh, runs_at):
        self.site, self.options, self.over_ssh, self.runs_at = site, options, over_ssh, runs_at
        self.order = {**SYNC, "acceptDeletions": True} if runs_at == "chi" else SYNC
        self.told = 0
        self.cut = site.folder / "cut"
        self.helper = site.folder / "helper"
        self.helper.write_text(
            f'#!/bin/sh\nif bytes=$(cat {self.cut} 2>/dev/null); then rm -f {self.cut}; {site.helper} "$@" | head -c "$bytes"; exit 1; fi\n'
            f'exec {site.helper} "$@"\n'
        )
        self.helper.chmod(0o755)
        self.machine = None
        self.server = Server(site, runs_at == "chi")

    def begin_machine(self):
        others = {"chi": [ATL], "atl": [CHI], "third": [ATL, CHI]}[self.runs_at]
        reach = None if self.over_ssh else {pool: f"pipe:{self.helper}" for pool in others}
        self.machine = Machine(self.site, self.runs_at, self.options.library, reach)

    def end_machine(self):
        self.machine.process.kill()
        self.machine.process.wait()
        self.machine = None

    def sync(self):
        return self.machine.ask("sync", **self.order)

    def victims(self):
        """What takes part besides the job."""
        mine = children(self.machine.process.pid)
        if self.over_ssh:
            # The sshd of the connection, and what it started.
            mine += [child for child in children(self.site.process_id()) if child[1] != "sleep"]
        return mine

    def harm(self, kind):
        """Lets something happen during a sync."""
        if kind == "cut":
            self.cut.write_text(str(random.randrange(1, 60_000)))
            self.machine.begin("sync", **self.order)
            return self.machine.answer()
        self.machine.begin("sync", **self.order)
        time.sleep(random.random() * (0.5 if self.over_ssh else 0.08))
        if kind == "job":
            self.end_machine()
            return None
        victims = self.victims()
        if victims:
            try:
                os.kill(random.choice(victims)[0], signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self.machine.answer()

    def once(self, number):
        """Something happens, everything is looked at, and the next sync works."""
        if self.machine is None:
            self.begin_machine()
        kinds = ["job", "part", "part"] if self.over_ssh else ["job", "part", "part", "part", "cut", "cut", "cut"]
        kind = random.choice(kinds)
        report = self.harm(kind)
        standby = self.site.folder / "chi" / "standby"
        found = state_of(standby / "users.sqlite", self.site.folder / "looked-at")
        assert found >= self.told, f"{kind}: the copy went back from {self.told} to {found}"
        check_files(standby / "share")
        if report and "error" in report:
            raise AssertionError(f"{kind}: {report}")
        if report and report["outcome"] != "Succeeded":
            kinds = {error["kind"] for module in report["modules"] for error in module["errors"]} | {e["kind"] for e in report["errors"]}
            assert kinds <= {"StoreUnavailable", "PeerIncompatible", "SourceTooBusy"}, f"{kind}: {report}"
        before = self.server.count()
        self.cut.unlink(missing_ok=True)
        if self.machine is None:
            self.begin_machine()
        after = self.sync()
        assert after and after.get("outcome") == "Succeeded", f"{number}, after {kind}: {after}"
        self.told = state_of(standby / "users.sqlite", self.site.folder / "looked-at")
        assert self.told >= before, f"{number}, after {kind}: {self.told} of {before}"
        check_files(standby / "share")
        if number % 10 == 0:
            status = self.machine.ask("getBackupServiceStatus", poolFqdn=ATL)
            assert "backupModules" in status, status
            history = self.machine.ask("getPoolBackupHistory", poolFqdn=ATL)
            assert len(history["modules"]) == 2, history
            # Nobody has to wait at the machine of the copies, either, and what is there is what the source is.
            with Machine(self.site, "chi", self.options.library, None if self.over_ssh else {ATL: f"pipe:{self.helper}"}) as other:
                own = other.ask("sync", **{**SYNC, "acceptDeletions": True})
                assert own["outcome"] in ("Succeeded", "SucceededWithWarnings"), own
        return after["seconds"]

    def tell(self, times):
        """All of it."""
        self.server.start()
        self.begin_machine()
        first = self.sync()
        assert first["outcome"] == "Succeeded", first
        slowest = 0
        for number in range(times):
            slowest = max(slowest, self.once(number))
        self.server.stopped.set()
        self.server.join()
        self.sync()
        with self.machine:
            pass
        assert self.server.refused == 0, f"{self.server.refused} of the server's writes were refused"
        shares = [self.site.folder / machine / share for machine, share in (("atl", "share"), ("chi", "standby/share"))]
        names = [{str(file.relative_to(share)) for file in share.rglob("*") if ".csb" not in file.parts and file.is_file()} for share in shares]
        assert names[0] == names[1], names[0] ^ names[1]
        return slowest


def run(name, times, options, over_ssh, runs_at):
    """One story in a folder of its own."""
    grants = "read" if runs_at == "chi" else "read,write"
    with tempfile.TemporaryDirectory() as folder, Site(folder, options.helper, grants) as site:
        with Machine(site, "atl", options.library) as atl:
            published = atl.ask("publishTopology", file=str(site.folder / "topology.toml"))
            assert "version" in published, published
        began = time.monotonic()
        story = Story(site, options, over_ssh, runs_at)
        try:
            slowest = story.tell(times)
        finally:
            story.server.stopped.set()
            story.server.join()
            if story.machine:
                story.machine.process.kill()
        print(f"{name}: {times} times, {time.monotonic() - began:.0f} s; the slowest sync after one took {slowest:.1f} s.", flush=True)


def main():
    """Both stories."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pipe", type=int, default=500)
    arguments.add_argument("--ssh", type=int, default=25)
    arguments.add_argument("--push", type=int, default=200)
    arguments.add_argument("--push-ssh", type=int, default=25)
    arguments.add_argument("--third", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--library", type=Path, default=ROOT / "target" / "debug" / "libcs_backup.so")
    arguments.add_argument("--helper", type=Path, default=ROOT / "target" / "debug" / "csb-serve")
    options = arguments.parse_args()
    if not is_possible():
        print("There is no sshd here.\n0 passed, 0 failed, 5 skipped")
        return
    random.seed(options.seed)
    print(f"seed {options.seed}")
    passed = failed = 0
    stories = (
        ("at the receiver, over a pipe", options.pipe, False, "chi"),
        ("at the receiver, over ssh", options.ssh, True, "chi"),
        ("at the source, over a pipe", options.push, False, "atl"),
        ("at the source, over ssh", options.push_ssh, True, "atl"),
        ("at a third machine, over pipes", options.third, False, "third"),
    )
    for name, times, over_ssh, runs_at in stories:
        try:
            if times:
                run(name, times, options, over_ssh, runs_at)
            passed += 1
        except AssertionError as wrong:
            print(f"FAILED {name}: {wrong}")
            failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
