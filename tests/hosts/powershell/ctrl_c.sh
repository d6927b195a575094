#!/usr/bin/env bash
# A person presses Ctrl+C in a real terminal: the prompt is back at once, and the job's report says Cancelled.
# Prints one line and exits 0, or says what was wrong and exits 1.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
# An idle machine needs less than 200 ms; this leaves room for a busy one.
limit_ms=${CTRL_C_LIMIT_MS:-1500}
folder=$(mktemp -d)
socket="csb-$$"
terminal() { tmux -L "$socket" "$@"; }
screen() { terminal capture-pane -p; }
trap 'terminal kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() {
    echo "ctrl_c: $1" >&2
    screen >&2 || true
    exit 1
}
# Waits until the screen shows a text; the second argument is the limit in seconds.
await() {
    local end=$((SECONDS + $2))
    until screen | grep -q -- "$1"; do
        ((SECONDS < end)) || fail "\"$1\" did not appear within $2 s"
        sleep 0.02
    done
}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

terminal new-session -d -x 120 -y 40 "cd '$folder' && exec pwsh -NoProfile -NoLogo"
await 'PS ' 30
terminal send-keys 'function prompt { "ready> " }' Enter
await '^ready>' 10
terminal send-keys "Import-Module '$root/ps-module/CsBackup.psd1'; (New-CsSampleDeployment ./large -Users ${CTRL_C_USERS:-6000} -Files ${CTRL_C_FILES:-4000}).Users" Enter
await '^[0-9][0-9]*$' 180
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
# The next run goes on where this one stopped.
terminal send-keys 'clear; "outcome: " + (Backup-CsPool -PoolFqdn atl-cs-001.litwareinc.com -PassThru).Outcome' Enter
await '^outcome: Succeeded' 180
echo "ctrl_c: the prompt returned after $took ms, the job is Cancelled, the next run Succeeded"
