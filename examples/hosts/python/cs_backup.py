"""CsBackup from Python: the C library over ctypes, without any other dependency.

    with BackupService("deployment.toml") as service:
        report = service.backup(poolFqdn="atl-cs-001.litwareinc.com", on_event=print)

Documents are dictionaries with the fields of docs/documents.md. Every method may be called from any thread; ctypes lets other
threads run while a call waits.
"""

import ctypes
import json
import os
import time
from ctypes import POINTER, byref, c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from pathlib import Path

ABI_VERSION = 1
OK = 0
REPORT_JSON, REPORT_HTML = 0, 1

# Short, so that Ctrl+C and cancelling feel immediate: Python handles a signal only when a call has returned.
POLL_SLICE_MS = 100
SHUTDOWN_MS = 10_000

# The library's strings are taken as addresses: of a c_char_p ctypes makes a copy, and the address to free is lost.
OUT_STRING = POINTER(c_void_p)
SIGNATURES = {
    "csb_abi_version": (c_uint32, []),
    "csb_version": (c_char_p, []),
    "csb_service_open": (c_int32, [c_char_p, POINTER(c_void_p), OUT_STRING]),
    "csb_service_request": (c_int32, [c_void_p, c_char_p, OUT_STRING, OUT_STRING]),
    "csb_service_shutdown": (c_int32, [c_void_p, c_uint32, OUT_STRING]),
    "csb_service_free": (None, [c_void_p]),
    "csb_job_start": (c_int32, [c_void_p, c_char_p, POINTER(c_uint64), OUT_STRING]),
    "csb_job_poll": (c_int32, [c_void_p, c_uint64, c_uint64, c_uint32, OUT_STRING, OUT_STRING]),
    "csb_job_cancel": (c_int32, [c_void_p, c_uint64, OUT_STRING]),
    "csb_job_report": (c_int32, [c_void_p, c_uint64, c_int32, OUT_STRING, OUT_STRING]),
    "csb_job_release": (c_int32, [c_void_p, c_uint64, OUT_STRING]),
    "csb_string_free": (None, [c_void_p]),
}


class CsBackupError(Exception):
    """A call that failed: its kind, its message, what to do, and the whole error document."""

    def __init__(self, document):
        super().__init__(f"{document['kind']}: {document['message']}")
        self.document = document
        self.kind = document["kind"]
        self.advice = document["advice"]


def library_path():
    """The library named by $CSBACKUP_LIBRARY, else the newest one built in this checkout; None if there is none."""
    named = os.environ.get("CSBACKUP_LIBRARY")
    if named:
        return Path(named)
    target = Path(__file__).resolve().parents[3] / "target"
    built = [path for profile in ("release", "debug") if (path := target / profile / "libcs_backup.so").exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


class BackupService:
    """One deployment; without a file only requests that need none are answered. Use `with`, so that it is shut down."""

    def __init__(self, deployment_file=None, library=None):
        self._library = _load(library or library_path())
        handle = c_void_p()
        self._call("csb_service_open", _json({"deploymentFile": deployment_file and str(deployment_file)}), byref(handle))
        self._handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Cancels what runs, waits up to ten seconds for the reports, and frees the handle, also where that fails."""
        try:
            self._call("csb_service_shutdown", self._handle, SHUTDOWN_MS)
        finally:
            self._library.csb_service_free(self._handle)
            self._handle = None

    @property
    def version(self):
        """The version of the native library."""
        return self._library.csb_version().decode("utf-8")

    def request(self, name, **fields):
        """The reply to a request."""
        return self._document("csb_service_request", self._handle, _json({"request": name, **fields}))

    def check_report(self, file):
        """Raises CsBackupError where the library would not write a report to this file; writes nothing."""
        self.request("writeReport", file=str(file), whatIf=True)

    def start_backup(self, **fields):
        """Starts Backup-CsPool. The fields are those of a backup request."""
        return self.start("backup", **fields)

    def start_sync(self, **fields):
        """Starts Invoke-CsBackupServiceSync. The fields are those of a sync request."""
        return self.start("sync", **fields)

    def backup(self, on_event=None, timeout=None, **fields):
        """Runs Backup-CsPool to its end, tells its events, and returns its report."""
        with self.start_backup(**fields) as job:
            return job.run(on_event, timeout)

    def sync(self, on_event=None, timeout=None, **fields):
        """Runs Invoke-CsBackupServiceSync to its end, tells its events, and returns its report."""
        with self.start_sync(**fields) as job:
            return job.run(on_event, timeout)

    def start(self, job, **fields):
        """Starts a job of this kind. The fields are those of its request."""
        number = c_uint64()
        self._call("csb_job_start", self._handle, _json({"job": job, **fields}), byref(number))
        return Job(self, number)

    def _document(self, function, *arguments):
        return json.loads(self._text(function, *arguments))

    def _text(self, function, *arguments):
        text = c_void_p()
        self._call(function, *arguments, byref(text))
        return self._take(text)

    def _call(self, function, *arguments):
        error = c_void_p()
        status = getattr(self._library, function)(*arguments, byref(error))
        document = json.loads(self._take(error)) if error else None
        if status != OK:
            raise CsBackupError(document)

    def _take(self, text):
        """Copies a string of the library and gives it back."""
        try:
            return ctypes.string_at(text).decode("utf-8")
        finally:
            self._library.csb_string_free(text)


class Job:
    """A job of a service. Use `with`: a job that was left before its end is cancelled, and its number is given back."""

    def __init__(self, service, number):
        self._service, self._number = service, number
        self._ended = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self._ended:
            self.cancel()
            for _ in self.events(SHUTDOWN_MS / 1000):
                pass
        self._service._call("csb_job_release", self._service._handle, self._number)

    def events(self, timeout=None):
        """What the job tells, as it tells it, to its end. Raises TimeoutError where that is not reached in `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        seen = 0
        while not self._ended:
            told = self._service._document("csb_job_poll", self._service._handle, self._number, seen, POLL_SLICE_MS)
            seen = told["lastSeq"]
            for event in told["events"]:
                self._ended = self._ended or event["event"] == "finished"
                yield event
            if not self._ended and deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"The job is still {told['state']} after {timeout} s.")

    def run(self, on_event=None, timeout=None):
        """Follows the job to its end and returns its report."""
        for event in self.events(timeout):
            if on_event is not None:
                on_event(event)
        return self.report()

    def cancel(self):
        """Asks the job to stop; returns at once. Its end and its report come as always."""
        self._service._call("csb_job_cancel", self._service._handle, self._number)

    def report(self):
        """The report of a job that has ended."""
        return self._service._document("csb_job_report", self._service._handle, self._number, REPORT_JSON)

    def write(self, file):
        """Writes the report to a file, as JSON in FILE.json, else as a page; its path."""
        return self._service.request("writeReport", job=self._number.value, file=str(file))["file"]

    def page(self):
        """The report as one self-contained HTML page."""
        return self._service._text("csb_job_report", self._service._handle, self._number, REPORT_HTML)


def _load(path):
    if path is None:
        raise FileNotFoundError("The library is not built: run `cargo build`, or name it in CSBACKUP_LIBRARY.")
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    if library.csb_abi_version() != ABI_VERSION:
        raise OSError(f"{path} has ABI {library.csb_abi_version()}; this module was written for ABI {ABI_VERSION}.")
    return library


def _json(document):
    return json.dumps(document).encode("utf-8")
