#!/usr/bin/env bash
# The real-server tests: a Prosody as a pool, and Prosody, ejabberd and Kamailio beside backups and syncs. They need the servers with their
# SQLite drivers, slixmpp for Debian's own Python, and the sqlite3 shell; what cannot be had is skipped, and that is said.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit
PYTHON=/usr/bin/python3

# skip HOW MANY WHY
skip() {
    echo "Skipped: $2."
    echo "0 passed, 0 failed, $1 skipped"
}

lacks_for_all() {
    command -v sqlite3 >/dev/null || { echo 'the sqlite3 shell is not installed'; return; }
    [ -x "$PYTHON" ] || { echo "$PYTHON does not exist"; return; }
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$PYTHON is older than 3.11"; return; }
    "$PYTHON" -c 'import aiohttp, slixmpp' 2>/dev/null || echo 'python3-slixmpp or python3-aiohttp is not installed'
}

lacks_for_prosody() {
    command -v prosody >/dev/null || { echo 'prosody is not installed'; return; }
    lua5.4 -e 'require "dbd.sqlite3"' 2>/dev/null || echo 'lua-dbi-sqlite3 is not installed'
}

all() {
    local why
    why=$(lacks_for_all)
    [ -z "$why" ] || { skip 4 "$why"; return; }
    why=$(lacks_for_prosody)
    if [ -n "$why" ]; then skip 1 "a Prosody as a pool: $why"; else "$PYTHON" test_prosody_pool.py; fi
    "$PYTHON" test_undisturbed.py
}

all | awk '/^[0-9]+ passed/ { p += $1; f += $3; s += ($6 ~ /^skipped/) ? $5 : 0; next } { print; fflush() }
    END { printf "%d passed, %d failed, %d skipped\n", p, f, s; exit (f > 0 || p + s == 0) }'
