#!/usr/bin/env python3
"""Measures a sync between two machines against what one would use instead, over a line with a delay and a rate.

    cargo build --release && benches/line.py [--megabytes N] [--lines 0:0,40:10000] [--rounds N]

A line is `RTT in ms:kbit per second`, 0 for no limit. Every contender goes through the same relay and the same private sshd, in
turns; times are medians in seconds, bytes are what crossed the relay, ssh's own included. `warm` is a sync whose session is open,
`cold` one in a process that begins it. The peers are `rsync -az`, which copies the file as it lies there, and `ssh HOST true`.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "tests" / "two_machines"))
from machines import ATL, Machine, Site  # noqa: E402

LIBRARY = ROOT / "target" / "release" / "libcs_backup.so"
HELPER = ROOT / "target" / "release" / "csb-serve"


def fill(path, megabytes):
    """A user store that compresses like one."""
    with sqlite3.connect(path) as server:
        server.execute("PRAGMA journal_mode = DELETE")
        server.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, note TEXT, x BLOB)")
        server.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) "
            "INSERT INTO t SELECT i, 'sip:user.' || i || '@litwareinc.com', 'In a meeting until five, in the office tomorrow', randomblob(24) FROM n",
            (megabytes * 8_000,),
        )
    server.close()


def change(path, every):
    """Changes rows that lie in one of so many pages each."""
    with sqlite3.connect(path) as server:
        (most,) = server.execute("SELECT max(id) FROM t").fetchone()
        # About 30 rows lie in a page.
        rows = [(n,) for n in range(1, most, every * 30)]
        server.executemany("UPDATE t SET x = randomblob(24) WHERE id = ?", rows)
    server.close()


class Bench:
    """One line, and the module that is synchronized over it."""

    def __init__(self, site, line, module="PresenceFocus"):
        self.site, self.module, self.count = site, module, site.folder / "count"
        rtt, kbit = line
        site.line = {"delay-ms": rtt / 2, "count": self.count}
        if kbit:
            site.line["kbit"] = kbit

    def crossed(self, work):
        """Seconds and bytes of a piece of work."""
        self.count.write_text("")
        os.sync()
        began = time.perf_counter()
        seconds = work()
        seconds = seconds if seconds is not None else time.perf_counter() - began
        time.sleep(0.3)
        return seconds, sum(int(line) for line in self.count.read_text().split())

    def ours(self, machine):
        """A sync by a service that is open."""
        report = machine.ask("sync", modules=[self.module], poolFqdn=ATL, acceptDeletions=True)
        assert report.get("outcome") == "Succeeded", report
        return report["seconds"]

    def cold(self):
        """A sync by a service that was just opened."""
        with Machine(self.site, "chi", LIBRARY) as machine:
            assert machine.ask("getCapabilities")
            return self.ours(machine)

    def forget(self):
        """There is no copy any more."""
        for name in ("chi/standby", "state"):
            shutil.rmtree(self.site.folder / name)
            (self.site.folder / name).mkdir()

    def rsync(self):
        """rsync's default: what differs by size and time, by blocks."""
        own = self.site.folder / "rsync.sqlite"
        ssh = self.site.folder / "ssh" / "ssh-plain"
        subprocess.run(["rsync", "-az", "-e", str(ssh), f"127.0.0.1:{self.site.folder}/atl/users.sqlite", str(own)], check=True)

    def ssh_true(self):
        """What a connection costs."""
        subprocess.run([str(self.site.folder / "ssh" / "ssh-plain"), "127.0.0.1", "true"], check=True)


def main():
    """One table for each line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--megabytes", type=int, default=113)
    arguments.add_argument("--lines", default="0:0,20:100000,80:10000")
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    lines = [tuple(float(part) for part in line.split(":")) for line in options.lines.split(",")]
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder, Site(folder, HELPER) as site:
        users = site.folder / "atl" / "users.sqlite"
        fill(users, options.megabytes)
        with Machine(site, "atl", LIBRARY) as atl:
            assert "version" in atl.ask("publishTopology", file=str(site.folder / "topology.toml"))
        print(f"{users.stat().st_size / 1e6:.0f} MB; seconds / kB on the line")
        print(f"{'line':>14} {'work':>6} {'ours warm':>18} {'ours cold':>18} {'rsync -az':>18} {'ssh true':>18}")
        for line in lines:
            bench = Bench(site, line)
            # A key of its own, without a forced command, for the peers.
            plain(site)
            for work, every, rounds in (("first", None, 1), ("idle", 0, options.rounds), ("1 %", 100, options.rounds), ("all", 1, 1)):
                samples = {name: [] for name in ("warm", "cold", "rsync", "true")}
                for _ in range(rounds):
                    if work == "first":
                        bench.forget()
                        samples["cold"].append(bench.crossed(bench.cold))
                        (site.folder / "rsync.sqlite").unlink(missing_ok=True)
                        samples["rsync"].append(bench.crossed(bench.rsync))
                    else:
                        with Machine(site, "chi", LIBRARY) as machine:
                            bench.ours(machine)
                            time.sleep(0.1)
                            if every:
                                change(users, every)
                            samples["warm"].append(bench.crossed(lambda: bench.ours(machine)))
                        if every:
                            change(users, every)
                        samples["cold"].append(bench.crossed(bench.cold))
                        if every:
                            bench.rsync()
                            change(users, every)
                        samples["rsync"].append(bench.crossed(bench.rsync))
                    samples["true"].append(bench.crossed(bench.ssh_true))
                cells = []
                for name in ("warm", "cold", "rsync", "true"):
                    found = samples[name]
                    if found:
                        seconds, count = (statistics.median(part) for part in zip(*found))
                        cells.append(f"{seconds:9.3f} {count / 1e3:8.1f}")
                    else:
                        cells.append(f"{'–':>18}")
                print(f"{line[0]:6.0f}:{line[1]:<7.0f} {work:>6} {' '.join(cells)}", flush=True)


def plain(site):
    """A key that may do anything, for the peers."""
    folder = site.folder / "ssh"
    if not (folder / "plain").exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "plain")], check=True)
        with (folder / "authorized_keys").open("a") as keys:
            keys.write((folder / "plain.pub").read_text())
    program = site.ssh("plain")
    program.write_text(f'#!/bin/sh\nexec ssh -F {folder}/config-plain -p {site.port} "$@"\n')


if __name__ == "__main__":
    main()
