"""host: what importing, a status query and a poll cost hosts in C, C# and PowerShell."""

import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path

from measure import Result
from service import LIBRARY, ROOT, ServiceProcess
from stores import POOL, Deployment

HERE = Path(__file__).resolve().parent / "hosts"
# Milliseconds.
TARGETS = {"import": 150, "status": 5}


def measure(root, rounds):
    """One table for each host there is on this machine."""
    deployment = Deployment(root / "deployment")
    with ServiceProcess(deployment.file) as service:
        service.sync("All", POOL)
    for name, needed, prepare in (("C", "gcc", _c), ("C#", "dotnet", _csharp), ("PowerShell", "pwsh", _powershell)):
        if shutil.which(needed):
            yield _table(name, prepare(root, deployment), rounds)
        else:
            yield Result("host", name, notes=[f"skipped: there is no {needed}"])


def _c(root, deployment):
    program = root / "host"
    subprocess.run(
        ["gcc", "-std=gnu11", "-O2", f"-I{ROOT}/include", HERE / "host.c", "-o", program, "-ldl"], check=True,
    )
    status = {"request": "getBackupServiceStatus", "poolFqdn": POOL}
    documents = ({"deploymentFile": str(deployment.file)}, status, {"poolFqdn": POOL})
    return [[program, LIBRARY, *map(json.dumps, documents)]]


def _csharp(root, deployment):
    output = root / "csharp"
    subprocess.run(
        ["dotnet", "build", HERE / "csharp", "-c", "Release", "-o", output, "--nologo", "-v", "quiet", "-nodeReuse:false",
         "-p:UseSharedCompilation=false"],
        check=True, stdout=subprocess.DEVNULL,
    )
    return [[output / "Host", deployment.file, POOL]]


def _powershell(_root, deployment):
    subprocess.run([ROOT / "ps-module/build.sh"], check=True, stdout=subprocess.DEVNULL)
    pwsh = ["pwsh", "-NoProfile", "-NonInteractive", "-File"]
    return [[*pwsh, HERE / "host.ps1", ROOT / "ps-module/CsBackup.psd1", deployment.file, POOL], [*pwsh, HERE / "add-type.ps1"]]


def _table(name, commands, rounds):
    samples = {}
    environment = {**os.environ, "CSBACKUP_LIBRARY": str(LIBRARY), "DOTNET_CLI_TELEMETRY_OPTOUT": "1"}
    for number in range(rounds + 1):
        for command in commands:
            told = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, env=environment).stdout
            for what, milliseconds in (line.split() for line in told.splitlines()):
                if number > 0:
                    samples.setdefault(what, []).append(float(milliseconds))
    result = Result("host", f"{name}, milliseconds")
    for what, values in samples.items():
        median, limit = statistics.median(values), TARGETS.get(what)
        verdict = "" if limit is None else f", {'met' if median < limit else 'NOT MET'}: below {limit}"
        result.notes.append(f"{what:10} {median:9.4f}{verdict}")
    return result
