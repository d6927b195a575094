#!/usr/bin/env bash
# Builds the PowerShell module and tests it against the real library in a real pwsh.
# The library is $CSBACKUP_LIBRARY, else the newest of target/{release,debug}. The last line counts the tests.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../../.." && pwd)
export CSBACKUP_TESTS=$here CSBACKUP_MODULE=$root/ps-module
unset CSBACKUP_DEPLOYMENT
. "$root/scripts/setup.sh"
set +e
use_powershell

"$root/ps-module/build.sh" || exit 1
if ! command -v pwsh > /dev/null; then
    echo 'PowerShell tests skipped: pwsh is not on PATH.'
    echo '0 passed, 0 failed, 1 skipped'
    exit 0
fi

# What .NET Framework has is compared with what the module uses; without the list that test is skipped.
packages=$root/target/powershell/packages
framework=$packages/microsoft.netframework.referenceassemblies.net472/1.0.3/build/.NETFramework/v4.7.2
if command -v dotnet > /dev/null && [[ ! -d $framework ]]; then
    dotnet restore "$here/desktop/Framework.csproj" --packages "$packages" -p:BaseIntermediateOutputPath="$root/target/powershell/framework/" > /dev/null ||
        echo 'run: the reference assemblies of .NET Framework cannot be had'
fi
[[ ! -d $framework ]] || export CSBACKUP_FRAMEWORK=$framework

passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Runs a script in pwsh, shows what it prints, and keeps it in $log.
in_pwsh() {
    NO_COLOR=1 pwsh -NoProfile -NonInteractive -Command "$1" 2>&1 | sed 's/\x1b\[[0-9;]*m//g' | tee "$log"
}

if pwsh -NoProfile -NonInteractive -Command 'exit [int] -not (Get-Module -ListAvailable Pester | Where-Object Version -GE "5.0.0")'; then
    in_pwsh '
        Import-Module Pester -MinimumVersion 5.0
        $configuration = New-PesterConfiguration
        $configuration.Run.Path = $env:CSBACKUP_TESTS
        $configuration.Run.PassThru = $true
        $configuration.Output.CIFormat = "None"
        $result = Invoke-Pester -Configuration $configuration
        "pester {0} {1} {2}" -f $result.PassedCount, ($result.FailedCount + $result.FailedBlocksCount + $result.FailedContainersCount),
            ($result.SkippedCount + $result.NotRunCount)'
    if read -r _ p f s < <(grep '^pester [0-9]' "$log"); then
        ((passed += p, failed += f, skipped += s))
    else
        echo 'Pester ended without a result.'
        ((failed += 1))
    fi
else
    echo 'Pester tests skipped: Pester 5 is not installed.'
    ((skipped += 1))
fi

if pwsh -NoProfile -NonInteractive -Command 'exit [int] -not (Get-Module -ListAvailable PSScriptAnalyzer)'; then
    in_pwsh '
        $settings = Join-Path $env:CSBACKUP_TESTS "PSScriptAnalyzerSettings.psd1"
        $found = foreach ($file in "CsBackup.psm1", "CsBackup.psd1") {
            Invoke-ScriptAnalyzer -Path (Join-Path $env:CSBACKUP_MODULE $file) -Settings $settings -ErrorAction Stop
        }
        $found | Format-Table RuleName, Severity, ScriptName, Line, Message -Wrap | Out-String -Width 160
        "analyzer: {0} findings" -f @($found).Count'
    if grep -q '^analyzer: 0 findings' "$log"; then ((passed += 1)); else ((failed += 1)); fi
else
    echo 'PSScriptAnalyzer skipped: it is not installed.'
    ((skipped += 1))
fi

if command -v tmux > /dev/null; then
    for script in ctrl_c narrow; do
        if "$here/terminal/$script.sh"; then ((passed += 1)); else ((failed += 1)); fi
    done
else
    echo 'ctrl_c and narrow skipped: tmux is not on PATH.'
    ((skipped += 2))
fi

echo "$passed passed, $failed failed, $skipped skipped"
((failed == 0))
