#!/usr/bin/env bash
# A person presses Ctrl+C in a real terminal: the prompt is back at once, and the job's report says Cancelled.
# Prints one line and exits 0, or says what was wrong and exits 1. $CTRL_C_RUNS times instead of once, for measuring.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/terminal.sh"
# An idle machine needs less than 200 ms; this leaves room for a busy one.
limit_ms=${CTRL_C_LIMIT_MS:-1500}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Presses Ctrl+C during a backup, and sets $took.
press() {
    terminal send-keys 'clear' Enter
    sleep 0.5
    terminal send-keys 'Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com -Report ./log.html' Enter
    await 'items/s\|items,\|items ' 60
    pressed=$(now_ms)
    terminal send-keys C-c
    until screen | grep -q '^ready>$'; do
        (($(now_ms) - pressed < 10000)) || fail 'the prompt did not return'
        sleep 0.01
    done
    took=$(($(now_ms) - pressed))
    terminal send-keys 'clear; "state: " + (Get-CsBackupJob | Select-Object -First 1).State' Enter
    await '^state: ' 10
    state=$(screen | sed -n 's/^state: *//p' | head -1)
    [[ $state == Cancelled ]] || fail "the job is $state, not Cancelled"
    grep -q 'Cancelled' "$folder/log.html" || fail 'the log does not say Cancelled'
    ((took <= limit_ms)) || fail "the prompt took $took ms; $limit_ms are allowed"
}

open_terminal 120
terminal send-keys "(New-CsSampleDeployment ./large -Users ${CTRL_C_USERS:-6000} -Files ${CTRL_C_FILES:-4000}).Users" Enter
await '^[0-9][0-9]*$' 180
all=()
for ((run = 0; run < ${CTRL_C_RUNS:-1}; run++)); do
    press
    all+=("$took")
done
# The next run goes on where this one stopped.
terminal send-keys 'clear; "outcome: " + (Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com -PassThru).Outcome' Enter
await '^outcome: Succeeded' 180
echo "ctrl_c: the prompt returned after ${all[*]} ms, the job is Cancelled, the next run Succeeded"
