#!/usr/bin/env python3
"""Measures how files are copied from another machine against `rsync -az`, over a line with a delay and a rate.

    cargo build --release && benches/line_files.py [--files N] [--megabytes N] [--lines 0:0,20:100000,80:10000] [--rounds N]

As `line.py`: every contender goes through the same relay and the same private sshd, in turns; bytes are what crossed the relay. `warm`
is a sync whose session is open, `cold` one in a process that begins it.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path += [str(ROOT / "tests" / "two_machines"), str(ROOT / "benches")]
from line import HELPER, LIBRARY, Bench, plain  # noqa: E402
from machines import Machine, Site  # noqa: E402
from stores import change_share, make_large, make_share, require_equal_trees  # noqa: E402


class FilesBench(Bench):
    """One line, for files."""

    def __init__(self, site, line):
        super().__init__(site, line, "DataConf")
        self.share, self.copy = site.folder / "atl/share", site.folder / "chi/standby/share"
        self.peers = site.folder / "peers"

    def rsync(self):
        """What one would use instead."""
        self.peers.mkdir(exist_ok=True)
        ssh = self.site.folder / "ssh" / "ssh-plain"
        source = f"127.0.0.1:{self.share}/"
        subprocess.run(["rsync", "-az", "--delete", "--exclude=/.csb", "-e", str(ssh), source, f"{self.peers}/"], check=True)

    def forget(self):
        """There is no copy any more."""
        for folder in (self.site.folder / "chi/standby", self.site.folder / "state", self.peers):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()

    def block(self, seed):
        """4 KiB in the middle of a large file."""
        with (self.share / "large.bin").open("r+b") as file:
            file.seek((self.share / "large.bin").stat().st_size // 2 + 12345)
            file.write(random.Random(seed).randbytes(4096))


def row(line, work, samples):
    """One line of the table."""
    cells = []
    for found in samples.values():
        seconds, count = (statistics.median(part) for part in zip(*found)) if found else (None, None)
        cells.append(f"{seconds:9.3f} {count / 1e3:9.1f}" if found else " " * 19)
    print(f"{line[0]:>5g}:{line[1]:<8g} {work:>6} " + " ".join(cells), flush=True)


def main():
    """One table for each line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--files", type=int, default=500)
    arguments.add_argument("--megabytes", type=int, default=256)
    arguments.add_argument("--lines", default="0:0,20:100000,80:10000")
    arguments.add_argument("--rounds", type=int, default=3)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder, Site(folder, HELPER) as site:
        site.fill(10, 0)
        share = site.folder / "atl/share"
        make_share(share, options.files)
        with Machine(site, "atl", LIBRARY) as atl:
            assert "version" in atl.ask("publishTopology", file=str(site.folder / "topology.toml"))
        megabytes = sum(file.stat().st_size for file in share.rglob("*") if file.is_file()) / 1e6
        print(f"{options.files} files, {megabytes:.0f} MB; seconds / kB on the line")
        print(f"{'line':>14} {'work':>6} {'ours warm':>19} {'ours cold':>19} {'rsync -az':>19}")
        turn = 0
        for line in [tuple(float(part) for part in line.split(":")) for line in options.lines.split(",")]:
            bench = FilesBench(site, line)
            plain(site)
            bench.forget()
            (share / "large.bin").unlink(missing_ok=True)
            first = {"warm": [], "cold": [bench.crossed(bench.cold)], "rsync": [bench.crossed(bench.rsync)]}
            row(line, "first", first)
            make_large(share / "large.bin", options.megabytes << 20)
            subprocess.run(["cp", "-a", str(share / "large.bin"), str(bench.peers)], check=True)
            site.line, usual = {}, site.line
            bench.cold()
            site.line = usual
            plain(site)
            for work in ("idle", "delta", "block"):
                samples = {"warm": [], "cold": [], "rsync": []}
                for _ in range(options.rounds):

                    def change():
                        nonlocal turn
                        turn += 1
                        if work == "delta":
                            change_share(share, turn)
                        elif work == "block":
                            bench.block(turn)

                    with Machine(site, "chi", LIBRARY) as machine:
                        time.sleep(2.5 if work == "idle" else 0)
                        bench.ours(machine)
                        bench.ours(machine)
                        change()
                        samples["warm"].append(bench.crossed(lambda: bench.ours(machine)))
                    change()
                    samples["cold"].append(bench.crossed(bench.cold))
                    if work != "idle":
                        bench.rsync()
                        change()
                        bench.cold()
                    samples["rsync"].append(bench.crossed(bench.rsync))
                row(line, work, samples)
            bench.rsync()
            require_equal_trees(share, bench.copy)


if __name__ == "__main__":
    main()
