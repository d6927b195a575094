#!/usr/bin/env bash
# The demonstration of two machines, for `scripts/demo.sh --two-machines`: the sample's two pools, each at a machine of its own, which reach
# each other through ssh and nothing else. Where this account may make network namespaces, the machines are two of them, joined by a
# cable; else they are two folders, and ssh goes to this machine itself.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
folder=$1
atl=atl-cs-001.litwareinc.com
chi=chi-cs-001.litwareinc.com
sshd=$(command -v sshd || echo /usr/sbin/sshd)
ssh=$folder/ssh
port=22022

say() { printf '\n\033[36m== %s\033[0m\n' "$*"; }

# ---- two machines ------------------------------------------------------------------------------------------------------

declare -A address=([atl]=127.0.0.1 [chi]=127.0.0.1) namespace=()
if [ "$(id -u)" -eq 0 ] && ip netns add csb-demo-atl 2>/dev/null; then
    ip netns add csb-demo-chi
    ip link add csb-atl netns csb-demo-atl type veth peer name csb-chi netns csb-demo-chi
    ip -n csb-demo-atl addr add 10.77.0.1/24 dev csb-atl
    ip -n csb-demo-chi addr add 10.77.0.2/24 dev csb-chi
    for machine in atl chi; do
        ip -n "csb-demo-$machine" link set lo up
        ip -n "csb-demo-$machine" link set "csb-$machine" up
        namespace[$machine]="ip netns exec csb-demo-$machine"
    done
    address=([atl]=10.77.0.1 [chi]=10.77.0.2)
fi
servers=()
finish() {
    [ ${#servers[@]} -eq 0 ] || kill "${servers[@]}" 2>/dev/null || true
    ip netns del csb-demo-atl 2>/dev/null || true
    ip netns del csb-demo-chi 2>/dev/null || true
}
trap finish EXIT
mkdir -p "$ssh"
for name in host-atl host-chi atl chi; do ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$ssh/$name"; done
for machine in atl chi; do
    echo "${address[$machine]} $(cut -d' ' -f1,2 "$ssh/host-$machine.pub")" | sed "s/^[^ ]*/[${address[$machine]}]:$port/" >>"$ssh/known_hosts"
    printf '#!/bin/sh\nexec ssh -F none -i %s -o IdentitiesOnly=yes -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes "$@"\n' "$ssh/$machine" "$ssh/known_hosts" >"$ssh/ssh-$machine"
    chmod +x "$ssh/ssh-$machine"
done

# Runs a script of PowerShell at a machine; commands are shown before they run.
at() {
    local machine=$1
    CSBACKUP_SSH=$ssh/ssh-$machine ${namespace[$machine]:-} pwsh -NoProfile -Command "
        \$ErrorActionPreference = 'Stop'; Import-Module '$root/ps-module/CsBackup.psd1'
        Connect-CsDeployment '$folder/$machine.toml' | Out-Null
        function Show([scriptblock] \$Command) { Write-Host \"$machine-1 PS> \$(\$Command.ToString().Trim())\"; & \$Command | Out-Host }
        $2"
}

# ---- what is at them ---------------------------------------------------------------------------------------------------

say 'The sample: two pools, 200 users each with contacts, 300 files'
pwsh -NoProfile -Command "Import-Module '$root/ps-module/CsBackup.psd1'; New-CsSampleDeployment -Path '$folder/sample' | Out-Null"
mkdir "$folder/chi"
cp -a "$folder/sample/atl" "$folder/atl"
cp -a "$folder/sample/chi" "$folder/chi-stores" && rmdir "$folder/chi" && mv "$folder/chi-stores" "$folder/chi"
rm -r "$folder/sample"
user=$(id -un)
pool() {
    cat <<POOL

[[pools]]
fqdn = "$2"
computers = ["$1-1"]
place = "ssh://$user@${address[$1]}:$port$folder/$1"
backup_pool = "$3"
user_store = { url = "sqlite:users.sqlite" }
content_store = { url = "file:share" }
standby = { user_store = "sqlite:standby/users.sqlite", content_store = "file:standby/share", management_store = "sqlite:standby/cms.sqlite" }
POOL
}
{ echo "central_management_pool = \"$atl\""; pool atl "$atl" "$chi"; pool chi "$chi" "$atl"; } >"$folder/topology.toml"
printf 'central_management_store = "sqlite:atl/cms.sqlite"\nlocal_replica = "atl.replica.json"\njobs = "jobs-atl"\nmachine = "atl-1"\n' >"$folder/atl.toml"
printf 'central_management_store = { place = "ssh://%s@%s:%s%s/atl", url = "sqlite:cms.sqlite", pool = "%s" }\nlocal_replica = "chi.replica.json"\njobs = "jobs-chi"\nmachine = "chi-1"\n' \
    "$user" "${address[atl]}" "$port" "$folder" "$atl" >"$folder/chi.toml"

say 'At atl-1: the topology is published, and chi-1 gets a key that may read, and nothing else'
at atl "Show { Publish-CsTopology -FileName $folder/topology.toml }
        \$line = (Register-CsPoolPlace -PoolFqdn $atl -Grant Read -PublicKey (Get-Content $ssh/chi.pub)).AuthorizedKeysLine
        Show { \$line }
        Set-Content $ssh/authorized_keys-atl (\$line -replace '\"[^ \"]*csb-serve', '\"$root/target/release/csb-serve')"
# The helper at chi-1 lets atl-1 read its own copy.
fqdn_atl=$atl fqdn_chi=$chi
sed -e "s#--root $folder/atl --pool $fqdn_atl --partner $fqdn_chi#--root $folder/chi --pool $fqdn_chi --partner $fqdn_atl#" -e "s#ssh-ed25519 .*#$(cat "$ssh/atl.pub")#" \
    "$ssh/authorized_keys-atl" >"$ssh/authorized_keys-chi"
[ "$(id -u)" -ne 0 ] || mkdir -p -m 755 /run/sshd
for machine in atl chi; do
    [ -n "${namespace[$machine]:-}" ] || [ "$machine" = atl ] || { cat "$ssh/authorized_keys-chi" >>"$ssh/authorized_keys-atl"; continue; }
    printf 'Port %s\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\n' \
        "$port" "${address[$machine]}" "$ssh/host-$machine" "$ssh/authorized_keys-$machine" >"$ssh/sshd-$machine"
    # shellcheck disable=SC2086
    ${namespace[$machine]:-} "$sshd" -D -e -f "$ssh/sshd-$machine" 2>"$ssh/log-$machine" &
    servers+=($!)
done
[ -n "${namespace[chi]:-}" ] || sed -i "s#^\[127.*#[127.0.0.1]:$port $(cut -d' ' -f1,2 "$ssh/host-atl.pub")#" "$ssh/known_hosts"
sleep 1

say 'At chi-1, which receives: is the other machine reached, and may everything be read?'
at chi "Show { Test-CsPoolConnection -PoolFqdn $atl }
        Show { Backup-CsPool -PoolFqdn $atl -Report $folder/backup.html }
        Show { Get-CsBackupServiceStatus -PoolFqdn $atl }"
say 'The server at atl-1 goes on working: users, contacts and files change'
"$root/target/release/sample_server" "$folder/atl"
at chi "Show { Invoke-CsBackupServiceSync -PoolFqdn $atl -PassThru }"
say 'At atl-1: the same is seen, and its user store is lost and comes back'
rm -f "$folder"/atl/users.sqlite*
at atl "Show { Get-CsBackupServiceStatus -PoolFqdn $atl }
        Show { Invoke-CsBackupServiceSync -PoolFqdn $chi -BackupModule PresenceFocus -PassThru }"
test -s "$folder/atl/users.sqlite"
printf '\n\033[32mThe HTML report of the backup: %s\033[0m\n' "$folder/backup.html"
