#!/usr/bin/env bash
# Installs what the tests need and runs all of them, from any folder. Each part says when it begins, and shows what it has printed once it has
# ended: parts run side by side. In the end there is a table of the time that each took, then what failed once more, and the last line adds
# them up: `N passed, N failed, N skipped`. Fails when anything failed. A part whose program cannot be had here says so.
set -uo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." || exit
. scripts/setup.sh
set +e

setup_tests
export CARGO_TERM_COLOR=never RUST_BACKTRACE=0
export CSBACKUP_LIBRARY=$PWD/target/debug/libcs_backup.so
folder=$(mktemp -d)
began=$SECONDS
lanes=()
trap 'rm -rf "$folder"' EXIT
trap 'for lane in "${lanes[@]}"; do kill -- "-$lane"; done; exit 130' INT TERM

# ---- a part and what it counts -----------------------------------------------------------------------------------------

# timed NAME COMMAND…: the command's output is in $out then, its exit code in $status; how long it took is noted.
timed() {
    out=$folder/$BASHPID status=0
    echo "... $1"
    local TIMEFORMAT='%R %U %S'
    { time "${@:2}" </dev/null >"$out" 2>&1 || status=$?; } 2>"$out.time"
}

# ended NAME PASSED FAILED SKIPPED: shows the part as a whole, whatever else ends at the moment.
ended() {
    local took user system
    read -r took user system <"$out.time"
    {
        flock 9
        printf '\n=== %s\n' "$1"
        cat "$out"
        echo "$took $user $system $2 $3 $4 $1" >>"$folder/parts"
        [ "$3" -eq 0 ] || failures "$1" >>"$folder/failures"
    } 9>"$folder/lock"
}

# failures NAME: what the part says of its failed tests; the end of what it printed, where it says it otherwise.
failures() {
    printf '\n=== failed in: %s\n' "$1"
    grep -nE -A 12 '^(FAILED|\[-\]|error|---- )|panicked at|^ *(fail|not ok)|test .* FAILED$|timed out' "$out" | head -n 120 | grep . || tail -n 40 "$out"
}

# part NAME COMMAND…: a part that either works or does not.
part() {
    local out status
    timed "$@"
    if [ "$status" -eq 0 ]; then ended "$1" 1 0 0; else echo "FAILED: $1" >>"$out"; ended "$1" 0 1 0; fi
}

# counted NAME COMMAND…: a part that counts its own tests, in cargo's words or as `N passed, N failed[, N skipped]`.
counted() {
    local out status p f s
    timed "$@"
    read -r p f s < <(awk '
        /^test result:/ { p += $4; f += $6; s += $8 }
        /^[0-9]+ passed, [0-9]+ failed/ { own_p = $1; own_f = $3; own_s = ($6 ~ /^skipped/) ? $5 : 0 }
        END { print p + own_p, f + own_f, s + own_s }' "$out")
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then f=1; echo "FAILED: $1 ended with $status" >>"$out"; fi
    if [ "$status" -eq 0 ] && [ $((p + f + s)) -eq 0 ]; then f=1; echo "FAILED: $1 ran no test" >>"$out"; fi
    ended "$1" "$p" "$f" "$s"
}

# ---- the parts ---------------------------------------------------------------------------------------------------------

licences() {
    command -v cargo-deny >/dev/null || { echo 'cargo-deny is not installed.'; echo '0 passed, 0 failed, 1 skipped'; return; }
    cargo deny --offline --log-level error check licenses bans sources && echo '1 passed, 0 failed'
}

report_in_browser() {
    local report made=$folder/reports status=0
    mkdir "$made"
    for report in examples/reports/*.json; do
        target/debug/examples/render_report "$report" "$made/report.html" && tests/html_report.sh "$made/report.html" || status=1
    done | awk '/^[0-9]+ passed/ { p += $1; f += $3; s += ($6 ~ /^skipped/) ? $5 : 0; next } { print } END { printf "%d passed, %d failed, %d skipped\n", p, f, s }'
    return $status
}

in_rust() {
    counted 'unit and integration tests' cargo test --quiet
    counted 'user stores read by the helper' tests/two_machines/pipe.sh
    part 'clippy' cargo clippy --quiet --all-targets -- -D warnings
    part 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps
    counted 'licences and sources of dependencies' licences
}

in_hosts() {
    counted 'setting up a machine' tests/setup.sh
    counted 'PowerShell module' tests/hosts/powershell/run.sh
    counted 'CsBackup.Net and its package' tests/hosts/csharp/run.sh
    counted 'every host on the same deployment' tests/hosts/test_hosts.py
    counted 'real servers' tests/servers/run.sh
    counted 'two machines' tests/two_machines/run.sh
    counted 'the HTML report in a browser' report_in_browser
    counted 'C hosts and the ABI' env CSB_SANITIZE_LIBRARY=1 tests/abi/run.sh
}

part 'formatting' cargo fmt --check
# All at once: what the tests need beside the library would else make cargo build it twice.
part 'the library, its header and its tests are built' cargo build --quiet --all-targets
part 'the library as hosts get it' cargo build --quiet --release --lib
# What Rust tests and compiles needs the processors; hosts and servers wait much of their time. In groups of their own, so that Ctrl+C is
# not ignored in what they run.
set -m
in_rust &
lanes+=($!)
in_hosts &
lanes+=($!)
wait
set +m

printf '\n%9s %9s  %s\n' seconds processor part
awk '{ name = $7; for (i = 8; i <= NF; i++) name = name " " $i; printf "%9.0f %9.0f  %s\n", $1, $2 + $3, name }' "$folder/parts"
printf '%9d            %s\n' $((SECONDS - began)) 'all of it'
[ ! -e "$folder/failures" ] || cat "$folder/failures"
awk '{ p += $4; f += $5; s += $6 } END { printf "\n%d passed, %d failed, %d skipped\n", p, f, s; exit (f > 0) }' "$folder/parts"
