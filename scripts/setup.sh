#!/usr/bin/env bash
# Installs what building needs, and with `tests` what all tests need: packages through apt-get, Rust through rustup. Sourced by
# the other scripts, or run by itself. Everything is said before it is done. Where something that building needs cannot be had, the script
# ends and says what to do; where a test needs it, that test is skipped and says so.
set -euo pipefail

OLDEST_RUST=1.89
RUSTUP_INSTALLER=https://sh.rustup.rs
cargo_home=${CARGO_HOME:-$HOME/.cargo}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
path_before=$PATH
downloads=

tell() { printf 'setup: %s\n' "$@" >&2; }
give_up() { tell "$@"; rm -rf "$downloads"; exit 1; }
has() { command -v "$1" >/dev/null; }

# Says what comes next; a person at a terminal has a moment to stop it.
announce() {
    tell "$@"
    if [ -t 0 ] && [ -t 2 ]; then
        tell 'It begins in 5 seconds; Ctrl+C stops it.'
        sleep 5
    fi
}

# Ctrl+C ends everything, also while a program runs that then ends as if it had worked (apt-get update) or had merely failed (sudo).
stopped() {
    rm -rf "$downloads"
    trap - INT
    kill -INT $$
}

# ---- packages --------------------------------------------------------------------------------------------------------

# Runs a command as root or through sudo, which asks for a password only where somebody can type it.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@"
    else
        sudo -n "$@"
    fi
}

# missing PACKAGE…: those that are not installed, one a line; all of them where packages are not Debian's.
missing() {
    local package installed
    [ $# -gt 0 ] || return 0
    installed=$(dpkg-query -W -f '${Status}: ${Package}\n' "$@" 2>/dev/null) || true
    for package in "$@"; do
        grep -qxF "install ok installed: $package" <<<"$installed" || echo "$package"
    done
}

# ask_an_administrator WHY PACKAGE…
ask_an_administrator() {
    tell "$1 Please have this done, then run this again:" "    apt-get install --no-install-recommends ${*:2}"
}

# install PACKAGE…: fails where a package cannot be installed, and has said then what to do.
install() {
    local package known=() unknown=() how='as root'
    [ $# -gt 0 ] || return 0
    has apt-get || { tell "Not a Debian system. Please install what these packages of Debian hold: $*"; return 1; }
    if [ "$(id -u)" -ne 0 ]; then
        has sudo || { ask_an_administrator 'Only an administrator can install what is missing.' "$@"; return 1; }
        how='as root through sudo, which may ask for your password'
    fi
    announce "apt-get installs, $how: $*"
    as_root apt-get --version >/dev/null || {
        tell "sudo did not let $(id -un) install; the reason stands above. If it only lacks your password, run this again at a terminal."
        ask_an_administrator 'If you are not to use sudo, only an administrator can install what is missing.' "$@"
        return 1
    }
    # Without that option an unreachable server is no failure to apt-get.
    as_root apt-get update -o APT::Update::Error-Mode=any >/dev/null ||
        tell 'The lists of packages could not all be brought up to date; those that are here are used.'
    for package in "$@"; do
        # A name that other packages only mention is shown as nothing, and is no error.
        if [ -n "$(apt-cache show "$package" 2>/dev/null)" ]; then known+=("$package"); else unknown+=("$package"); fi
    done
    [ ${#unknown[@]} -eq 0 ] || tell "apt-get does not know: ${unknown[*]}. Without a network it may have no lists of packages."
    # No server must be started as a service of the machine: tests run their own.
    if [ ${#known[@]} -gt 0 ] && ! as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 "${known[@]}" >/dev/null; then
        tell "apt-get could not install: ${known[*]}. The reason stands above; once it is gone, run this again."
        return 1
    fi
}

# ---- Rust ------------------------------------------------------------------------------------------------------------

rust_is_new_enough() {
    [[ $(RUSTUP_AUTO_INSTALL=0 cargo --version 2>/dev/null) =~ ^cargo\ ([0-9]+)\.([0-9]+) ]] || return 1
    local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    ((major > ${OLDEST_RUST%.*} || (major == ${OLDEST_RUST%.*} && minor >= ${OLDEST_RUST#*.})))
}

# Finds Rust where rustup has put it: its folder need not be on PATH, and "stable" need not be the default.
use_rust() {
    rust_is_new_enough && return
    if [ -x "$cargo_home/bin/cargo" ]; then PATH=$cargo_home/bin:$PATH; fi
    rust_is_new_enough && return
    # A rustup older than 1.28.1, as Debian 13 has, would install "stable" without a word where it is asked for its version.
    if has rustup && grep -q '^stable' <<<"$(rustup toolchain list 2>/dev/null)" && RUSTUP_TOOLCHAIN=stable rust_is_new_enough; then
        tell "The default toolchain of rustup is not $OLDEST_RUST or newer; \"stable\" is used."
        export RUSTUP_TOOLCHAIN=stable
    fi
}

download() { # download URL FILE
    if has curl; then
        curl --proto '=https' --tlsv1.2 --fail --silent --show-error --location "$1" --output "$2"
    else
        wget --https-only --no-verbose --output-document "$2" "$1"
    fi
}

install_rust() {
    local rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
    local parts=(--profile minimal --component clippy --component rustfmt)
    if has rustup; then
        announce "rustup downloads Rust's toolchain \"stable\" (600 MB on the disk) into $rustup_home, as $(id -un)."
        rustup toolchain install stable "${parts[@]}" --no-self-update ||
            give_up 'rustup could not install the toolchain; the reason stands above. Once it is gone, run this again.'
    else
        has curl || has wget || give_up "Without curl or wget Rust cannot be downloaded. Please install Rust $OLDEST_RUST or newer, then run this again."
        announce "Rust $OLDEST_RUST or newer is not here. As $(id -un):" \
            "    Rust's official installer is downloaded from $RUSTUP_INSTALLER and run;" \
            "    it puts rustup and the toolchain \"stable\" (600 MB) into $cargo_home and $rustup_home;" \
            '    no shell profile is changed.'
        downloads=$(mktemp -d)
        download "$RUSTUP_INSTALLER" "$downloads/installer" ||
            give_up "$RUSTUP_INSTALLER cannot be downloaded; the reason stands above." \
                "Run this again with a network (a proxy goes into https_proxy), or install Rust $OLDEST_RUST or newer in another way."
        # Where the installer has only wget, it would show hundreds of lines of progress.
        { cat "${WGETRC:-$HOME/.wgetrc}" 2>/dev/null || true; echo 'verbose = off'; } >"$downloads/wgetrc"
        TMPDIR=$downloads WGETRC=$downloads/wgetrc sh "$downloads/installer" -y --no-modify-path --default-toolchain stable "${parts[@]}" ||
            give_up 'The installer of Rust failed; the reason stands above. Once it is gone, run this again.'
        rm -rf "$downloads"
    fi
    if [ -x "$cargo_home/bin/cargo" ] && [[ :$path_before: != *":$cargo_home/bin:"* ]]; then
        tell "Rust is in $cargo_home/bin. In your own shells it is found after:" "    . \"$cargo_home/env\""
    fi
    use_rust
    rust_is_new_enough || give_up "$(command -v cargo || echo 'No cargo') is not Rust $OLDEST_RUST or newer. Please put a newer one first on PATH, then run this again."
}

# ---- building --------------------------------------------------------------------------------------------------------

compiles_c() { has cc && gcc -fsyntax-only -x c - <<<'#include <stdlib.h>' 2>/dev/null; }
has_certificates() { compgen -G "${SSL_CERT_DIR:-/etc/ssl/certs}/*" >/dev/null; }

# setup_build [PACKAGE…]: what building needs, and the packages, without which building is possible.
setup_build() {
    local needed=() others
    trap stopped INT
    compiles_c || needed+=(gcc libc6-dev)
    use_rust
    if ! rust_is_new_enough && ! has rustup; then
        has curl || has wget || needed+=(curl)
        has_certificates || needed+=(ca-certificates)
    fi
    mapfile -t others < <(missing "$@")
    install "${needed[@]}" "${others[@]}" || true
    compiles_c || give_up 'Without a C compiler nothing can be built.'
    rust_is_new_enough || install_rust
    setup_crates
}

setup_crates() {
    local fetch=(cargo fetch --manifest-path "$checkout/Cargo.toml" --target "$(rustc -vV | sed -n 's/^host: //p')")
    "${fetch[@]}" --offline 2>/dev/null && return
    announce "cargo downloads the crates that Cargo.lock names from crates.io into $cargo_home, as $(id -un)."
    "${fetch[@]}" || give_up 'cargo could not download the crates; the reason stands above.' \
        'Run this again with a network (a proxy goes into https_proxy).'
}

# ---- tests -----------------------------------------------------------------------------------------------------------

# PowerShell as a .NET tool and Pester beside it, for this checkout alone: a machine that has pwsh keeps its own.
POWERSHELL_VERSION=7.6.9
PESTER_VERSION=5.9.1
powershell_tools=$checkout/target/powershell

setup_powershell() {
    use_powershell
    has pwsh && return 0
    has dotnet || { tell 'no pwsh, and no dotnet to install it with'; return 0; }
    announce "dotnet downloads PowerShell $POWERSHELL_VERSION and Pester $PESTER_VERSION from nuget.org into $powershell_tools"
    export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1
    dotnet tool install PowerShell --version "$POWERSHELL_VERSION" --tool-path "$powershell_tools" >/dev/null ||
        tell 'could not install PowerShell'
    dotnet restore "$checkout/scripts/Pester.csproj" -p:PesterVersion="$PESTER_VERSION" --packages "$powershell_tools/packages" \
        -p:BaseIntermediateOutputPath="$powershell_tools/obj/" >/dev/null || tell 'could not install Pester'
    local pester=$powershell_tools/packages/pester/$PESTER_VERSION/tools
    if [ -d "$pester" ]; then
        mkdir -p "$powershell_tools/modules/Pester"
        ln -sfn "$pester" "$powershell_tools/modules/Pester/$PESTER_VERSION"
    fi
    use_powershell
}

# Lets what setup_powershell has installed be found, where the machine has no pwsh of its own.
use_powershell() {
    if has pwsh || [ ! -x "$powershell_tools/pwsh" ]; then return 0; fi
    PATH=$powershell_tools:$PATH
    export PSModulePath=$powershell_tools/modules${PSModulePath:+:$PSModulePath} POWERSHELL_TELEMETRY_OPTOUT=1
}

setup_tests() {
    local packages=(g++ binutils sqlite3 valgrind chromium tmux prosody lua5.4 lua-dbi-sqlite3 python3 python3-slixmpp python3-aiohttp)
    # Servers that wait for no lock, and are not to notice anything.
    packages+=(ejabberd erlang-p1-sqlite3 kamailio kamailio-sqlite-modules)
    # Rust's sanitizer runtimes are gcc's here; its C hosts need them.
    packages+=(libasan8 libubsan1 libtsan2)
    # Standbys on file systems that clone files.
    packages+=(xfsprogs btrfs-progs)
    # Two machines on this one.
    packages+=(openssh-server)
    # A Node that was not installed as Debian's own packages brings its npm along.
    has npm || packages+=(nodejs npm)
    setup_build "${packages[@]}"
    setup_lints
    setup_powershell
}

# Parts of Rust that building does not need.
setup_lints() {
    cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 && return
    has rustup || { tell 'cargo has no clippy or no fmt; please install them. The tests that need them fail.'; return; }
    announce 'rustup downloads clippy and rustfmt'
    rustup component add clippy rustfmt || tell 'could not install them; the tests that need them fail'
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    case ${1:-build} in
        tests) setup_tests ;;
        build) setup_build ;;
        *) echo "usage: $0 [build|tests]" >&2; exit 2 ;;
    esac
fi
