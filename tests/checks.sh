# Checks that count, for test scripts in bash. Sourced; makes the folder $work, which goes when the script ends.
#
#     check NAME COMMAND…   shows what the command prints where it fails
#     skip NAME REASON
#     finish                prints "N passed, N failed[, N skipped]"; fails where anything failed
#
# Inside a command, $work/out holds what it has printed so far.

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

check() {
    if "${@:2}" >"$work/out" 2>&1; then
        echo "ok      $1"
        passed=$((passed + 1))
    else
        echo "FAILED  $1"
        grep -v '^ok ' "$work/out" | head -n 60 | sed 's/^/        /'
        failed=$((failed + 1))
    fi
}

skip() {
    echo "skipped $1: $2"
    skipped=$((skipped + 1))
}

finish() {
    if [ "$skipped" -eq 0 ]; then
        echo "$passed passed, $failed failed"
    else
        echo "$passed passed, $failed failed, $skipped skipped"
    fi
    [ "$failed" -eq 0 ]
}
