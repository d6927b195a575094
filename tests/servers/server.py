"""A server of a pool: an ordinary program on loopback, with everything it keeps in one folder."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

READY_WITHIN_SECONDS = 120
STOPPED_WITHIN_SECONDS = 60


class Server:
    """One server, running in a `with` block. A subclass says how it is configured and started, and when it is ready.

    `folder` receives configuration and log; `data_path` may be a standby copy of another server's data.
    """

    # What a line of its log holds that tells of something that went wrong.
    ERROR = "error"

    def __init__(self, folder, host, database, data_path=None):
        self.folder = Path(folder)
        self.host = host
        self.data_path = Path(data_path or self.folder / "data")
        self.database = self.data_path / database
        self.log = []
        self._log_grew = threading.Condition()
        self._ended = False
        self._process = None
        self._reader = None

    def __enter__(self):
        """Starts the server and returns when it accepts clients."""
        self.data_path.mkdir(parents=True, exist_ok=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        command = self.configure()
        # A group of its own, so that stopping reaches whatever the server itself may have started; and an end of its
        # own should this program be killed.
        self._process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command], env={**os.environ, **self.environment()},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_):
        self._stop()

    def configure(self):
        """Writes the configuration; the command that starts the server with it."""
        raise NotImplementedError

    def environment(self):
        """Variables that the server is started with, beside those of this program."""
        return {}

    def lacks(self):
        """What the server has not yet logged or opened that it has once it is ready; nothing where it is."""
        raise NotImplementedError

    def logged(self, pattern):
        """The lines of the log in which this is found."""
        with self._log_grew:
            return [line for line in self.log if re.search(pattern, line)]

    def errors(self):
        """What the server logged as an error, a failed database transaction included."""
        return self.logged(self.ERROR)

    def _stop(self):
        _signal_group(self._process, signal.SIGTERM)
        try:
            self._process.wait(STOPPED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(self._process, signal.SIGKILL)
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read_log(self):
        with open(self.folder / "server.log", "a", buffering=1) as file:
            for line in self._process.stdout:
                file.write(line)
                with self._log_grew:
                    self.log.append(line.rstrip("\n"))
                    self._log_grew.notify_all()
        with self._log_grew:
            self._ended = True
            self._log_grew.notify_all()

    def _wait_until_ready(self):
        deadline = time.monotonic() + READY_WITHIN_SECONDS
        while lacking := self.lacks():
            with self._log_grew:
                self._log_grew.wait(0.2)
                if self._ended or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{type(self).__name__} of {self.host} is not ready after {READY_WITHIN_SECONDS} s, or ended: it lacks "
                        f"{lacking}. It logged:\n" + "\n".join(self.log))


def free_ports(count, kind=socket.SOCK_STREAM):
    """Ports of the loopback interface that nobody listens on; all are held until all are found, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(type=kind)) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]


def _signal_group(process, number):
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        pass
