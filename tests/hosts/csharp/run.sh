#!/usr/bin/env bash
# Tests CsBackup.Net, and its package in a fresh project: tests/hosts/csharp/run.sh
#
# The native library is $CSBACKUP_LIBRARY, or the debug build of this checkout. The last line is "N passed, N failed", or says
# that all was skipped because there is no .NET 10.
set -u -o pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
CSBACKUP_LIBRARY=$(realpath -m -- "${CSBACKUP_LIBRARY:-${CARGO_TARGET_DIR:-$root/target}/debug/libcs_backup.so}")
export CSBACKUP_LIBRARY CSB_HOLD=$root/tests/hosts/hold.py
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
. "$root/scripts/runtimes.sh"

# Servers that a build would leave running keep the pipe of this script open.
quiet=(--nologo -nodeReuse:false -p:UseSharedCompilation=false)
tests() {
    timeout 900 dotnet test "$here/CsBackup.Net.Tests" "${quiet[@]}" --blame-hang-timeout 300s \
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

# ---- the package, in a project that knows nothing but it ----------------------------------------------------------------

runtime=$(own_runtime)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml")
package=$work/packages/CsBackup.Net.$version.nupkg
holds() { # holds FILE…
    local name
    python3 -m zipfile -l "$package" | tee "$work/held"
    for name in "$@"; do grep -q "^$name  *" "$work/held" || return 1; done
}

# The program of docs/abi.md, the package from a folder, no other source of packages, and none that was restored before.
fresh_project() {
    mkdir "$work/fresh"
    awk '/^```csharp$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$root/docs/abi.md" >"$work/fresh/Program.cs"
    cat >"$work/fresh/nuget.config" <<CONFIG
<configuration><packageSources><clear /><add key="local" value="$work/packages" /></packageSources></configuration>
CONFIG
    cat >"$work/fresh/Fresh.csproj" <<PROJECT
<Project Sdk="Microsoft.NET.Sdk">
  <PropertyGroup><OutputType>Exe</OutputType><TargetFramework>net10.0</TargetFramework><ImplicitUsings>enable</ImplicitUsings>
    <Nullable>enable</Nullable><TreatWarningsAsErrors>true</TreatWarningsAsErrors></PropertyGroup>
  <ItemGroup><PackageReference Include="CsBackup.Net" Version="$version" /></ItemGroup>
</Project>
PROJECT
    NUGET_PACKAGES=$work/restored timeout 600 dotnet build "$work/fresh" "${quiet[@]}" -o "$work/fresh/out"
}
# Nothing but the package says where the native library is.
fresh() { env -u CSBACKUP_LIBRARY timeout 300 dotnet "$work/fresh/out/Fresh.dll" "$@"; }
backs_up() {
    local deployment
    deployment=$("$root/tests/hosts/sample.py" "$work/sample") || return 1
    fresh "$deployment" atl-cs-001.litwareinc.com | tee "$work/said"
    grep -q '^Succeeded in' "$work/said" && grep -q 'UserServices.PresenceFocus: Succeeded' "$work/said"
}
explains() {
    ! fresh "$work/sample/deployment.toml" nowhere.litwareinc.com >"$work/said" 2>&1 || return 1
    cat "$work/said"
    grep -q '^UnknownPool: ' "$work/said"
}

check "the package is made" timeout 600 "$root/dotnet/package.sh" "$work/packages" "$runtime=$CSBACKUP_LIBRARY"
check "it holds the assembly and the native library in its place" \
    holds lib/net10.0/CsBackup.Net.dll lib/net10.0/CsBackup.Net.xml "runtimes/$runtime/native/$(library_name "$runtime")" README.md icon.png
check "a fresh project restores it from a folder and builds the program of docs/abi.md" fresh_project
check "that program backs a sample up" backs_up
check "that program explains an error" explains

finish
