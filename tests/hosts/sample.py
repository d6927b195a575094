#!/usr/bin/env python3
"""Makes a sample deployment for the tests of hosts and prints the path of its file: sample.py FOLDER [FIELD=NUMBER]…"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "hosts" / "python"))
from cs_backup import BackupService  # noqa: E402


def make(folder, **size):
    """A sample deployment in a new folder; the path of its file."""
    with BackupService() as service:
        return service.request("createSampleDeployment", folder=str(folder), **size)["deploymentFile"]


if __name__ == "__main__":
    print(make(sys.argv[1], **{name: int(number) for name, number in (field.split("=") for field in sys.argv[2:])}))
