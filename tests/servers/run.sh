#!/bin/sh
# The real-server tests. They need Prosody 0.12 with its SQLite driver, slixmpp for Debian's own Python, and the
# sqlite3 shell; without them they are skipped, and say so.
set -eu
cd "$(dirname "$0")"
PYTHON=/usr/bin/python3

skip() {
    echo "The real-server tests are skipped: $1."
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}

command -v prosody >/dev/null || skip "prosody is not installed"
command -v sqlite3 >/dev/null || skip "the sqlite3 shell is not installed"
[ -x "$PYTHON" ] || skip "$PYTHON does not exist"
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || skip "$PYTHON is older than 3.11"
"$PYTHON" -c 'import aiohttp, slixmpp' 2>/dev/null || skip "python3-slixmpp or python3-aiohttp is not installed"
lua5.4 -e 'require "dbd.sqlite3"' 2>/dev/null || skip "lua-dbi-sqlite3 is not installed"

exec "$PYTHON" test_prosody_pool.py
