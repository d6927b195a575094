# A pwsh in a real terminal, for scripts that source this: $folder is its own, and gone at the end.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../../.." && pwd)
folder=$(mktemp -d)
socket="csb-$$"
terminal() { tmux -L "$socket" "$@"; }
screen() { terminal capture-pane -p; }
trap 'terminal kill-server 2>/dev/null || true; rm -rf "$folder"' EXIT

fail() {
    echo "$(basename "$0" .sh): $1" >&2
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

# Types a command once there is a prompt for it: of what is typed while another command still runs, a busy machine loses the Enter at times.
enter() {
    local end=$((SECONDS + 60))
    until [[ $(screen | sed '/^$/d' | tail -1) == 'ready>' ]]; do
        ((SECONDS < end)) || fail "there is no prompt for: $1"
        sleep 0.01
    done
    terminal send-keys "$1" Enter
}

# Clears the screen and waits until nothing but the prompt is there.
clear_screen() {
    local end=$((SECONDS + 60))
    enter clear
    until [[ $(screen | sed '/^$/d') == 'ready>' ]]; do
        ((SECONDS < end)) || fail 'the screen does not become empty'
        sleep 0.01
    done
}

# Ends the terminal, and waits for its pwsh: what that holds would be in the way of the next one.
close_terminal() {
    local shell
    shell=$(terminal display-message -p '#{pane_pid}')
    terminal kill-server
    while kill -0 "$shell" 2> /dev/null; do sleep 0.05; done
}

# Opens a terminal of so many columns in $folder, with the module and a short prompt. Ctrl+C leaves there what was not yet read: else the kernel
# throws away also the terminal's answer to where its cursor is, which PowerShell asks for with each bar that it draws, and .NET then waits for
# it for ever (docs/traps.md). A busy machine loses such an answer now and then.
open_terminal() {
    terminal new-session -d -x "$1" -y 40 "cd '$folder' && stty noflsh && exec pwsh -NoProfile -NoLogo"
    await 'PS ' 120
    terminal send-keys 'function prompt { "ready> " }' Enter
    await '^ready>' 60
    enter "Import-Module '$root/ps-module/CsBackup.psd1'"
}
