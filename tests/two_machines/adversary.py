#!/usr/bin/env python3
"""A caller that keeps to no rule, with every grant: whatever it says, the helper stays small, opens nothing outside its root, changes nothing
that is there, and ends when its caller does.

    tests/two_machines/adversary.py [--helper FILE] [--seed N]
"""

import argparse
import json
import os
import random
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELLO, CALL, PART, PARTS_END, CANCEL, CREDIT, PING = 1, 3, 4, 5, 8, 9, 10
MOST_MEBIBYTES = 96


def frame(kind, call, content=b""):
    """The bytes of a frame."""
    rest = struct.pack("<IBBH", call, kind, 0, 0)
    return struct.pack("<II", len(content), zlib.crc32(rest + content)) + rest + content


def varint(number):
    """A number as postcard has it."""
    out = bytearray()
    while True:
        out.append(number & 0x7F | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(out)


def text(value):
    """A string as postcard has it."""
    value = value if isinstance(value, bytes) else value.encode()
    return varint(len(value)) + value


class Helper:
    """One helper, and what it is told."""

    def __init__(self, program, folder, grants):
        self.program, self.folder, self.grants, self.most = program, folder, grants, 0
        self.begin()

    def again(self):
        """Another one, once this one has ended."""
        self.end()
        self.begin()

    def drain(self):
        """Takes what it has said."""
        while self.process.stdout.read(1 << 20):
            pass
        self.most = max(self.most, self.mebibytes())

    def begin(self):
        """Starts it, and says hello."""
        self.process = subprocess.Popen(
            [str(self.program), "--root", str(self.folder / "root"), "--pool", "atl.example.com", "--partner", "chi.example.com", "--grant", self.grants, "--state", str(self.folder / "state")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        os.set_blocking(self.process.stdout.fileno(), False)
        self.say(b"CSB1 1-1 0.1.0 00000000000000aa\n" + frame(HELLO, 0, text("atl.example.com") + varint(20)))

    def say(self, data):
        """Whether it still listens."""
        try:
            self.process.stdin.write(data)
            self.process.stdin.flush()
            return True
        except (BrokenPipeError, OSError):
            return False

    def mebibytes(self):
        """The most that was resident."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
            return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
        except (FileNotFoundError, StopIteration, ProcessLookupError):
            return 0

    def end(self):
        """It ends once its caller does."""
        self.most = max(self.most, self.mebibytes())
        try:
            self.process.stdin.close()
        except OSError:
            pass
        # What it still says is thrown away.
        self.process.stdout.close()
        began = time.monotonic()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("it does not end") from None
        assert time.monotonic() - began < 8, "it ended late"
        assert self.most <= MOST_MEBIBYTES, f"it took {self.most:.0f} MiB"
        return self.most


def prepare(folder):
    """A root, and what lies around it."""
    (folder / "root" / "share" / "deep").mkdir(parents=True)
    (folder / "state").mkdir()
    (folder / "root-old").mkdir()
    (folder / "root-old" / "secret").write_text("secret")
    (folder / "secret").write_text("secret")
    for number in range(200):
        (folder / "root" / "share" / "deep" / f"{number}").write_bytes(os.urandom(20_000))
    (folder / "root" / "share" / "big").write_bytes(os.urandom(40 << 20))
    os.symlink("../root-old/secret", folder / "root" / "link")
    with sqlite3.connect(folder / "root" / "users.sqlite") as server:
        server.execute("CREATE TABLE t (x)")
        server.executemany("INSERT INTO t VALUES (?)", ((os.urandom(100_000),) for _ in range(600)))
    server.close()


def everything(folder):
    """What lies there, with its times."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if (folder / "state") in [file, *file.parents]:
            continue
        seen = file.lstat()
        found[str(file)] = (seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ino)
    return found


def store(path):
    """A user store's name in a message."""
    return text(path) + b"\0" + varint(100)


PATHS = ["users.sqlite", "share", "link", "../secret", "/etc/passwd", "", ".", "..", "share/../../secret", "x\0y", "root-old/secret", "share/deep/1", "../root-old/secret", "users.sqlite/", "a" * 5_000]


def document(path):
    """What is asked of a module, or of leases, right or nearly so."""
    pool = random.choice(["chi.example.com", "atl.example.com", "nyc.example.com"])
    copy = random.choice(["sqlite:/users.sqlite", "sqlite:/new.sqlite", "sqlite:/link", "file:/share", "file:/", "sqlite:/../secret", "x:/y", f"sqlite:/{path}"])
    content = {"dataConf": {"source": "file:/x", "sourceDatabases": [copy] * random.randrange(50), "copy": copy, "copyDatabases": ["sqlite:/a"], "index": random.choice(["sqlite:/users.sqlite", "sqlite:/index.sqlite"]), "batchBytes": random.choice([0, 1, 2**63]), "history": {"keep": random.choice(["1m", "7d", "forever"]), "max": "0x"}}}
    users = {"presenceFocus": {"source": {"url": random.choice(["sqlite:/source", copy]), "history": {"keep": "1m", "max": "1MiB"}}, "copy": copy, "patienceMs": random.choice([0, 2**63])}}
    master = {"cmsMaster": {"master": "sqlite:/m", "copy": copy, "maxBatches": 2**60}}
    asked = {
        "pool": pool, "stores": random.choice([content, users, master, {"noMasterCopy": None}, 7]),
        "other": {"pool": random.choice([pool, "chi.example.com"]), "root": random.choice(["/", "", "..", path]), "shown": path},
        "leases": random.choice([None, "sqlite:/service.sqlite", "sqlite:/users.sqlite", "sqlite:/../secret"]),
        "generation": random.choice([0, -1, 2**63 - 1]), "acceptDeletions": random.random() < 0.2, "verify": False, "thorough": True, "names": True, "job": None,
    }
    try:
        return json.dumps(asked)
    except (UnicodeDecodeError, ValueError):
        return "{}"


def nonsense(helper):
    """Every message, with what looks right and what does not. A helper that has heard enough ends, and another one hears the rest."""
    call = 1
    heard = 0
    for message in [*range(256), *range(80, 83), 66, 10] * 2:
        for _ in range(6):
            path = random.choice(PATHS)
            content = random.choice([
                b"", os.urandom(random.randrange(200)), text(path), store(path) + b"\0", text(path) + varint(random.getrandbits(63)),
                text(document(path)), text(document(path)), store(path) + os.urandom(40), b"\xff" * 50, varint(random.getrandbits(60)) + text(path),
                text(path) + b"\0" + b"\0", text(path) + varint(5) + text('{"Holder":"chi.example.com"}'),
            ])
            while not helper.say(frame(CALL, call, bytes([message]) + content)):
                helper.again()
            heard += 1
            if random.random() < 0.3:
                helper.say(frame(random.choice([PART, PARTS_END, CREDIT]), call, os.urandom(random.randrange(64))))
            helper.say(frame(PARTS_END, call) + (frame(CANCEL, call) if random.random() < 0.5 else b""))
            call += 1
            helper.drain()
            if call % 16 == 0:
                # It answers only so many at a time.
                time.sleep(0.02)
    assert heard == 261 * 12


def exports_that_nobody_reads(helper):
    """The whole of a store, again and again, and nobody takes it."""
    seed, root = b"\0" + varint(7), bytes(32)
    for call in range(1, 30):
        request = store("users.sqlite") + seed + b"\0\0" + varint(0) + root + b"\0" + varint(60_000)
        helper.say(frame(CALL, call, bytes([22]) + request))
    time.sleep(6)


def hashes_without_end(helper):
    """A list that is longer than any store."""
    seed, root = b"\0" + varint(7), bytes(32)
    request = store("users.sqlite") + seed + b"\0\0" + varint(2**32 - 1) + root + b"\0" + varint(60_000)
    helper.say(frame(CALL, 1, bytes([22]) + request))
    for _ in range(3_000):
        if not helper.say(frame(PART, 1, bytes(256 << 10))):
            return


def files_that_nobody_reads(helper):
    """A content store, opened and walked and read, and nobody takes anything."""
    for call in range(1, 16):
        helper.say(frame(CALL, call, bytes([40]) + text("share") + varint(call) + b"\0" + b"\0"))
    time.sleep(2)
    for call in range(16, 31):
        helper.say(frame(CALL, call, bytes([44]) + varint(call - 15) + text("big") + b"\0"))
    time.sleep(3)
    assert helper.mebibytes() > 5, "it has ended"


def main():
    """Each story with a helper of its own."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--helper", type=Path, default=ROOT / "target" / "debug" / "csb-serve")
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    options = arguments.parse_args()
    random.seed(options.seed)
    print(f"seed {options.seed}")
    reading = [nonsense, exports_that_nobody_reads, hashes_without_end, files_that_nobody_reads]
    granted = [("read", story) for story in reading]
    granted += [(grants, nonsense) for grants in ("read,write", "read,give-back", "read,cms", "read,write,give-back,cms")]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        prepare(folder)
        before = everything(folder)
        for grants, story in granted:
            helper = Helper(options.helper, folder, grants)
            try:
                story(helper)
                most = helper.end()
                after = everything(folder)
                # Who may write may make what was not there, below the root.
                made = {file for file in after.keys() - before.keys() if grants != "read" and file.startswith(f"{folder}/root/")}
                root = str(folder / "root")
                changed = {file for file in after.keys() | before.keys() if after.get(file) != before.get(file)} - made
                assert not made and not changed or made and changed <= {root}, changed
                print(f"ok {story.__name__} with {grants}: at most {most:.0f} MiB", flush=True)
                for file in sorted(made, reverse=True):
                    Path(file).rmdir() if Path(file).is_dir() else Path(file).unlink()
                before = everything(folder)
            except AssertionError as wrong:
                failed += 1
                print(f"FAILED {story.__name__} with {grants}: {wrong}", flush=True)
            finally:
                helper.process.kill()
                helper.process.wait()
    print(f"{len(granted) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
