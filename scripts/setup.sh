#!/usr/bin/env bash
# Installs what building needs, and with `tests` what all tests need, where apt-get is at hand. Sourced by the other
# scripts, or run by itself. What cannot be installed is said; whatever needs it is then skipped and says so too.
set -euo pipefail

OLDEST_RUST=1.89

# Runs apt-get, as root or through sudo; fails where neither is possible.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# install PACKAGE…: those that are missing.
install() {
    local missing=()
    command -v dpkg-query >/dev/null || { echo "setup: not a Debian system; please install: $*" >&2; return 0; }
    for package in "$@"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    echo "setup: installing ${missing[*]}"
    # Prosody must not be started as a service of the machine: tests run their own.
    { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y --no-install-recommends "${missing[@]}"; } \
        >/dev/null || echo "setup: could not install ${missing[*]}" >&2
}

rust_is_new_enough() {
    command -v cargo >/dev/null || return 1
    local version
    version=$(cargo --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$OLDEST_RUST" "$version" | sort -V | head -1)" = "$OLDEST_RUST" ]
}

setup_build() {
    install gcc libc6-dev git
    rust_is_new_enough && return
    install rustup
    if command -v rustup >/dev/null; then rustup toolchain install stable --profile default; fi
    rust_is_new_enough || { echo "setup: please install Rust $OLDEST_RUST or newer with rustup, then run this again" >&2; exit 1; }
}

# PowerShell as a .NET tool and Pester beside it, for this checkout alone: a machine that has pwsh keeps its own.
POWERSHELL_VERSION=7.6.9
PESTER_VERSION=5.9.1
powershell_tools=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/target/powershell

setup_powershell() {
    use_powershell
    command -v pwsh >/dev/null && return 0
    command -v dotnet >/dev/null || { echo "setup: no pwsh, and no dotnet to install it with" >&2; return 0; }
    echo "setup: installing PowerShell $POWERSHELL_VERSION and Pester $PESTER_VERSION"
    export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
    dotnet tool install PowerShell --version "$POWERSHELL_VERSION" --tool-path "$powershell_tools" >/dev/null ||
        echo "setup: could not install PowerShell" >&2
    dotnet restore "$(dirname "${BASH_SOURCE[0]}")/Pester.csproj" -p:PesterVersion="$PESTER_VERSION" --packages "$powershell_tools/packages" \
        -p:BaseIntermediateOutputPath="$powershell_tools/obj/" >/dev/null || echo "setup: could not install Pester" >&2
    local pester=$powershell_tools/packages/pester/$PESTER_VERSION/tools
    if [ -d "$pester" ]; then
        mkdir -p "$powershell_tools/modules/Pester"
        ln -sfn "$pester" "$powershell_tools/modules/Pester/$PESTER_VERSION"
    fi
    use_powershell
}

# Lets what setup_powershell has installed be found, where the machine has no pwsh of its own.
use_powershell() {
    if command -v pwsh >/dev/null || [ ! -x "$powershell_tools/pwsh" ]; then return 0; fi
    PATH=$powershell_tools:$PATH
    export PSModulePath=$powershell_tools/modules${PSModulePath:+:$PSModulePath} POWERSHELL_TELEMETRY_OPTOUT=1
}

setup_tests() {
    setup_build
    setup_powershell
    install g++ binutils sqlite3 valgrind chromium tmux prosody lua5.4 lua-dbi-sqlite3 python3 python3-slixmpp python3-aiohttp
    # A Node that was not installed as Debian's own packages brings its npm along.
    command -v npm >/dev/null || install nodejs npm
    # Rust's sanitizer runtimes are gcc's here; its C hosts need them.
    install libasan8 libubsan1 libtsan2
    # Standbys on file systems that clone files.
    install xfsprogs btrfs-progs
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case ${1:-build} in
        tests) setup_tests ;;
        build) setup_build ;;
        *) echo "usage: $0 [build|tests]" >&2; exit 2 ;;
    esac
fi
