#!/usr/bin/env bash
# Installs what the tests need and runs all of them. Each part ends with lines that count; the last line adds them up:
# `N passed, N failed, N skipped`. Fails when anything failed. A part whose program cannot be had here says so.
set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/setup.sh
set +e

setup_tests
export CARGO_TERM_COLOR=never RUST_BACKTRACE=0
export CSBACKUP_LIBRARY=$PWD/target/debug/libcs_backup.so
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0

# part NAME COMMAND…: a part that either works or does not.
part() {
    printf '\n=== %s\n' "$1"
    if "${@:2}"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi
}

# counted NAME COMMAND…: a part that counts its own tests, in cargo's words or as `N passed, N failed[, N skipped]`.
counted() {
    local status p f s
    printf '\n=== %s\n' "$1"
    "${@:2}" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    read -r p f s < <(awk '
        /^test result:/ { p += $4; f += $6; s += $8 }
        /^[0-9]+ passed, [0-9]+ failed/ { own_p = $1; own_f = $3; own_s = ($6 ~ /^skipped/) ? $5 : 0 }
        END { print p + own_p, f + own_f, s + own_s }' "$log")
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    if [ "$status" -ne 0 ] && [ "$f" -eq 0 ]; then failed=$((failed + 1)); echo "FAILED: $1 ended with $status"; fi
    if [ "$status" -eq 0 ] && [ $((p + f + s)) -eq 0 ]; then failed=$((failed + 1)); echo "FAILED: $1 ran no test"; fi
}

report_in_browser() {
    local folder status=0
    folder=$(mktemp -d)
    for report in examples/reports/*.json; do
        cargo run --quiet --example render_report "$report" "$folder/report.html" && tests/html_report.sh "$folder/report.html" || status=1
    done | awk '/^[0-9]+ passed/ { p += $1; f += $3; s += ($6 ~ /^skipped/) ? $5 : 0; next } { print } END { printf "%d passed, %d failed, %d skipped\n", p, f, s }'
    rm -rf "$folder"
    return $status
}

part 'formatting' cargo fmt --check
part 'clippy' cargo clippy --quiet --all-targets -- -D warnings
part 'documentation' env RUSTDOCFLAGS='-D warnings' cargo doc --quiet --no-deps
if command -v cargo-deny >/dev/null; then
    part 'licences and sources of dependencies' cargo deny --offline --log-level error check licenses bans sources
else
    echo 'cargo-deny is not installed: the licences of dependencies are not checked.'
    skipped=$((skipped + 1))
fi
counted 'setting up a machine' tests/setup.sh
part 'the library and its header' cargo build --quiet
part 'the library as hosts get it' cargo build --quiet --release --lib
counted 'unit and integration tests' cargo test --quiet
counted 'C hosts and the ABI' env CSB_SANITIZE_LIBRARY=1 tests/abi/run.sh
counted 'CsBackup.Net and its package' tests/hosts/csharp/run.sh
counted 'PowerShell module' tests/hosts/powershell/run.sh
counted 'every host on the same deployment' tests/hosts/test_hosts.py
counted 'real servers' tests/servers/run.sh
counted 'the HTML report in a browser' report_in_browser

printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
[ "$failed" -eq 0 ]
