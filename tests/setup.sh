#!/usr/bin/env bash
# What scripts/setup.sh and scripts/demo.sh do on machines that lack something: tests/setup.sh
#
# Every tool that installs or downloads is a stand-in that writes down how it was called; PATH has nothing else but the basics,
# and HOME is new for each case. The last line is "N passed, N failed".
set -u -o pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/tests/checks.sh"

basics=(bash cat chmod cp date dirname env grep ls mkdir mktemp readlink realpath rm sed sh touch)
mkdir "$work/basics"
for tool in "${basics[@]}"; do ln -s "$(command -v "$tool")" "$work/basics/"; done

# ---- stand-ins ---------------------------------------------------------------------------------------------------------

# stand_in NAME [LINE…]: a program that writes its call down, in the order of what the script says, and runs the lines.
stand_in() {
    {
        echo "#!$work/basics/bash"
        echo "echo \"[$1 \$*]\" >&2"
        printf '%s\n' "${@:2}"
    } >"$tools/$1"
    chmod +x "$tools/$1"
}

# A machine with nothing, on which the account is root or an ordinary user.
#   machine root|user [TOOL…]     TOOL: gcc, curl, wget, certificates, apt, sudo, rustup
machine() {
    rm -rf "$work/machine"
    tools=$work/machine/tools home=$work/machine/home certificates=$work/machine/certificates
    mkdir -p "$tools" "$home" "$certificates" "$work/machine/tmp"
    echo 'as it was' >"$home/.profile"
    local uid=0 tool
    [ "$1" = root ] || uid=1000
    printf '#!%s\n[ "$1" = -u ] && echo %s || echo somebody\n' "$work/basics/bash" "$uid" >"$tools/id"
    printf '#!%s\nexit 1\n' "$work/basics/bash" >"$tools/dpkg-query"
    chmod +x "$tools/id" "$tools/dpkg-query"
    for tool in "${@:2}"; do "a_machine_with_$tool"; done
}
a_machine_with_gcc() { stand_in cc; printf '#!%s\nexit 0\n' "$work/basics/bash" >"$tools/gcc"; chmod +x "$tools/gcc"; }
a_machine_with_certificates() { touch "$certificates/ca-certificates.crt"; }
a_machine_with_sudo() { stand_in sudo 'while [ "${1:-}" = -n ]; do shift; done' 'exec "$@"'; }

# Packages that apt-get installs are other stand-ins, which are there from then on.
a_machine_with_apt() {
    # shellcheck disable=SC2016
    stand_in apt-cache 'echo "Package: $2"'
    # shellcheck disable=SC2016
    stand_in apt-get "case \" \$* \" in *' install '*) cp \"$work\"/later/* \"$tools\"; touch \"$certificates/ca-certificates.crt\" ;; esac"
    rm -rf "$work/later"
    mkdir "$work/later"
    local here=$tools
    tools=$work/later
    a_machine_with_gcc
    a_machine_with_curl
    tools=$here
}

# What the address of the installer gives: it makes a cargo, whose version is a new one.
installer() {
    cat <<INSTALLER
echo "[installer \$*]" >&2
mkdir -p "$home/.cargo/bin"
cat >"$home/.cargo/bin/cargo" <<CARGO
#!$work/basics/bash
[ "\\\$1" = --version ] && echo 'cargo 1.95.0 (0000000 2026-01-01)'
exit 0
CARGO
cp "$home/.cargo/bin/cargo" "$home/.cargo/bin/rustc"
chmod +x "$home/.cargo/bin/"*
INSTALLER
}
a_machine_with_curl() { installer >"$work/installer"; stand_in curl "cp '$work/installer' \"\${@: -1}\""; }
a_machine_with_wget() { installer >"$work/installer"; stand_in wget "cp '$work/installer' \"\$4\""; }

# A rustup whose default toolchain is of some version ("" where there is none), and what its "stable" is, once installed. With
# silent=true, cargo installs the toolchain that it is asked for, as with an old rustup.
rustup() { # rustup DEFAULT [STABLE]
    local version="case \"\${RUSTUP_TOOLCHAIN:-}\" in stable) [ -f '$home/stable' ] || ! ${silent:-false} || echo 1.95.0 >'$home/stable'; cat '$home/stable' 2>/dev/null ;; *) echo '$1' ;; esac"
    printf '%s\n' "#!$work/basics/bash" "version=\$($version)" '[ -n "$version" ] || { echo "no toolchain" >&2; exit 1; }' \
        '[ "$1" != --version ] || echo "cargo $version"' >"$tools/cargo"
    cp "$tools/cargo" "$tools/rustc"
    chmod +x "$tools/cargo" "$tools/rustc"
    [ -z "${2:-}" ] || echo "$2" >"$home/stable"
    stand_in rustup "[ \"\$2\" != list ] || { [ ! -f '$home/stable' ] || echo stable-x86_64-unknown-linux-gnu; exit; }" "echo 1.95.0 >'$home/stable'"
}

# ---- running and looking -------------------------------------------------------------------------------------------------

# run EXIT_CODE COMMAND…: on that machine, with no terminal.
run() {
    local wanted=$1 got=0
    shift
    env -i PATH="$tools:$work/basics" HOME="$home" SSL_CERT_DIR="$certificates" bash "$@" >"$work/said" 2>&1 </dev/null || got=$?
    cat "$work/said"
    [ "$got" -eq "$wanted" ] || { echo "ended with $got, not $wanted"; return 1; }
    [ "$(cat "$home/.profile")" = 'as it was' ] && [ "$(ls -A "$home" | grep -cv '^\.profile$\|^\.cargo$\|^stable$\|^\.wgetrc$')" -eq 0 ] ||
        { echo 'the home folder was changed:'; ls -A "$home"; return 1; }
}
setup=$root/scripts/setup.sh

# stopped_at TEXT: at a terminal, where a person presses Ctrl+C once the text is there. It ends with what shells call 130, and leaves nothing.
stopped_at() {
    local got=0
    ln -sf "$(command -v sleep)" "$tools/sleep"
    : >"$work/typescript"
    # Whoever started this in the background has Ctrl+C ignored, in all that it starts.
    (for _ in {1..400}; do grep -qF "$1" "$work/typescript" && break; sleep 0.05; done; printf '\003'; sleep 1) |
        env -i --default-signal=INT PATH="$tools:$work/basics" HOME="$home" SSL_CERT_DIR="$certificates" SHELL="$(command -v bash)" \
            TMPDIR="$work/machine/tmp" "$(command -v script)" -qefc "bash '$setup'" "$work/typescript" >/dev/null || got=$?
    cp "$work/typescript" "$work/said"
    cat "$work/said"
    [ "$got" -eq 130 ] || { echo "ended with $got, not 130"; return 1; }
    [ -z "$(ls -A "$work/machine/tmp")" ] || { echo 'something was left:'; ls -A "$work/machine/tmp"; return 1; }
}

# says TEXT…: each is said, and none before the one that stands before it here.
says() {
    local text line=0 lines
    mapfile -t lines <"$work/said"
    for text in "$@"; do
        while [[ ${lines[line]-$text} != *"$text"* ]]; do line=$((line + 1)); done
        [ "$line" -lt ${#lines[@]} ] || { echo "not said, or not in its turn: $text"; return 1; }
    done
}
never() { ! grep -nF -- "$1" "$work/said"; }

# ---- the cases ---------------------------------------------------------------------------------------------------------

nothing_is_missing() {
    machine user gcc
    rustup 1.95.0
    run 0 "$setup" && [ ! -s "$work/said" ]
}

bare_as_root() {
    machine root apt
    run 0 "$setup" && says 'apt-get installs, as root: gcc libc6-dev curl ca-certificates' '[apt-get update' \
        'install -y --no-install-recommends' "installer is downloaded from https://sh.rustup.rs and run" "into $home/.cargo and $home/.rustup" \
        'no shell profile is changed' '[curl --proto =https' 'https://sh.rustup.rs' \
        '[installer -y --no-modify-path --default-toolchain stable --profile minimal --component clippy --component rustfmt]' \
        ". \"$home/.cargo/env\"" || return 1
    # A second run finds what the first one has installed.
    run 0 "$setup" && [ ! -s "$work/said" ]
}

bare_with_sudo() {
    machine user apt sudo
    run 0 "$setup" && says 'as root through sudo, which may ask for your password: gcc libc6-dev curl ca-certificates' \
        '[sudo -n apt-get update' '[sudo -n env' '[curl ' '[installer ' && never '[sudo -n sh'
}

bare_without_sudo() {
    machine user apt
    run 1 "$setup" && says 'Only an administrator' 'apt-get install --no-install-recommends gcc libc6-dev curl ca-certificates' &&
        never '[apt-get'
}

one_list_for_the_tests() {
    machine user apt
    run 1 "$setup" tests && says 'Only an administrator' 'gcc libc6-dev curl ca-certificates g++ binutils sqlite3' &&
        [ "$(grep -c administrator "$work/said")" -eq 1 ]
}

password_that_nobody_types() {
    machine user apt
    stand_in sudo 'echo "sudo: a password is required" >&2' 'exit 1'
    run 1 "$setup" && says 'through sudo' 'a password is required' 'sudo did not let somebody install' 'run this again at a terminal' \
        'only an administrator' 'gcc libc6-dev' && never '[apt-get'
}

apt_get_fails() {
    machine root apt
    stand_in apt-get 'case " $* " in *" install "*) echo "E: disk full" >&2; exit 100 ;; esac'
    run 1 "$setup" && says 'apt-get installs' 'E: disk full' 'apt-get could not install: gcc libc6-dev curl ca-certificates' &&
        never 'sh.rustup.rs'
}

lists_that_cannot_be_had() {
    machine root apt
    stand_in apt-get '[ "$1" = --version ] || { echo "E: no network" >&2; exit 100; }'
    stand_in apt-cache 'exit 100'
    run 1 "$setup" && says 'E: no network' 'lists of packages could not all be brought up to date' 'does not know: gcc libc6-dev curl' \
        'Without a C compiler nothing can be built.' && never '[curl'
}

# To apt-get, an unreachable server is a warning unless it is told otherwise.
lists_that_are_old() {
    machine root apt
    stand_in apt-get 'case " $* " in *Error-Mode=any*) exit 100 ;; *" install "*) exit 100 ;; esac'
    run 1 "$setup" && says '[apt-get update' 'lists of packages could not all be brought up to date' 'apt-get could not install'
}

# Packages that others mention, while there are no lists.
packages_known_by_name_only() {
    machine root apt
    stand_in apt-cache 'exit 0'
    run 1 "$setup" && says 'does not know: gcc libc6-dev curl ca-certificates' 'Without a C compiler' && never ' install '
}

tests_packages_that_cannot_be_had() {
    machine root apt gcc
    rustup 1.95.0
    stand_in apt-cache '[ "$2" != libtsan2 ] || exit 100' 'echo "Package: $2"'
    run 0 "$setup" tests && says 'does not know: libtsan2' 'install -y' 'libubsan1 xfsprogs' && never 'libubsan1 libtsan2 xfsprogs btrfs-progs nodejs npm]'
}

wget_where_there_is_no_curl() {
    machine user gcc wget certificates
    # The installer calls wget itself, with the person's settings and in few words.
    echo 'https_proxy = proxy.example' >"$home/.wgetrc"
    echo 'cat "$WGETRC"' >>"$work/installer"
    run 0 "$setup" && says 'is downloaded from https://sh.rustup.rs' '[wget --https-only' '[installer -y --no-modify-path' \
        'https_proxy = proxy.example' 'verbose = off'
}

no_network() {
    machine user gcc certificates
    stand_in curl 'echo "curl: (6) Could not resolve host: sh.rustup.rs" >&2' 'exit 6'
    run 1 "$setup" && says 'Could not resolve host' 'https://sh.rustup.rs cannot be downloaded' 'Run this again with a network' &&
        never '[installer'
}

half_of_the_installer() {
    machine user gcc certificates
    stand_in curl 'echo "echo [installer]" >"${@: -1}"' 'exit 18'
    run 1 "$setup" && says 'cannot be downloaded' && never '[installer'
}

installer_that_fails() {
    machine user gcc certificates
    stand_in curl 'echo "exit 1" >"${@: -1}"'
    run 1 "$setup" && says 'The installer of Rust failed'
}

rustup_without_a_toolchain() {
    machine user gcc
    rustup ''
    run 0 "$setup" && says "rustup downloads Rust's toolchain" \
        '[rustup toolchain install stable --profile minimal --component clippy --component rustfmt --no-self-update]' || return 1
    # Once it is there nothing is downloaded again, and the default toolchain stays what it was.
    run 0 "$setup" && says '"stable" is used' && never '[rustup'
}

# Debian 13's own rustup.
rustup_that_installs_in_silence() {
    local silent=true
    machine user gcc
    rustup ''
    run 0 "$setup" && says "rustup downloads Rust's toolchain" '[rustup toolchain install stable'
}

# What a first run began and could not end is ended by a second, which then says what the first would have said.
rustup_that_is_not_on_the_path() {
    machine user gcc
    rustup ''
    mkdir -p "$home/.cargo/bin"
    mv "$tools/cargo" "$tools/rustc" "$tools/rustup" "$home/.cargo/bin/"
    run 0 "$setup" && says '[rustup toolchain install stable' ". \"$home/.cargo/env\""
}

rustup_whose_default_is_old() {
    machine user gcc
    rustup 1.63.0 1.95.0
    run 0 "$setup" && says '"stable" is used' && never '[rustup'
}

# Debian's own cargo is too old, and stands first on PATH.
old_cargo_of_the_system() {
    machine user gcc curl certificates
    printf '#!%s\necho cargo 1.63.0\n' "$work/basics/bash" >"$tools/cargo"
    chmod +x "$tools/cargo"
    run 0 "$setup" && says 'Rust 1.89 or newer is not here' '[installer '
}

# A person at a terminal reads what comes, and presses Ctrl+C.
stopped_by_a_person() {
    machine user gcc curl certificates
    stopped_at 'Ctrl+C stops it' && says 'is downloaded from https://sh.rustup.rs' 'Ctrl+C stops it' && never '[curl'
}

# apt-get update ends as if it had worked.
stopped_in_apt_get() {
    machine root apt
    stand_in apt-get 'case "$1" in update) trap "exit 0" INT; echo fetching >&2; sleep 3 ;; esac'
    stopped_at fetching && never ' install ' && never 'C compiler'
}

# sudo ends as if the password had been a wrong one.
stopped_at_the_password() {
    machine user apt
    stand_in sudo 'trap "exit 1" INT' 'echo "password for somebody:" >&2' 'sleep 3' 'exit 1'
    stopped_at 'password for somebody' && never 'administrator' && never 'C compiler'
}

stopped_in_the_installer() {
    machine user gcc certificates
    stand_in curl 'printf "mktemp -d >/dev/null\necho installing >&2\nsleep 3\n" >"${@: -1}"'
    stopped_at installing
}

demo_without_crates() {
    machine user gcc
    rustup 1.95.0
    printf '%s\n' "#!$work/basics/bash" '[ "$1" != --version ] || { echo cargo 1.95.0; exit; }' 'echo "[cargo $*]" >&2' \
        'echo "error: failed to get askama" >&2' 'exit 101' >"$tools/cargo"
    cd / && run 1 "$root/scripts/demo.sh" "$work/machine/sample" && says 'cargo downloads the crates' 'failed to get askama' \
        'could not download the crates' 'Run this again with a network' && never '[cargo build' && [ ! -e "$work/machine/sample" ]
}

demo_into_a_folder_in_use() {
    machine user
    mkdir "$work/machine/used"
    touch "$work/machine/used/file"
    cd "$work/machine" && run 2 "$root/scripts/demo.sh" used && says "$work/machine/used is there already" && never setup:
}

no_debian() {
    machine user
    rm "$tools/dpkg-query"
    run 1 "$setup" && says 'Not a Debian system' 'gcc libc6-dev curl ca-certificates'
}

check 'where nothing is missing, nothing is done or said' nothing_is_missing
check 'a bare system, as root' bare_as_root
check 'a bare system, through sudo: Rust is the user'"'"'s own' bare_with_sudo
check 'a bare system without sudo: one list for an administrator' bare_without_sudo
check 'a bare system without sudo: one list for the tests, too' one_list_for_the_tests
check 'a password that nobody is there to type' password_that_nobody_types
check 'apt-get fails' apt_get_fails
check 'no network: lists of packages cannot be had' lists_that_cannot_be_had
check 'no network: lists of packages are old' lists_that_are_old
check 'no network: packages are known by name only' packages_known_by_name_only
check 'what only a test needs may be missing' tests_packages_that_cannot_be_had
check 'wget where there is no curl' wget_where_there_is_no_curl
check 'no network: the installer of Rust cannot be downloaded' no_network
check 'half of the installer is not run' half_of_the_installer
check 'the installer of Rust fails' installer_that_fails
check 'rustup without a toolchain' rustup_without_a_toolchain
check 'rustup without a toolchain, which would install one in silence' rustup_that_installs_in_silence
check 'rustup without a toolchain, not on PATH' rustup_that_is_not_on_the_path
check 'rustup whose default toolchain is old' rustup_whose_default_is_old
check 'an old cargo of the system' old_cargo_of_the_system
check 'another system than Debian' no_debian
if command -v script >/dev/null; then
    check 'Ctrl+C stops it before anything is downloaded' stopped_by_a_person
    check 'Ctrl+C stops it while apt-get updates its lists' stopped_in_apt_get
    check 'Ctrl+C stops it where sudo asks for a password' stopped_at_the_password
    check 'Ctrl+C stops it while the installer of Rust runs, and leaves nothing of it' stopped_in_the_installer
else
    skip 'Ctrl+C stops it' 'there is no script to make a terminal with'
fi
check 'demo.sh from another folder, without a network' demo_without_crates
check 'demo.sh into a folder in use' demo_into_a_folder_in_use
finish
