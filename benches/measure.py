"""Contenders run in turn, round by round; medians, ratios to every peer, targets met or not."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

OURS = "ours"


@dataclass
class Contender:
    """Somebody who does a piece of work. `run` returns seconds and MiB, `reset` makes room before it, `check` compares
    what it left with what it was made from, and raises where they differ."""

    name: str
    run: object
    reset: object = lambda: None
    check: object = lambda: None


@dataclass
class Target:
    """At most this many times the fastest of these peers."""

    limit: float
    peers: tuple
    ratio: float = None
    met: bool = None


@dataclass
class Result:
    """One table: a workload at one size."""

    workload: str
    size: str
    rows: list = field(default_factory=list)
    targets: list = field(default_factory=list)
    notes: list = field(default_factory=list)


def compare(workload, size, contenders, rounds, targets=(), before_round=lambda number: None):
    """Measures contenders; the first of them is ours. Round 0 is not timed: there the results are compared. In every later round
    another contender begins, and what one has left unwritten is written before the next is timed."""
    measured = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        before_round(number)
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            contender.reset()
            os.sync()
            sample = contender.run()
            if number == 0:
                contender.check()
            else:
                measured[contender.name].append(sample)
    for contender in contenders:
        contender.check()
    result = Result(workload, size)
    ours = [seconds for seconds, _ in measured[contenders[0].name]]
    for name, samples in measured.items():
        seconds = [seconds for seconds, _ in samples]
        ratios = [own / other for own, other in zip(ours, seconds)]
        result.rows.append({
            "name": name,
            "seconds": statistics.median(seconds),
            "ratio": statistics.median(ratios),
            "lowest": min(ratios),
            "highest": max(ratios),
            "mebibytes": None if samples[0][1] is None else statistics.median(mebibytes for _, mebibytes in samples),
        })
    for target in targets:
        named = [row for row in result.rows if row["name"] in target.peers]
        if named:
            ratio = min(named, key=lambda row: row["seconds"])["ratio"]
            result.targets.append(Target(target.limit, target.peers, ratio, ratio <= target.limit))
    return result


def program(*command):
    """Runs a program that must succeed; its seconds. Its memory is measured by `memory_of`, which costs time."""
    started = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started, None


def memory_of(*command):
    """Runs a program that must succeed; the MiB that were resident at most in it or in a child of it."""
    command = ["/usr/bin/time", "-f", "%M", *(str(word) for word in command)]
    told = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True).stderr
    return int(told.split()[-1]) / 1024


def show(result):
    """Prints one table."""
    print(f"\n{result.workload}, {result.size}")
    if result.rows:
        print(f"  {'':28} {'seconds':>9} {'ours / it':>10} {'lowest':>7} {'highest':>7} {'MiB':>7}")
    for row in result.rows:
        mebibytes = "" if row["mebibytes"] is None else f"{row['mebibytes']:7.1f}"
        print(f"  {row['name']:28} {row['seconds']:9.4f} {row['ratio']:10.2f} {row['lowest']:7.2f} {row['highest']:7.2f} {mebibytes:>7}")
    for target in result.targets:
        what = f"{target.ratio:.2f} of at most {target.limit:g} x {' or '.join(target.peers)}"
        print(f"  {'met    ' if target.met else 'NOT MET'} {what}")
    for note in result.notes:
        print(f"  {note}")
    sys.stdout.flush()


def versions():
    """What was measured, and where."""
    first_line = lambda *command: subprocess.run(command, capture_output=True, text=True).stdout.partition("\n")[0]
    return {
        "commit": first_line("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"),
        "machine": f"{os.cpu_count()} CPUs, {platform.system()} {platform.release()}",
        "load": os.getloadavg(),
        "sqlite3": first_line("sqlite3", "--version"),
        "rsync": first_line("rsync", "--version"),
        "rclone": first_line("rclone", "version"),
    }


def write_json(path, results):
    """Writes all tables to a file."""
    document = {"versions": versions(), "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(document, indent=2) + "\n")
