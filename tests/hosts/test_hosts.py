#!/usr/bin/env python3
"""Every host does the same with the same deployment: backs it up, shows progress, is interrupted, explains an error.

The reports must be equal apart from ids, times and what is counted by time. A host whose language is not there is skipped. The
library is $CSBACKUP_LIBRARY, else the newest built one. The last line is "N passed, N failed, N skipped".
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ROOT / "examples" / "hosts"
sys.path.append(str(HOSTS / "python"))
from cs_backup import library_path  # noqa: E402
from hold import hold  # noqa: E402
from sample import make  # noqa: E402

POOL = "atl-cs-001.litwareinc.com"
MODULES = ["UserServices.PresenceFocus", "ConfServices.DataConf", "CentralMgmt.CMSMaster"]
CANCELLED, FAILED, WRONG_USAGE = 4, 1, 2
# What two runs of the same work need not have in common.
VARYING = {"jobId", "startedAt", "finishedAt", "durationMs", "lagMs", "cursor", "processId", "namesFile"}
SECONDS = 300
BUILD_SECONDS = 600
# A job that does not stop waits for its store for two minutes.
STOPPED_WITHIN_SECONDS = 2
LOOKS = 5


class Failed(Exception):
    """A check that does not hold."""


def expect(holds, what):
    if not holds:
        raise Failed(what)


class Deployments:
    """Sample deployments that begin anew for every host, in the same place: the place is in the reports."""

    def __init__(self, folder):
        self._folder, self._kept = folder / "deployment", folder / "kept"
        self._kept.mkdir()

    def fresh(self, **size):
        kept = self._kept / "-".join(map(str, size.values()))
        shutil.rmtree(self._folder, ignore_errors=True)
        if kept.exists():
            subprocess.run(["cp", "-a", kept, self._folder], check=True)
        else:
            make(self._folder, **size)
            subprocess.run(["cp", "-a", self._folder, kept], check=True)
        return self._folder / "deployment.toml"


# ---- the hosts: each builds itself in a folder and says how it is run --------------------------------------------------


def built(command, **options):
    done = subprocess.run(list(map(str, command)), timeout=BUILD_SECONDS, capture_output=True, text=True, **options)
    expect(done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}")


def c(folder):
    program, library = folder / "backup_host", library_path().resolve()
    built(["gcc", "-std=c11", f"-I{ROOT}/include", HOSTS / "c" / "backup_host.c", library, f"-Wl,-rpath,{library.parent}", "-o", program])
    return [program]


def csharp(folder):
    built(["dotnet", "build", HOSTS / "csharp", "--nologo", "-v", "quiet", "-nodeReuse:false", "-p:UseSharedCompilation=false",
           "--artifacts-path", folder / "artifacts", "-o", folder / "csharp"])
    return ["dotnet", folder / "csharp" / "BackupHost.dll"]


def python(_folder):
    return [sys.executable, HOSTS / "python" / "backup_host.py"]


def node(folder):
    copy = folder / "node"
    shutil.copytree(HOSTS / "node", copy, ignore=shutil.ignore_patterns("node_modules"))
    built(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=copy)
    return ["node", copy / "backup_host.js"]


LANGUAGES = {"C": ("gcc", c), "C#": ("dotnet", csharp), "Python": ("python3", python), "Node": ("npm", node)}


def run(command, *arguments):
    return subprocess.run([*map(str, command), *map(str, arguments)], timeout=SECONDS, capture_output=True, text=True)


# ---- what each must do ----------------------------------------------------------------------------------------------


def comparable(document):
    """A document without what varies, and without nulls, which a host's own types may leave out."""
    if isinstance(document, dict):
        return {name: comparable(value) for name, value in document.items() if name not in VARYING and value is not None}
    return list(map(comparable, document)) if isinstance(document, list) else document


def backs_up(command, deployments, folder):
    """Tells its steps and its outcome, and keeps the report; that report, comparable."""
    deployment = deployments.fresh(users=40, contactsPerUser=5, files=60)
    kept = folder / "report.json"
    kept.unlink(missing_ok=True)
    done = run(command, deployment, POOL, "--report", kept)
    expect(done.returncode == 0, f"ended with {done.returncode}: {done.stdout}{done.stderr}")
    for told in ("1. Copy the user store to", "3. Copy the Central Management store", "NotInitialized -> SteadyState", "\nSucceeded in "):
        expect(told in done.stdout, f"does not say {told!r}: {done.stdout}")
    report = json.loads(kept.read_text(encoding="utf-8"))
    expect([module["module"] for module in report["modules"]] == MODULES, f"other modules: {report}")
    record = json.loads((deployment.parent / "jobs" / f"{report['jobId']}.json").read_text(encoding="utf-8"))
    expect(comparable(report) == comparable(record["report"]), "its report is not the one on the disk")
    return comparable(report)


def synchronizes(command, deployments, folder):
    """A sync of what the backup has left, with the report as a page."""
    page = folder / "report.html"
    page.unlink(missing_ok=True)
    done = run(command, folder / "deployment" / "deployment.toml", POOL, "--sync", "--give-back", "--report", page)
    expect(done.returncode == 0, f"ended with {done.returncode}: {done.stdout}{done.stderr}")
    expect("given back" in done.stdout.lower(), f"does not say what was given back: {done.stdout}")
    expect(page.read_text(encoding="utf-8").lower().startswith("<!doctype html>"), "the page is none")


def is_interrupted(command, deployments, folder):
    """Ctrl+C stops a host soon: the machine may be busy, so the soonest of a few times counts."""
    looks = []
    while len(looks) < LOOKS and not any(took < STOPPED_WITHIN_SECONDS for took in looks):
        looks.append(interrupted(command, deployments))
    expect(looks[-1] < STOPPED_WITHIN_SECONDS, f"stopped after {', '.join(f'{took:.1f} s' for took in looks)}")
    return looks[-1]


def interrupted(command, deployments):
    """Ctrl+C while a server keeps the job from ending: stops soon, and says Cancelled in its own words and with its exit code."""
    deployment = deployments.fresh(users=40, contactsPerUser=5, files=60)
    server = hold(deployment.parent / "atl" / "users.sqlite")
    # A shell's background jobs ignore interrupts, and so would what they start.
    host = subprocess.Popen(
        [*map(str, command), str(deployment), POOL], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        told = next(line for line in host.stdout if "3. Copy" in line)
        host.send_signal(signal.SIGINT)
        began = time.monotonic()
        told += host.communicate(timeout=SECONDS)[0]
        took = time.monotonic() - began
    finally:
        host.kill()
        server.close()
    expect(host.returncode == CANCELLED, f"ended with {host.returncode}: {told}")
    expect("Cancelled in " in told, f"does not say Cancelled: {told}")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (deployment.parent / "jobs").glob("*.json")]
    expect([(record["ended"], record["report"]["outcome"]) for record in records] == [(True, "Cancelled")], f"another record: {records}")
    return took


def explains(command, deployments, folder):
    """A pool that there is none of, a deployment that is not there, and no arguments."""
    deployment = folder / "deployment" / "deployment.toml"
    done = run(command, deployment, "nowhere.litwareinc.com")
    expect(done.returncode == FAILED and "UnknownPool: " in done.stdout and POOL in done.stdout, f"{done}")
    done = run(command, folder / "nowhere-容量.toml", POOL)
    expect(done.returncode == FAILED and "FileMissing: " in done.stderr and "nowhere-容量.toml" in done.stderr, f"{done}")
    done = run(command)
    expect(done.returncode == WRONG_USAGE and done.stderr.startswith("usage: "), f"{done}")


def powershell_backs_up(deployments, folder):
    deployment, kept = deployments.fresh(users=40, contactsPerUser=5, files=60), folder / "report.json"
    script = ROOT / "tests" / "hosts" / "backup_host.ps1"
    done = run(["pwsh", "-NoProfile", "-NonInteractive", "-File", script], deployment, POOL, kept)
    expect(done.returncode == 0 and "Succeeded in " in done.stdout, f"ended with {done.returncode}: {done.stdout}{done.stderr}")
    return comparable(json.loads(kept.read_text(encoding="utf-8-sig")))


class Tally:
    """Counts what holds."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, name, test, *arguments):
        """What the test returns; None where it failed."""
        try:
            result = test(*arguments)
        except (Failed, OSError, ValueError, StopIteration, subprocess.SubprocessError) as failure:
            print(f"FAILED  {name}\n        {type(failure).__name__}: {failure}", flush=True)
            self.failed += 1
            return None
        took = f" ({result * 1000:.0f} ms)" if isinstance(result, float) else ""
        print(f"ok      {name}{took}", flush=True)
        self.passed += 1
        return result

    def skip(self, name, reason):
        print(f"skipped {name}: {reason}", flush=True)
        self.skipped += 1


def guide(language, program, command, folder):
    """The program of docs/abi.md in a language, as it stands there, backs a sample up and explains an error."""
    text = (ROOT / "docs" / "abi.md").read_text(encoding="utf-8")
    program.write_text(text.split(f"\n```{language}\n")[1].split("\n```\n")[0], encoding="utf-8")
    deployment = folder / "deployment" / "deployment.toml"
    done = run([command, program], deployment, POOL)
    expect(done.returncode == 0 and "Succeeded in " in done.stdout, f"{done}")
    done = run([command, program], deployment, "nowhere.litwareinc.com")
    expect(done.returncode == FAILED and "UnknownPool: " in done.stderr, f"{done}")


def differences(reports):
    """The first host's report against each other one's."""
    (first, expected), *others = reports.items()
    for name, report in others:
        for field in sorted(expected.keys() | report.keys()):
            one, other = expected.get(field), report.get(field)
            expect(one == other, f"{field} is in {first}: {one}\n        and in {name}: {other}")


def test_all(folder, tally):
    deployments, reports = Deployments(folder), {}
    for name, (needed, language) in LANGUAGES.items():
        if not shutil.which(needed):
            tally.skip(f"the host in {name}", f"there is no {needed}")
            continue
        command = tally.check(f"the host in {name} is built", language, folder)
        if command is None:
            continue
        if report := tally.check(f"{name}: backs the sample up and shows what happens", backs_up, command, deployments, folder):
            reports[name] = report
            tally.check(f"{name}: synchronizes and makes a page", synchronizes, command, deployments, folder)
        tally.check(f"{name}: explains what is wrong", explains, command, deployments, folder)
        tally.check(f"{name}: an interrupt cancels the job", is_interrupted, command, deployments, folder)
    deployments.fresh(users=40, contactsPerUser=5, files=60)
    os.environ["PYTHONPATH"] = str(HOSTS / "python")
    tally.check("the Python program of docs/abi.md", guide, "python", folder / "guide.py", sys.executable, folder)
    if (folder / "node").exists():
        tally.check("the Node program of docs/abi.md", guide, "js", folder / "node" / "guide.js", "node", folder)
    if shutil.which("pwsh"):
        if report := tally.check("PowerShell: backs the sample up", powershell_backs_up, deployments, folder):
            reports["PowerShell"] = report
    else:
        tally.skip("PowerShell", "there is no pwsh")
    tally.check(f"the reports are the same: {', '.join(reports)}", differences, reports)


def main():
    if library_path() is None:
        sys.exit("The library is not built: run `cargo build`, or name it in CSBACKUP_LIBRARY.\n0 passed, 1 failed")
    os.environ.update(CSBACKUP_LIBRARY=str(library_path().resolve()), DOTNET_CLI_TELEMETRY_OPTOUT="1", DOTNET_NOLOGO="1")
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="csbackup-hosts-") as folder:
        test_all(Path(folder), tally)
    print(f"{tally.passed} passed, {tally.failed} failed, {tally.skipped} skipped")
    sys.exit(tally.failed > 0)


if __name__ == "__main__":
    main()
