#!/usr/bin/env bash
# Builds the C# library, its tests and its example, and runs them: tests/hosts/csharp/run.sh
#
# The native library is $CSBACKUP_LIBRARY, or the debug build of this checkout. The last line is "N passed, N failed", or says
# that all was skipped because there is no .NET 10.
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
CSBACKUP_LIBRARY=$(realpath -m -- "${CSBACKUP_LIBRARY:-${CARGO_TARGET_DIR:-$root/target}/debug/libcs_backup.so}")
export CSBACKUP_LIBRARY
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_CLI_UI_LANGUAGE=en

if ! dotnet --list-sdks 2>/dev/null | grep -q '^10\.'; then
    echo "skipped: no .NET 10 SDK found"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
if [ ! -r "$CSBACKUP_LIBRARY" ]; then
    echo "There is no library at $CSBACKUP_LIBRARY: build it with 'cargo build', or name it in CSBACKUP_LIBRARY." >&2
    exit 2
fi

. "$root/tests/checks.sh"

# Servers that a build would leave running keep the pipe of this script open.
quiet=(--nologo -nodeReuse:false -p:UseSharedCompilation=false)
tests() {
    timeout 300 dotnet test "$here/CsBackup.Net.Tests" "${quiet[@]}" --blame-hang-timeout 120s \
        --logger 'console;verbosity=normal' --results-directory "$work/results"
}
count() { sed -n "s/^ *$1: *\([0-9]*\)$/\1/p" "$work/tests" | tail -n 1; }

tests >"$work/tests" 2>&1
outcome=$?
sed -n 's/^ *Passed \(.*\)$/ok      \1/p; s/^ *Failed \(.*\)$/FAILED  \1/p' "$work/tests" | grep -v ': [0-9]'
passed=$(count Passed)
failed=$(count Failed)
passed=${passed:-0}
failed=${failed:-0}
if [ "$outcome" -ne 0 ] || [ "$passed" -eq 0 ]; then
    tail -n 60 "$work/tests"
    [ "$failed" -gt 0 ] || failed=1
fi

as_in_the_guide() {
    awk '/^```csharp$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$root/docs/abi.md" | diff - "$here/Example/Program.cs"
}
example() {
    timeout 200 dotnet build "$here/Example" "${quiet[@]}" -o "$work/example" || return 1
    local deployment
    deployment=$(make_sample) || return 1
    timeout 60 dotnet "$work/example/Example.dll" "$deployment" atl-cs-001.litwareinc.com | tee "$work/said"
    grep -q '^Succeeded in' "$work/said" || return 1
    ! timeout 60 dotnet "$work/example/Example.dll" "$deployment" nowhere.litwareinc.com 2>"$work/said" || return 1
    cat "$work/said"
    grep -q '^UnknownPool: ' "$work/said"
}
# The example only backs up: the C host makes the deployment, where there is a C compiler.
make_sample() {
    ${CC:-gcc} -std=c11 -I"$root/include" "$root/tests/hosts/c/backup_host.c" "$CSBACKUP_LIBRARY" \
        -Wl,-rpath,"$(dirname "$CSBACKUP_LIBRARY")" -o "$work/host" && "$work/host" --sample "$work/sample"
}

check "docs/abi.md shows the example as it is" as_in_the_guide
if command -v "${CC:-gcc}" >/dev/null 2>&1; then
    check "the example backs a sample up and explains an error" example
fi

finish
