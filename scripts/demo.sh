#!/usr/bin/env bash
# The main job on embedded defaults: makes a pair of pools with data, backs one up, changes a few things, synchronizes,
# and says where the report lies. Through PowerShell where pwsh is on PATH, else through the C host.
#   scripts/demo.sh [--two-machines] [FOLDER]
#       FOLDER: where the sample is made, new or empty; default .sample/<time> in the checkout
#       --two-machines: the pools stand at two machines, which reach each other through ssh
set -euo pipefail
machines=one
if [ "${1:-}" = --two-machines ]; then
    machines=two
    shift
fi
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
folder=$(realpath -m -- "${1:-$root/.sample/$(date +%Y%m%d-%H%M%S)}")
if [ -e "$folder" ] && [ -n "$(ls -A -- "$folder")" ]; then
    echo "demo: $folder is there already; please name a new folder." >&2
    exit 2
fi
cd "$root"
. scripts/setup.sh

setup_build
cargo build --release --lib --bin sample_server --bin csb-serve
mkdir -p "$(dirname "$folder")"
export CSBACKUP_LIBRARY=$PWD/target/release/libcs_backup.so

# Two machines are shown with the cmdlets alone: where the tests have installed PowerShell, that one is taken.
[ "$machines" = one ] || use_powershell
if has pwsh; then
    ps-module/build.sh
    [ "$machines" = one ] || exec scripts/demo-two-machines.sh "$folder"
    exec pwsh -NoProfile -File scripts/demo.ps1 -Path "$folder"
fi

if [ "$machines" = two ]; then
    echo 'demo: --two-machines needs pwsh; where there is dotnet, "(. scripts/setup.sh; setup_powershell)" installs it for this checkout.' >&2
    exit 1
fi
echo "pwsh is not on PATH: this runs through the C host instead."
host=target/release/backup_host
gcc -std=c11 -O1 -Wall -Wextra -Werror -pedantic -Iinclude examples/hosts/c/backup_host.c -o "$host" "$CSBACKUP_LIBRARY" -Wl,-rpath,"$PWD/target/release"
say() { printf '\n== %s\n' "$*"; }
pool=atl-cs-001.litwareinc.com
say "A sample deployment: two pools, 200 users each with contacts, 300 files, a Central Management store"
"$host" --sample "$folder"
say "The first backup of $pool"
"$host" "$folder/deployment.toml" "$pool" --report "$folder/backup.html"
say "Its server goes on working: users, contacts and files change"
target/release/sample_server "$folder/atl"
say "A sync moves only what changed"
"$host" "$folder/deployment.toml" "$pool" --sync --report "$folder/sync.html"
say "The reports: $folder/backup.html and $folder/sync.html"
