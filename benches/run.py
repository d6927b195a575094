#!/usr/bin/env python3
"""Measures the product against what one would use instead. benches/README.md says how to read the tables.

    cargo build --release && benches/run.py [WORKLOAD...] [--full] [--rounds N] [--json FILE] [--folder FOLDER]

Without a workload all are run, in less than ten minutes; with --full at the sizes that the product is rated for.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import files
import host
import memory
import users
import writers
from measure import show, write_json
from service import LIBRARY

# For each workload: what to run, and its sizes by default and with --full.
SIZES = {
    "users-first": (users.first, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-delta": (users.delta, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-delta-2000-rows": (users.delta_fixed, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-delta-connected": (users.delta_connected, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-everything": (users.everything, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-idle": (users.idle, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "users-verify": (users.verify, [2_000, 20_000], [2_000, 20_000, 200_000]),
    "files-first": (files.first, [2_000], [20_000]),
    "files-delta": (files.delta, [2_000], [20_000]),
    "files-idle": (files.idle, [20_000], [200_000]),
    "files-block": (files.block, [256], [1_024]),
}


def workload_of(name):
    """What measures a workload in a folder; it yields one table after the other."""
    def sized(root, options):
        measure, small, full = SIZES[name]
        for size in full if options.full else small:
            folder = root / f"{name}-{size}"
            folder.mkdir()
            yield measure(folder, size, options.rounds)
            shutil.rmtree(folder)

    def all_writers(root, options):
        yield from writers.writes(root / "writes", 2_000, options.rounds)
        yield from writers.waits(root / "waits", 200_000 if options.full else 20_000, options.rounds)

    def all_memory(root, options):
        yield memory.users(root / "users", [20_000, 200_000] if options.full else [2_000, 20_000])
        yield memory.files(root / "files", [100_000, 1_000_000] if options.full else [5_000, 50_000])
        yield memory.one_folder(root / "one-folder", 1_000_000 if options.full else 50_000)

    def all_hosts(root, options):
        yield from host.measure(root, options.rounds)

    return {"writers": all_writers, "memory": all_memory, "host": all_hosts}.get(name, sized)


def main():
    """Runs the workloads that were named."""
    names = [*SIZES, "writers", "memory", "host"]
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(names))
    arguments.add_argument("--full", action="store_true", help="the sizes that the product is rated for: an hour and 60 GB of disk")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--json", type=Path, help="write the tables there too")
    arguments.add_argument("--folder", type=Path, help="where data is made; it must be on a disk, not in memory")
    options = arguments.parse_args()
    unknown = set(options.workloads) - set(names)
    if unknown:
        arguments.error(f"There is no workload {', '.join(sorted(unknown))}; there are {', '.join(names)}.")
    if not LIBRARY.exists():
        sys.exit(f"There is no {LIBRARY}: run cargo build --release.")
    results = []
    for name in options.workloads or names:
        with tempfile.TemporaryDirectory(prefix="csbackup-bench-", dir=options.folder) as root:
            for result in workload_of(name)(Path(root), options):
                show(result)
                results.append(result)
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
