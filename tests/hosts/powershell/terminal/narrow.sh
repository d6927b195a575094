#!/usr/bin/env bash
# What a terminal of 60 columns shows: lines end where they should, and nothing that matters is cut.
# Prints one line and exits 0, or says what was wrong and exits 1.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/terminal.sh"

# Runs a command on an empty screen, and waits for the text that ends what it shows.
show() {
    clear_screen
    terminal send-keys "$1" Enter
    await "$2" 60
}
expect() { screen | grep -q -- "$1" || fail "\"$1\" is not shown"; }
refuse() { ! screen | grep -q -- "$1" || fail "\"$1\" is shown"; }

open_terminal 60
show 'Connect-CsDeployment' '^Path:'
expect '^(Type !? for Help.)$'
terminal send-keys '!?' Enter
await '^The folder with deployment.toml, or that file.$' 60
terminal send-keys C-c
show '(New-CsSampleDeployment ./sample -Users 5 -Files 5).Users' '^5$'
show 'Invoke-CsBackupServiceSync atl-cs-001.litwareinc.com -PassThru' '^  Log: '
expect '^Invoke-CsBackupServiceSync atl-cs-001.litwareinc.com:$'
expect '^  Succeeded ([0-9.]* s)$'
expect '^  PresenceFocus: Succeeded, [0-9]* written, 0 deleted$'
expect '^  DataConf: Succeeded, 6 written, 0 deleted$'
show 'Get-CsBackupServiceStatus atl-cs-001.litwareinc.com' '^  CMSMaster'
expect '^atl-cs-001.litwareinc.com -> chi-cs-001.litwareinc.com$'
expect '^  Module  *Export  *Import  *Pending  *Lag$'
expect '^  PresenceFocus SteadyState  *NormalState  *0  *-$'
show 'Get-CsPool' '^chi-cs-001'
expect '^atl-cs-001.litwareinc.com Atlanta Active chi-cs-001.litware$'
refuse '…'
show 'Get-CsBackupJob' '^[0-9a-f-]\{36\}'
expect '^[0-9a-f-]\{36\} Succeeded  *[0-9:]*.*  *[0-9.]* s$'
show 'Get-CsAdminRole' '^CsViewOnlyAdministrator'
expect '^CsAdministrator (standard role)$'
expect '^  Backup-CsPool, Disable-CsPoolBackup, Get-CsAdminRole,$'
expect '^  Get-CsPoolBackupHistory, Get-CsPoolBackupRelationship,$'
refuse '…'
show 'Get-CsTopology' '^  standby management store$'
expect '^atl-cs-001.litwareinc.com (Atlanta)$'
expect '^  backup pool  *chi-cs-001.litwareinc.com$'
expect '^  user store$'
expect '^    sqlite:.*/sample/atl/users.sqlite$'
echo 'narrow: 60 columns show what matters'
