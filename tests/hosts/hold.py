#!/usr/bin/env python3
"""Keeps a database for itself as a server in exclusive locking mode does, so that a job on it cannot end: hold.py DATABASE

No state can be read, because nothing tells whether it is being written. Prints "held" once it has the lock, and gives it back when its
input ends: with the test that started it, at the latest.
"""

import sqlite3
import sys


def hold(database):
    """A connection that nobody can read beside, until it is closed."""
    # What a log holds could be read; so there is none.
    with sqlite3.connect(database, timeout=60, isolation_level=None) as before:
        before.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before.close()
    connection = sqlite3.connect(database, timeout=60, isolation_level=None)
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    return connection


if __name__ == "__main__":
    held = hold(sys.argv[1])
    print("held", flush=True)
    sys.stdin.read()
    held.close()
