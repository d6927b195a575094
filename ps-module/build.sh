#!/usr/bin/env bash
# Builds the module: merges the sources into one CsBackup.psm1, which imports four times as fast as forty dot-sourced
# files; compiles lib/CsBackup.Interop.dll, with the .NET SDK for every PowerShell, else with pwsh for this one alone; and makes
# the help files out of help/ (that part needs pwsh; without it the module has no help, and says so here).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=CsBackup.psm1
{
    echo '# Built from src/ by build.sh; edit the sources.'
    echo 'Set-StrictMode -Version Latest'
    echo 'function Get-CsbEnglishText {'
    cat en-US/CsBackup.Strings.psd1
    echo '}'
    find src -name '*.ps1' ! -name Initialize.ps1 | LC_ALL=C sort | while read -r source; do
        echo
        cat "$source"
    done
    echo
    cat src/private/Initialize.ps1
} > "$target.new"

# Windows PowerShell reads a file without a byte order mark in the system's code page.
if LC_ALL=C grep -nP '[^\x00-\x7F]' "$target.new"; then
    echo "The lines above are not ASCII." >&2
    exit 1
fi
mv "$target.new" "$target"
echo "$PWD/$target: $(grep -c '^function ' "$target") functions"

interop=lib/CsBackup.Interop.dll
sources=../dotnet/CsBackup.Interop
# One that pwsh has compiled is for that PowerShell only, and gives way once there is a .NET SDK.
is_current() {
    [[ -f $interop ]] && [[ -z $(find $sources/*.cs* ../dotnet/Directory.Build.props -newer $interop -print -quit) ]] &&
        { grep -qa netstandard $interop || ! command -v dotnet > /dev/null; }
}
if is_current; then
    echo "$PWD/$interop: unchanged"
elif command -v dotnet > /dev/null || command -v pwsh > /dev/null; then
    # Built aside and moved in, so that nobody finds half of it.
    built=$(mktemp -d)
    if command -v dotnet > /dev/null; then
        # Servers that a build leaves running would keep its output open.
        dotnet build $sources --nologo -v quiet -nodeReuse:false -p:UseSharedCompilation=false -c Release --artifacts-path "$built/work" -o "$built"
        what='built'
    else
        pwsh -NoProfile -NonInteractive -Command "
            \$ErrorActionPreference = 'Stop'
            Add-Type -Path $sources/*.cs -CompilerOptions -unsafe -IgnoreWarnings -OutputAssembly '$built/CsBackup.Interop.dll'"
        what='built for this PowerShell only, dotnet is not on PATH'
    fi
    mkdir -p lib
    mv "$built/CsBackup.Interop.dll" $interop
    rm -rf "$built"
    echo "$PWD/$interop: $what"
else
    echo "$PWD/$interop: not built, neither dotnet nor pwsh is on PATH"
fi

help=(en-US/CsBackup-help.xml it/CsBackup-help.xml)
help_is_current() {
    [[ -f ${help[0]} && -f ${help[1]} ]] && [[ -z $(find help src CsBackup.psd1 build-help.ps1 -newer "${help[0]}" -print -quit) ]]
}
if help_is_current; then
    echo "$PWD/help: unchanged"
elif command -v pwsh > /dev/null; then
    made=$(pwsh -NoProfile -NonInteractive -File build-help.ps1)
    echo "$PWD/help: $made"
else
    echo "$PWD/help: not built, pwsh is not on PATH"
fi
