"""The product in a process of its own: takes a JSON document a line, answers with one.

A job is timed from the call that starts it to its terminal event, in a process that has the library loaded and the service
open, as a host has. Memory is the highest resident set during the job less what was resident before it.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "examples" / "hosts" / "python"))
from cs_backup import BackupService  # noqa: E402

LIBRARY = Path(os.environ.get("CSBACKUP_LIBRARY", ROOT / "target" / "release" / "libcs_backup.so"))
# Longer than any workload takes.
JOB_SECONDS = 3600


class ServiceProcess:
    """One such process. Use `with`, so that it ends."""

    def __init__(self, deployment=None):
        command = [sys.executable, __file__, *([str(deployment)] if deployment else [])]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(60)

    def sync(self, module, pool, **options):
        """One job over one module, or over `All`, which must succeed; seconds and MiB beyond the process."""
        self._tell({"sync": {"modules": [module], "poolFqdn": pool, **options}})
        reply = self._reply()
        return reply["seconds"], reply["mebibytes"]

    def request(self, name, **fields):
        """The reply to a request."""
        self._tell({"request": {"name": name, **fields}})
        return self._reply()["reply"]

    def _tell(self, document):
        print(json.dumps(document), file=self._process.stdin, flush=True)

    def _reply(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process of the service has ended.")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply


def resident_kib(field):
    """VmRSS, what is resident, or VmHWM, the most that was, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(field)).split()[1])


def sync(service, request):
    """Runs one job and measures it."""
    # Sets the highest resident set back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_kib("VmRSS")
    started = time.perf_counter()
    report = service.sync(timeout=JOB_SECONDS, **request)
    seconds = time.perf_counter() - started
    if report["outcome"] != "Succeeded":
        return {"error": json.dumps(report)}
    return {"seconds": seconds, "mebibytes": (resident_kib("VmHWM") - before) / 1024}


def serve(deployment):
    """Answers until there are no more lines."""
    with BackupService(deployment, LIBRARY) as service:
        for line in sys.stdin:
            document = json.loads(line)
            if "sync" in document:
                reply = sync(service, document["sync"])
            else:
                reply = {"reply": service.request(**document["request"])}
            print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1] if len(sys.argv) > 1 else None)
