"""A minimal host of the library: loads it, speaks its JSON documents, frees every string exactly once."""

import ctypes
import json
import os
import time
from ctypes import POINTER, byref, c_char_p, c_int32, c_uint32, c_uint64, c_void_p
from pathlib import Path

POLL_SLICE_MS = 1000
JSON_REPORT = 0
OK = 0

# The library's strings are taken as addresses: of a c_char_p ctypes makes a copy, and the address to free is lost.
OUT_STRING = POINTER(c_void_p)
SIGNATURES = {
    "csb_service_open": (c_int32, [c_char_p, POINTER(c_void_p), OUT_STRING]),
    "csb_service_request": (c_int32, [c_void_p, c_char_p, OUT_STRING, OUT_STRING]),
    "csb_service_shutdown": (c_int32, [c_void_p, c_uint32, OUT_STRING]),
    "csb_service_free": (None, [c_void_p]),
    "csb_backup_start": (c_int32, [c_void_p, c_char_p, POINTER(c_uint64), OUT_STRING]),
    "csb_sync_start": (c_int32, [c_void_p, c_char_p, POINTER(c_uint64), OUT_STRING]),
    "csb_job_poll": (c_int32, [c_void_p, c_uint64, c_uint64, c_uint32, OUT_STRING, OUT_STRING]),
    "csb_job_report": (c_int32, [c_void_p, c_uint64, c_int32, OUT_STRING, OUT_STRING]),
    "csb_job_release": (c_int32, [c_void_p, c_uint64, OUT_STRING]),
    "csb_string_free": (None, [c_void_p]),
}


class CsBackupError(Exception):
    """An error document of the library."""

    def __init__(self, function, status, document):
        what = (document.get(field) for field in ("kind", "message", "causes"))
        super().__init__(f"{function}: {status} " + " ".join(map(str, what)))


def library_path():
    """The library named by $CSBACKUP_LIBRARY, else the newest one built in this checkout; None if there is none."""
    named = os.environ.get("CSBACKUP_LIBRARY")
    if named:
        return Path(named)
    target = Path(__file__).resolve().parents[2] / "target"
    built = [path for profile in ("release", "debug") if (path := target / profile / "libcs_backup.so").exists()]
    return max(built, key=lambda path: path.stat().st_mtime, default=None)


class CsBackup:
    """An open backup service. Its methods may be called from any thread; use `with`, so that it is shut down."""

    def __init__(self, deployment_file, library=None, job_seconds=60):
        self._job_seconds = job_seconds
        self._library = ctypes.CDLL(str(library or library_path()))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        handle = c_void_p()
        self._call("csb_service_open", _json({"deploymentFile": deployment_file and str(deployment_file)}), byref(handle))
        self._handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Ends running jobs and frees the handle, also where the shutdown fails."""
        try:
            self._call("csb_service_shutdown", self._handle, 10_000)
        finally:
            self._library.csb_service_free(self._handle)
            self._handle = None

    def request(self, name, **fields):
        """The reply to a request."""
        return self._document("csb_service_request", self._handle, _json({"request": name, **fields}))

    def backup(self, **fields):
        """Runs Backup-CsPool and returns its report."""
        return self._run("csb_backup_start", fields)

    def sync(self, **fields):
        """Runs Invoke-CsBackupServiceSync and returns its report."""
        return self._run("csb_sync_start", fields)

    def _run(self, start, fields):
        job = c_uint64()
        self._call(start, self._handle, _json(fields), byref(job))
        try:
            self._await_end(job, time.monotonic() + self._job_seconds, f"{start} {fields}")
            return self._document("csb_job_report", self._handle, job, JSON_REPORT)
        finally:
            self._call("csb_job_release", self._handle, job)

    def _await_end(self, job, deadline, what):
        seen = 0
        while time.monotonic() < deadline:
            poll = self._document("csb_job_poll", self._handle, job, seen, POLL_SLICE_MS)
            seen = poll["lastSeq"]
            if any(event["event"] == "finished" for event in poll["events"]):
                return
        raise TimeoutError(f"{what}: no terminal event in time; the job is {poll['state']}")

    def _document(self, function, *arguments):
        text = c_void_p()
        self._call(function, *arguments, byref(text))
        return json.loads(self._take(text))

    def _call(self, function, *arguments):
        error = c_void_p()
        status = getattr(self._library, function)(*arguments, byref(error))
        document = json.loads(self._take(error)) if error else {}
        if status != OK:
            raise CsBackupError(function, status, document)

    def _take(self, text):
        """Copies a string of the library and gives it back."""
        try:
            return ctypes.string_at(text).decode("utf-8")
        finally:
            self._library.csb_string_free(text)


def _json(document):
    return json.dumps(document).encode("utf-8")
