#!/usr/bin/env python3
"""Stands between ssh and sshd as a ProxyCommand, and makes a line of what is a loopback: delay, rate, cuts and freezes.

    relay.py HOST PORT [--delay-ms N] [--kbit N] [--cut-after BYTES] [--control FILE] [--count FILE]

The delay is that of one direction; the rate is that of each. `--cut-after` ends the connection once so many bytes came from the
server. While the control file says `freeze` nothing is passed on and nothing is closed; `cut` ends the connection. How many bytes
were passed on, in both directions, is appended to the file of `--count` as it grows.
"""

import argparse
import os
import queue
import socket
import sys
import threading
import time
from pathlib import Path

PIECE = 16 << 10


class Line:
    """What both directions have in common."""

    def __init__(self, options):
        self.delay = options.delay_ms / 1000
        self.rate = options.kbit * 125 if options.kbit else None
        self.left = options.cut_after
        self.control = options.control
        self.count = options.count.open("ab", buffering=0) if options.count else None

    def state(self):
        """What the control file says."""
        try:
            return self.control.read_text().strip() if self.control else ""
        except FileNotFoundError:
            return ""

    def passes(self):
        """Waits while the line is frozen; ends it where it is cut."""
        while self.state() == "freeze":
            time.sleep(0.02)
        if self.state() == "cut":
            os._exit(1)


def carry(line, read, write, close, is_down):
    """One direction: read into a queue with the time at which each piece arrives."""
    # What a real line holds is bounded, too.
    waiting = queue.Queue(maxsize=64)

    def deliver():
        while True:
            arrives, piece = waiting.get()
            time.sleep(max(0, arrives - time.monotonic()))
            if piece is None:
                close()
                return
            line.passes()
            if is_down and line.left is not None:
                piece = piece[: line.left]
                line.left -= len(piece)
            try:
                write(piece)
            except OSError:
                return
            if line.count:
                line.count.write(f"{len(piece)}\n".encode())
            if is_down and line.left == 0:
                os._exit(1)

    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    free = time.monotonic()
    while True:
        piece = read(PIECE)
        now = time.monotonic()
        free = max(free, now) + (len(piece) / line.rate if line.rate else 0)
        if line.rate:
            # The sender is held up by the rate, not by the delay.
            time.sleep(max(0, free - now))
        waiting.put((free + line.delay, piece or None))
        if not piece:
            thread.join()
            return


def main():
    """Relays until both directions have ended."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("host")
    arguments.add_argument("port", type=int)
    arguments.add_argument("--delay-ms", type=float, default=0)
    arguments.add_argument("--kbit", type=float, default=0)
    arguments.add_argument("--cut-after", type=int)
    arguments.add_argument("--control", type=Path)
    arguments.add_argument("--count", type=Path)
    options = arguments.parse_args()
    line = Line(options)
    server = socket.create_connection((options.host, options.port))
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def to_client(piece):
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view):]

    up = threading.Thread(
        target=carry,
        args=(line, lambda most: os.read(0, most), server.sendall, lambda: server.shutdown(socket.SHUT_WR), False),
        daemon=True,
    )
    up.start()

    def from_server(most):
        try:
            return server.recv(most)
        except OSError:
            return b""

    carry(line, from_server, to_client, lambda: os.close(1), True)


if __name__ == "__main__":
    try:
        main()
    except (BrokenPipeError, ConnectionError) as cause:
        sys.exit(str(cause))
