#!/usr/bin/env python3
"""What a line does to a sync between two machines: slow, frozen, cut, and given up by whoever waits.

    tests/two_machines/line.py [--seconds N] [--library FILE] [--helper FILE]

`--seconds` is for how long a server without a busy timeout writes while syncs run over 1 Mbit/s and 80 ms.
"""

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from kills import Server, state_of
from machines import ATL, ROOT, Machine, Site, is_possible

USERS = {"modules": ["PresenceFocus"], "poolFqdn": ATL}
# A session is over after 20 seconds without a byte.
SILENCE = 20


def helpers(site):
    """The helpers that run for this site."""
    found = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout
    return [int(line.split(None, 1)[0]) for line in found.splitlines() if f"--root {site.folder}/" in line and "csb-serve" in line and "sh -c" not in line]


def wait(what, seconds, happens):
    """Waits until something happens, and says how long that took."""
    began = time.monotonic()
    while not happens():
        assert time.monotonic() - began < seconds, f"{what}: not within {seconds} s"
        time.sleep(0.05)
    return time.monotonic() - began


def published(site, options):
    """Documents, once."""
    with Machine(site, "atl", options.library) as atl:
        assert "version" in atl.ask("publishTopology", file=str(site.folder / "topology.toml"))


def fill(site, megabytes):
    """A user store that does not compress."""
    with sqlite3.connect(site.folder / "atl" / "users.sqlite") as server:
        server.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
        server.executemany("INSERT INTO t VALUES (?, ?)", ((n, random.randbytes(64 << 10)) for n in range(megabytes * 16)))
    server.close()


def a_frozen_line_ends_both_sides_and_leaves_nothing_locked(site, options):
    """Nothing is closed, nothing is said: a firewall forgot the connection."""
    fill(site, 24)
    control = site.folder / "control"
    site.line = {"kbit": 20_000, "control": control}
    with Machine(site, "chi", options.library) as machine:
        machine.begin("sync", retryCount=0, **USERS)
        time.sleep(3)
        assert helpers(site), "it is not copying yet"
        control.write_text("freeze")
        began = time.monotonic()
        report = machine.answer()
        told = time.monotonic() - began
        errors = [error for module in report["modules"] for error in module["errors"]] + report["errors"]
        assert report["outcome"] == "Failed" and errors[0]["kind"] == "StoreUnavailable", report
        assert "reached" in errors[0]["message"] and errors[0]["retryable"], errors
        assert SILENCE - 1 <= told <= SILENCE + 8, f"the caller noticed after {told:.0f} s"
        gone = wait("the helper ends", 15, lambda: not helpers(site))
        print(f"  frozen: the caller ended after {told:.1f} s, the helper {gone:.1f} s later")
        assert not (site.folder / "chi/standby/users.sqlite").exists(), "a copy that is not whole has the name"
        control.write_text("go")
        # For two seconds whoever asks again is told the same at once. The lease is its own, and nobody waits for it.
        time.sleep(2)
        report = machine.ask("sync", **USERS)
        assert report["outcome"] == "Succeeded", report
    assert site.rows("chi/standby/users.sqlite") == site.rows("atl/users.sqlite")


def whoever_gives_up_waits_for_no_line(site, options):
    """A cancelled job ends at once, whatever is on its way."""
    fill(site, 24)
    for kbit in (1_000, 100_000):
        site.line = {"kbit": kbit, "delay-ms": 40}
        with Machine(site, "chi", options.library) as machine:
            machine.begin("sync", **USERS)
            time.sleep(2)
            began = time.monotonic()
            # Another process asks for it, as Stop-CsBackupJob does.
            jobs = site.folder / "jobs-chi"
            records = [file for file in jobs.glob("*.json") if not file.name.endswith(".names.json")]
            newest = max(records, key=lambda file: file.stat().st_mtime).stem
            (jobs / f"{newest}.cancel").write_text("")
            report = machine.answer()
            took = time.monotonic() - began
            assert report["outcome"] in ("Cancelled", "Succeeded"), report
            # The file is looked for once a second.
            assert took < 3, f"cancelled after {took:.1f} s"
            print(f"  cancelled at {kbit} kbit/s: ended after {took:.1f} s as {report['outcome']}")
        wait("the helper ends", 10, lambda: not helpers(site))


def a_server_that_does_not_wait_is_never_refused(site, options):
    """The slowest of lines, the least patient of servers, in both of SQLite's ways of writing."""
    server = Server(site)
    server.start()
    site.line = {"kbit": 1_000, "delay-ms": 40}
    log, most = site.folder / "atl/users.sqlite-wal", 0
    stopped = threading.Event()

    def watch():
        nonlocal most
        while not stopped.is_set():
            most = max(most, log.stat().st_size if log.exists() else 0)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    ends, syncs = time.monotonic() + options.seconds, 0
    with Machine(site, "chi", options.library) as machine:
        while time.monotonic() < ends or syncs < 2:
            report = machine.ask("sync", **USERS)
            assert report["outcome"] == "Succeeded", report
            syncs += 1
            state_of(site.folder / "chi/standby/users.sqlite", site.folder / "looked-at")
    server.stopped.set()
    server.join()
    stopped.set()
    watcher.join()
    count = server.count()
    print(f"  {syncs} syncs over 1 Mbit/s and 80 ms: {count} transactions, {server.refused} refused, a log of {most / 1e6:.1f} MB")
    assert server.refused == 0, f"{server.refused} writes were refused"
    # SQLite begins its log anew at 1,000 pages where nobody reads it: 4 MB.
    assert most < 12e6, f"the log grew to {most} bytes"


def the_source_is_as_it_was(site, options):
    """Nothing is left, changed or touched where it is read, but the marker of the content store."""
    site.fill()

    def look():
        found = {}
        for file in sorted((site.folder / "atl").rglob("*")):
            name = str(file.relative_to(site.folder / "atl"))
            if name.startswith(("standby", "share/.csb", "cms.sqlite")) or name == "share":
                continue
            seen = file.lstat()
            found[name] = (seen.st_mode, seen.st_uid, seen.st_gid, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        return found

    before = look()
    with Machine(site, "chi", options.library) as machine:
        for options_of_job in ({}, {"verify": True}, {"whatIf": True}):
            report = machine.ask("sync", modules=["PresenceFocus", "DataConf"], poolFqdn=ATL, **options_of_job)
            assert report["outcome"] == "Succeeded", report
        assert "backupModules" in machine.ask("getBackupServiceStatus", poolFqdn=ATL)
    after = look()
    assert before == after, {name: (before.get(name), after.get(name)) for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def main():
    """Each test on two machines of its own."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", help="the test whose name has this")
    arguments.add_argument("--seconds", type=int, default=20)
    arguments.add_argument("--library", type=Path, default=ROOT / "target" / "debug" / "libcs_backup.so")
    arguments.add_argument("--helper", type=Path, default=ROOT / "target" / "debug" / "csb-serve")
    options = arguments.parse_args()
    tests = [
        the_source_is_as_it_was,
        a_server_that_does_not_wait_is_never_refused,
        whoever_gives_up_waits_for_no_line,
        a_frozen_line_ends_both_sides_and_leaves_nothing_locked,
    ]
    tests = [test for test in tests if not options.only or options.only in test.__name__]
    if not is_possible():
        print(f"There is no sshd here.\n0 passed, 0 failed, {len(tests)} skipped")
        return
    failed = 0
    for test in tests:
        with tempfile.TemporaryDirectory() as folder, Site(folder, options.helper) as site:
            published(site, options)
            try:
                test(site, options)
                print(f"ok {test.__name__}", flush=True)
            except AssertionError as wrong:
                failed += 1
                print(f"FAILED {test.__name__}: {wrong}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
