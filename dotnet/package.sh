#!/usr/bin/env bash
# Builds the NuGet package of CsBackup.Net, with the native libraries that are named, into FOLDER:
#   dotnet/package.sh FOLDER [RID=LIBRARY]…     RID=LIBRARY: for instance linux-x64=target/release/libcs_backup.so;
#                                               without any, this machine's release build
# The version is the library's, out of Cargo.toml.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../scripts/runtimes.sh"
[[ $# -ge 1 ]] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
folder=$(realpath -m -- "$1")
shift

staged=$(mktemp -d)
trap 'rm -rf "$staged"' EXIT
stage_runtimes "$staged/runtimes" "$@"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$here/../Cargo.toml")
# Built aside, so that nothing of another configuration is packed. Servers that a build leaves running would keep its output open.
dotnet pack "$here/CsBackup.Net" --nologo -nodeReuse:false -p:UseSharedCompilation=false --artifacts-path "$staged/build" \
    -p:Version="$version" -p:CsBackupRuntimes="$staged/runtimes" -o "$folder"
echo "$folder/CsBackup.Net.$version.nupkg"
