#!/usr/bin/env bash
# A person presses Ctrl+C in a real terminal: the prompt is back at once, and the job's report says Cancelled.
# Prints one line and exits 0, or says what was wrong and exits 1. For measuring, $CTRL_C_SESSIONS new sessions with
# $CTRL_C_RUNS jobs in each.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/terminal.sh"
# An idle machine needs less than 200 ms. A busy one gets as much more as it needs for an empty command at that moment, ten times.
limit_ms=${CTRL_C_LIMIT_MS:-1500}
now_ms() { echo $(($(date +%s%N) / 1000000)); }

# Types a command on an empty screen, presses Ctrl+C when the screen shows a text, and sets $took to the time until the
# prompt is back.
#   press COMMAND TEXT [SECONDS TO WAIT THEN]
press() {
    local pressed allowed_ms
    pressed=$(now_ms)
    clear_screen
    allowed_ms=$((limit_ms + 10 * ($(now_ms) - pressed)))
    terminal send-keys "$1" Enter
    await "$2" 60
    sleep "${3:-0}"
    pressed=$(now_ms)
    terminal send-keys C-c
    until screen | grep -q '^ready>$'; do
        (($(now_ms) - pressed < 60000)) || fail "the prompt did not return after: $1"
        sleep 0.01
    done
    took=$(($(now_ms) - pressed))
    ((took <= allowed_ms)) || fail "the prompt took $took ms after: $1; $allowed_ms are allowed"
}

# What an expression says, on one line; counted, so that the answer to another one is not taken for it.
asked=0
say() {
    asked=$((asked + 1))
    enter "clear; '$asked said: ' + \$($1)"
    await "^$asked said: " 60
    said=$(screen | sed -n "s/^$asked said: *//p" | head -1)
}

state_is() {
    say '@(Get-CsBackupJob)[0].State'
    [[ $said == "$1" ]] || fail "the job is $said, not $1"
}

# Cancels a first copy, and looks at what it leaves.
cancel() {
    rm -rf "$folder"/log.html "$folder"/large/atl/standby "$folder"/large/chi/standby
    press "$1 -PoolFqdn $pool -Report ./log.html" 'items/s\|items,\|items '
    state_is Cancelled
    grep -q 'Cancelled' "$folder/log.html" || fail 'the log does not say Cancelled'
}

pool=atl-cs-001.litwareinc.com
open_terminal 120
enter "(New-CsSampleDeployment ./large -Users ${CTRL_C_USERS:-20000} -Files ${CTRL_C_FILES:-4000}).Users"
await '^[0-9][0-9]*$' 180
all=()
for ((session = 0; session < ${CTRL_C_SESSIONS:-1}; session++)); do
    # The first time is the slowest, so that of a session that has done nothing else counts.
    close_terminal
    open_terminal 120
    enter 'Connect-CsDeployment ./large'
    for ((run = 0; run < ${CTRL_C_RUNS:-1}; run++)); do
        cancel Backup-CsPool
        all+=("$took")
    done
done
# The next run goes on where this one stopped.
say "(Backup-CsPool -PoolFqdn $pool -PassThru).Outcome"
[[ $said == Succeeded ]] || fail "the next run $said"
measured=${all[*]}

# As soon as it is typed: there is no job yet, or a cancelled one.
press "Backup-CsPool -PoolFqdn $pool -FullBackup" 'FullBackup' 0.05
say '@(Get-CsBackupJob | Where-Object State -NotIn Cancelled, Succeeded).Count'
[[ $said == 0 ]] || fail 'a job goes on'

# At a prompt nothing has begun.
say '@(Get-CsBackupJob).Count'
jobs=$said
press "Backup-CsPool -PoolFqdn $pool -Confirm" '\[Y\] Yes'
say '@(Get-CsBackupJob).Count'
[[ $said == "$jobs" ]] || fail "there are $said jobs after a prompt, not $jobs"

# While a server keeps the user store for itself, so that no state of it can be read.
rm -rf "$folder"/large/atl/standby "$folder"/large/chi/standby
coproc held { "$root/tests/hosts/hold.py" "$folder/large/atl/users.sqlite"; }
read -r _ <&"${held[0]}"
press "Invoke-CsBackupServiceSync -PoolFqdn $pool" 'Step\|before attempt' 1
state_is Cancelled

# Who waits for a job in the background stops waiting only; it waits for the server.
enter "clear; \$job = Backup-CsPool -PoolFqdn $pool -AsJob"
press 'Wait-Job $job' 'Wait-Job' 0.2
press 'Receive-Job $job -Wait' 'Receive-Job' 0.2
# On a busy machine it has only just been started.
for _ in {1..30}; do
    say '$job.State'
    [[ $said == NotStarted ]] || break
    sleep 1
done
[[ $said == Running ]] || fail "the job in the background is $said, not Running"
press 'Get-CsBackupJob | Select-Object -First 1 | Wait-CsBackupJob' 'Waiting for job' 0.2
say 'Stop-Job $job; (Get-CsBackupJob | Select-Object -First 1 | Wait-CsBackupJob).State'
[[ $said == Cancelled ]] || fail "the job in the background ended as $said"
kill "$held_PID"

# A sample deployment that is given up leaves nothing.
press 'New-CsSampleDeployment ./huge -Users 200000' 'of 400' 0.5
[[ ! -e $folder/huge ]] || fail 'there is something left of the sample deployment'

echo "ctrl_c: the prompt returned after $measured ms of a backup, and from prompts, locked stores, jobs and samples; jobs are Cancelled"
