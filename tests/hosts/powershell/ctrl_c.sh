#!/usr/bin/env bash
# A person presses Ctrl+C in a real terminal: the prompt is back at once, and the job's report says Cancelled.
# Prints one line and exits 0, or says what was wrong and exits 1. For measuring, $CTRL_C_SESSIONS new sessions with
# $CTRL_C_RUNS jobs in each.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/terminal.sh"
# An idle machine needs less than 200 ms; this leaves room for a busy one.
limit_ms=${CTRL_C_LIMIT_MS:-1500}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Presses Ctrl+C when the screen shows a text, and sets $took to the time until the prompt is back.
#   press COMMAND TEXT
press() {
    terminal send-keys 'clear' Enter
    sleep 0.5
    terminal send-keys "$1" Enter
    await "$2" 60
    local pressed
    pressed=$(now_ms)
    terminal send-keys C-c
    until screen | grep -q '^ready>$'; do
        (($(now_ms) - pressed < 10000)) || fail 'the prompt did not return'
        sleep 0.01
    done
    took=$(($(now_ms) - pressed))
    ((took <= limit_ms)) || fail "the prompt took $took ms; $limit_ms are allowed"
}

# Cancels a backup, and looks at what it leaves.
cancel_backup() {
    rm -f "$folder/log.html"
    press 'Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com -Report ./log.html' 'items/s\|items,\|items '
    terminal send-keys 'clear; "state: " + (Get-CsBackupJob | Select-Object -First 1).State' Enter
    await '^state: ' 10
    state=$(screen | sed -n 's/^state: *//p' | head -1)
    [[ $state == Cancelled ]] || fail "the job is $state, not Cancelled"
    grep -q 'Cancelled' "$folder/log.html" || fail 'the log does not say Cancelled'
}

open_terminal 120
terminal send-keys "(New-CsSampleDeployment ./large -Users ${CTRL_C_USERS:-6000} -Files ${CTRL_C_FILES:-4000}).Users" Enter
await '^[0-9][0-9]*$' 180
all=()
for ((session = 0; session < ${CTRL_C_SESSIONS:-1}; session++)); do
    # The first time is the slowest, so that of a session that has done nothing else counts.
    close_terminal
    open_terminal 120
    terminal send-keys 'Connect-CsDeployment ./large' Enter
    for ((run = 0; run < ${CTRL_C_RUNS:-1}; run++)); do
        cancel_backup
        all+=("$took")
    done
done
# The next run goes on where this one stopped.
terminal send-keys 'clear; "outcome: " + (Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com -PassThru).Outcome' Enter
await '^outcome: Succeeded' 180
echo "ctrl_c: the prompt returned after ${all[*]} ms, the job is Cancelled, the next run Succeeded"
