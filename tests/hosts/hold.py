#!/usr/bin/env python3
"""Holds the lock of a database as a server that writes does, so that a job on it cannot end: hold.py DATABASE

Prints "held" once it has the lock, and gives it back when its input ends: with the test that started it, at the latest.
"""

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
