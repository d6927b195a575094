#!/usr/bin/env bash
# Puts the module together as a gallery takes it: FOLDER/CsBackup/<version>/, with the native libraries that are named.
#   ps-module/package.sh FOLDER [RID=LIBRARY]…     RID=LIBRARY: for instance linux-x64=target/release/libcs_backup.so;
#                                                  without any, this machine's release build
# CSBACKUP_PROJECT_URI, CSBACKUP_LICENSE_URI and CSBACKUP_ICON_URI go into the manifest where they are set. Whoever publishes signs
# the *.ps1xml, *.psd1, *.psm1 and *.dll of the package, then runs Publish-PSResource -Path FOLDER/CsBackup/<version>.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../scripts/runtimes.sh"
[[ $# -ge 1 ]] || { sed -n '2,6s/^# //p' "$0" >&2; exit 2; }
folder=$1
shift

"$here/build.sh"
[[ -f $here/en-US/CsBackup-help.xml ]] || { echo 'package: the help is not built; pwsh is needed for it' >&2; exit 1; }
grep -qa netstandard "$here/lib/CsBackup.Interop.dll" || { echo 'package: lib/CsBackup.Interop.dll is not built for every PowerShell; the .NET SDK is needed for it' >&2; exit 1; }
version=$(sed -n "s/^ *ModuleVersion = '\(.*\)'/\1/p" "$here/CsBackup.psd1")
package=$folder/CsBackup/$version
[[ ! -e $package ]] || { echo "package: $package exists" >&2; exit 1; }
mkdir -p "$package/lib"
cp "$here"/{CsBackup.psm1,CsBackup.psd1,CsBackup.{Format,Types}.ps1xml,icon.png} "$here"/../{LICENSE-MIT,LICENSE-APACHE,CHANGELOG.md} "$package/"
cp "$here/lib/CsBackup.Interop.dll" "$package/lib/"
for language in en-US it; do
    mkdir "$package/$language"
    cp "$here/$language"/{CsBackup.Strings.psd1,CsBackup-help.xml,about_CsBackup.help.txt} "$package/$language/"
done
stage_runtimes "$package/runtimes" "$@"

for name in Project License Icon; do
    variable=CSBACKUP_${name^^}_URI
    uri=${!variable:-}
    if [[ -z $uri ]]; then
        echo "package: $variable is not set; the manifest has no ${name}Uri"
    elif [[ $uri =~ ^https://[A-Za-z0-9./_~%?=\&#-]+$ ]]; then
        sed -i "s|^\( *\)Tags = .*|&\n\1${name}Uri = '${uri//&/\\&}'|" "$package/CsBackup.psd1"
    else
        echo "package: $variable is not an https address: $uri" >&2
        exit 1
    fi
done
echo "$package"
