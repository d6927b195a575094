#!/usr/bin/env bash
# Builds the module: merges the sources into one CsBackup.psm1, which imports four times as fast as forty dot-sourced
# files, and makes the help files out of help/ (that part needs pwsh; without it the module has no help, and says so here).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=CsBackup.psm1
{
    echo '# Built from src/ by build.sh; edit the sources.'
    echo 'Set-StrictMode -Version Latest'
    printf '$script:Text = '
    cat en-US/CsBackup.Strings.psd1
    for source in src/private/*.ps1 src/public/*.ps1; do
        [[ $source == */Initialize.ps1 ]] && continue
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

help=(en-US/CsBackup-help.xml it/CsBackup-help.xml)
is_current() {
    [[ -f ${help[0]} && -f ${help[1]} ]] && [[ -z $(find help src CsBackup.psd1 build-help.ps1 -newer "${help[0]}" -print -quit) ]]
}
if is_current; then
    echo "$PWD/help: unchanged"
elif command -v pwsh > /dev/null; then
    made=$(pwsh -NoProfile -NonInteractive -File build-help.ps1)
    echo "$PWD/help: $made"
else
    echo "$PWD/help: not built, pwsh is not on PATH"
fi
