#!/usr/bin/env python3
"""An example host: backs a pool up, or synchronizes it with its backup pool, and shows what happens. Ctrl+C cancels.

Exit code: 0 succeeded or nothing to do, 1 failed, 2 wrong usage, 3 succeeded with warnings, 4 cancelled.
"""

import argparse
import signal
import sys
from pathlib import Path

from cs_backup import BackupService, CsBackupError

EXIT_CODES = {"Skipped": 0, "Succeeded": 0, "Failed": 1, "SucceededWithWarnings": 3, "Cancelled": 4}
FAILED = 1


class Screen:
    """Prints events; the line of progress is rewritten in a terminal and left out of files and pipes."""

    def __init__(self):
        self._terminal = sys.stdout.isatty()
        self._titles = {}

    def show(self, event):
        kind = event["event"]
        if kind == "progress":
            self._progress(event)
        elif kind == "started":
            self._line(f"{event['command']} {event['poolFqdn']}")
            for number, step in enumerate(event["plan"]["steps"], 1):
                self._line(f"  {number}. {step['title']}")
        elif kind == "stepStarted":
            self._titles[event["step"]] = event["title"]
        elif kind == "stepFinished":
            self._line(f"  {event['outcome']}: {self._titles.get(event['step'], event['step'])}")
        elif kind == "stateChanged":
            self._line(f"  {event['module']}: {event['from']} -> {event['to']} ({event['half']})")
        elif kind == "warning":
            self._line(f"  warning: {event['message']}")
        elif kind == "retrying":
            self._line(f"  {event['error']['message']} Attempt {event['attempt']} in {event['delayMs']} ms.")
        # Later versions tell more kinds of events; they are none of this program's business.

    def _progress(self, event):
        if not self._terminal:
            return
        # A database is counted in bytes.
        unit = "items" if event["itemsDone"] or event["bytesTotal"] is None else "bytes"
        total = "" if event[f"{unit}Total"] is None else f" of {event[f'{unit}Total']:,}"
        left = "" if event["timeLeftMs"] is None else f", {event['timeLeftMs'] / 1000:.1f} s left"
        print(f"\r\033[K  {event['activity']}: {event[f'{unit}Done']:,}{total} {unit}{left}", end="", flush=True)

    def _line(self, text):
        print(("\r\033[K" if self._terminal else "") + text, flush=True)


def print_error(error, file=sys.stdout):
    print(f"{error['kind']}: {error['message']}", file=file)
    for cause in error["causes"]:
        print(f"  because: {cause}", file=file)
    print(f"  what to do: {error['advice']}", file=file)


def print_report(report):
    print(f"\n{report['outcome']} in {report['durationMs']:,} ms (job {report['jobId']})")
    for module in report["modules"]:
        done = "written" if module["purpose"] == "copy" else "given back"
        moved = module["moved"]
        print(f"  {module['module']:27} {module['outcome']}, {moved['itemsWritten']:,} {done}, {moved['itemsDeleted']:,} deleted")
    for part in [*report["modules"], report]:
        for item in part.get("quarantined", []):
            print(f"  not copied: {item['item']}: {item['reason']} {item['advice']}")
        for warning in part["warnings"]:
            print(f"  warning: {warning}")
        for error in part["errors"]:
            print_error(error)


def run(options):
    with BackupService(options.deployment) as service:
        if options.report:
            service.check_report(options.report)
        start = service.start_sync if options.sync else service.start_backup
        more = {"giveBack": True} if options.give_back else {}
        with start(poolFqdn=options.pool, **more) as job:
            # The handler runs between two calls. The job then ends as always, with a report that says Cancelled.
            signal.signal(signal.SIGINT, lambda *_: job.cancel())
            report = job.run(Screen().show)
            print_report(report)
            if options.report:
                print(f"Report: {job.write(options.report)}")
    return EXIT_CODES[report["outcome"]]


def main():
    parser = argparse.ArgumentParser(description="Backs a pool up and shows what happens. Ctrl+C cancels.")
    parser.add_argument("deployment", metavar="DEPLOYMENT.toml")
    parser.add_argument("pool", metavar="POOL")
    parser.add_argument("--sync", action="store_true", help="synchronize instead")
    parser.add_argument("--give-back", action="store_true", help="and return what the backup pool lacks")
    parser.add_argument("--report", type=Path, metavar="FILE", help="keep the report, as HTML or, in FILE.json, as JSON")
    options = parser.parse_args()
    if options.give_back and not options.sync:
        parser.error("--give-back needs --sync")
    try:
        return run(options)
    except CsBackupError as failure:
        print_error(failure.document, sys.stderr)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
