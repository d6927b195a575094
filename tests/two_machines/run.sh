#!/usr/bin/env bash
# Two machines of one, joined by a private sshd: kills, cuts, slow and frozen lines. The short form; `kills.py --pipe 10000 --ssh 500` and
# `line.py --seconds 3600` are the long ones. Ends with `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" || exit
export USER=${USER:-$(id -un)}
{
    ./kills.py --pipe 500 --ssh 25
    ./line.py
    ./adversary.py
} | awk '/^[0-9]+ passed/ { p += $1; f += $3; s += ($6 ~ /^skipped/) ? $5 : 0; told++; next } { print; fflush() }
    # One that ends without its last line has failed.
    END { f += 3 - told; printf "%d passed, %d failed, %d skipped\n", p, f, s; exit (f > 0 || p + s == 0) }'
