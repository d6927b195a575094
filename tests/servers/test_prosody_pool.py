"""A real Prosody as a pool: backed up and synced while its users work, then served from its standby copies.

The steps build on each other; after one that fails, the rest is skipped.
"""

import asyncio
import contextlib
import signal
import shutil
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import pools
import users
from client import Client, Refused, Stopwatch
from ledger import Ledger
from pools import ATLANTA, CHICAGO, Pools

sys.path.append(str(Path(__file__).resolve().parents[2] / "examples" / "hosts" / "python"))
from cs_backup import BackupService, library_path  # noqa: E402

DATA_CONF = "ConfServices.DataConf"

# Enough for many states of a database that people write to all the time.
PROMISES_WANTED = 800
JOBS_WANTED = 20
JOB_SECONDS = 300
WORK_WITHIN_SECONDS = 300

RESTORED_WITHIN_SECONDS = 120
STATUS_INTERVAL_SECONDS = 0.2


class Scenario:
    """What the steps share."""

    def __init__(self, folder, stack):
        self.pools = Pools(folder)
        self.stack = stack
        self.service = None
        self.ledger = Ledger()
        self.stopwatch = Stopwatch()
        self.reports = []
        self.last_sync_began = None
        self.original_schema = None


def pool_one_and_its_backup_pool_run(scenario):
    deployment = scenario.pools
    deployment.write()
    scenario.stack.enter_context(deployment.atlanta)
    scenario.stack.enter_context(deployment.chicago)
    scenario.original_schema = pools.schema(deployment.atlanta.database)
    scenario.service = scenario.stack.enter_context(BackupService(deployment.deployment_file))
    published = scenario.service.request("publishTopology", file=str(deployment.topology_file))
    expect_equal(sorted(published["pools"]), [ATLANTA, CHICAGO])


def users_work_while_backups_and_syncs_run(scenario):
    asyncio.run(_work_and_back_up(scenario))


async def _work_and_back_up(scenario):
    enough_jobs = threading.Event()
    nobody_works = asyncio.Event()
    server = scenario.pools.atlanta
    try:
        async with asyncio.timeout(WORK_WITHIN_SECONDS), asyncio.TaskGroup() as group:
            for user in users.USERS:
                group.create_task(users.work(server, user, scenario.ledger, scenario.stopwatch, nobody_works))
            await asyncio.to_thread(_back_up_and_sync, scenario, enough_jobs)
            scenario.last_sync_began = time.monotonic()
            scenario.reports.append(await asyncio.to_thread(scenario.service.sync, timeout=JOB_SECONDS, poolFqdn=ATLANTA))
            nobody_works.set()
    except TimeoutError:
        raise TimeoutError(
            f"After {WORK_WITHIN_SECONDS} s there are {len(scenario.ledger)} confirmed writes of {PROMISES_WANTED} "
            f"and {len(scenario.reports)} jobs of {JOBS_WANTED}") from None
    finally:
        enough_jobs.set()


def _back_up_and_sync(scenario, stop):
    """Alternates between both commands until the users have written enough; a thread of its own runs it."""
    while not stop.is_set() and (len(scenario.ledger) < PROMISES_WANTED or len(scenario.reports) < JOBS_WANTED):
        scenario.reports.append(scenario.service.backup(timeout=JOB_SECONDS, poolFqdn=ATLANTA))
        scenario.reports.append(scenario.service.sync(timeout=JOB_SECONDS, poolFqdn=ATLANTA))


def every_job_succeeded(scenario):
    for report in scenario.reports:
        expect_equal(report["outcome"], "Succeeded", f"{report['command']}: {_complaints(report)}")
    longest = max(report["durationMs"] for report in scenario.reports)
    print(f"     {len(scenario.reports)} jobs, the longest took {longest} ms")


def _complaints(report):
    modules = report["modules"]
    complaints = ("errors", "warnings", "quarantined")
    return [item for part in (report, *modules) for name in complaints for item in part.get(name, [])]


def server_noticed_nothing(scenario):
    expect_equal(scenario.pools.atlanta.errors(), [])
    seconds, operation = scenario.stopwatch.longest()
    print(f"     {len(scenario.ledger)} confirmed writes; "
          f"the longest operation of a client took {seconds * 1000:.0f} ms ({operation})")


def nothing_is_left_at_the_server(scenario):
    """While nobody works, so that whatever changes is not the server's."""
    server, service = scenario.pools.atlanta, scenario.service
    before = pools.footprint(server)
    for verify in (False, True):
        for run in (service.backup, service.sync):
            report = run(timeout=JOB_SECONDS, poolFqdn=ATLANTA, verify=verify)
            expect_equal(report["outcome"], "Succeeded", _complaints(report))
        service.request("getBackupServiceStatus", poolFqdn=ATLANTA)
        service.request("getPoolBackupHistory", poolFqdn=ATLANTA)
    expect_equal(pools.footprint(server), before, "backup and sync left something")
    expect_equal(pools.schema(server.database), scenario.original_schema)


def fenced_standby_serves_reads_and_refuses_writes(scenario):
    before = pools.sql(scenario.pools.standby_database, ".dump")
    with scenario.pools.server_on_the_standby() as server:
        asyncio.run(_read_and_try_to_write(scenario, server))
    foreign = [line for line in server.errors() if "attempt to write a readonly database" not in line]
    expect_equal(foreign, [], "the server logged other errors than the fence's")
    expect_equal(pools.sql(scenario.pools.standby_database, ".dump") == before, True, "the standby copy changed")


async def _read_and_try_to_write(scenario, server):
    expect_equal(await users.missing_for_everyone(server, scenario.ledger, scenario.last_sync_began), [])
    user = users.USERS[0]
    async with Client(server, user, users.password_of(user)) as client:
        contacts = await client.contacts()
        for write in (client.save_contact("new@example.org", "New", "Friends"), client.upload("new.txt", b"new")):
            await expect_refused(write)
        expect_equal(await client.contacts(), contacts)


def second_server_on_a_restored_state_finds_everything(scenario):
    server = scenario.pools.second_server()
    newest = scenario.service.request("getPoolBackupHistory", poolFqdn=ATLANTA)["modules"][0]["states"][0]
    with scenario.service.start("restore", poolFqdn=ATLANTA, revision=newest["revision"], path=str(server.database)) as job:
        report = job.run(timeout=JOB_SECONDS)
    expect_equal(report["outcome"], "Succeeded", _complaints(report))
    with server:
        asyncio.run(_find_everything_and_write(scenario, server))
    expect_equal(server.errors(), [])


async def _find_everything_and_write(scenario, server):
    expect_equal(await users.missing_for_everyone(server, scenario.ledger, scenario.last_sync_began), [])
    await _save_and_find_a_contact(server)


async def _save_and_find_a_contact(server):
    user = users.USERS[0]
    async with Client(server, user, users.password_of(user)) as client:
        await client.save_contact("new@example.org", "New", "Friends")
        expect_equal((await client.contacts())["new@example.org"], ("New", "Friends"))


def lost_uploads_come_back_from_the_backup_pool(scenario):
    deployment, service = scenario.pools, scenario.service
    # The users have stopped, so this copy is complete.
    expect_equal(service.sync(timeout=JOB_SECONDS, poolFqdn=ATLANTA)["outcome"], "Succeeded")
    uploads = deployment.atlanta.uploads
    before = pools.files(uploads)
    for name in before:
        (uploads / name).unlink()
    report = service.sync(timeout=JOB_SECONDS, poolFqdn=CHICAGO, modules=[DATA_CONF])
    expect_equal(report["outcome"], "Succeeded", _complaints(report))
    _await_steady_state(service)
    after = pools.files(uploads)
    expect_equal(sorted(after), sorted(before))
    expect_equal([name for name in before if before[name] != after[name]], [], "files with other bytes")
    expect_equal(asyncio.run(users.missing_for_everyone(deployment.atlanta, scenario.ledger, time.monotonic())), [])
    print(f"     {len(before)} files, {sum(map(len, before.values()))} bytes restored in {report['durationMs']} ms")


def _await_steady_state(service):
    deadline = time.monotonic() + RESTORED_WITHIN_SECONDS
    while True:
        status = service.request("getBackupServiceStatus", poolFqdn=CHICAGO, modules=[DATA_CONF])
        if status["backupModules"][0]["exportStatus"] == "SteadyState":
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"no SteadyState within {RESTORED_WITHIN_SECONDS} s: {status}")
        time.sleep(STATUS_INTERVAL_SECONDS)


def next_sync_keeps_what_was_restored(scenario):
    report = scenario.service.sync(timeout=JOB_SECONDS, poolFqdn=ATLANTA)
    expect_equal(report["outcome"], "Succeeded", _complaints(report))
    expect_equal(sum(module["moved"]["itemsDeleted"] for module in report["modules"]), 0)
    standby, active = pools.files(scenario.pools.standby_uploads), pools.files(scenario.pools.atlanta.uploads)
    expect_equal(standby == active, True, "the files at the standby differ from those of the pool")


def disabling_backup_leaves_no_trace(scenario):
    server = scenario.pools.atlanta
    with scenario.service.start("disable", poolFqdn=ATLANTA) as job:
        report = job.run(timeout=JOB_SECONDS)
    expect_equal(report["outcome"], "Succeeded", _complaints(report))
    removed = {trace["store"] for trace in report["removed"]}
    expect_equal(f"sqlite:{server.database}" in removed, False, "there was something in the server's database")
    expect_equal(pools.schema(server.database), scenario.original_schema)
    expect_equal(pools.sql(server.database, "PRAGMA integrity_check"), ["ok"])
    asyncio.run(_save_and_find_a_contact(server))
    expect_equal(server.errors(), [])
    print(f"     {len(report['removed'])} traces removed")


STEPS = [
    pool_one_and_its_backup_pool_run,
    users_work_while_backups_and_syncs_run,
    every_job_succeeded,
    server_noticed_nothing,
    nothing_is_left_at_the_server,
    fenced_standby_serves_reads_and_refuses_writes,
    second_server_on_a_restored_state_finds_everything,
    lost_uploads_come_back_from_the_backup_pool,
    next_sync_keeps_what_was_restored,
    disabling_backup_leaves_no_trace,
]


def expect_equal(found, expected, meaning=""):
    """Fails with both values, shortened, and what they mean."""
    if found != expected:
        meaning = meaning or "unexpected value"
        raise AssertionError(f"{meaning}: found {str(found)[:2000]}, expected {str(expected)[:1000]}")


async def expect_refused(write):
    """Fails unless the server answers a write with an error; no answer is none."""
    try:
        await write
    except Refused:
        return
    raise AssertionError("the fenced standby accepted a write")


def run_steps(folder):
    """Runs the steps in order; how many passed and failed."""
    with contextlib.ExitStack() as stack:
        scenario = Scenario(folder, stack)
        for number, step in enumerate(STEPS):
            began = time.monotonic()
            try:
                step(scenario)
            except Exception:
                print(f"FAIL {step.__name__}", flush=True)
                traceback.print_exc(file=sys.stdout)
                return number, 1
            print(f"ok   {step.__name__} ({time.monotonic() - began:.1f} s)", flush=True)
    return len(STEPS), 0


def main():
    # As an interrupt, a termination unwinds the stack, and with it every server ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if library_path() is None:
        sys.exit("The library is not built: run `cargo build`, or name it in CSBACKUP_LIBRARY.\n0 passed, 1 failed")
    folder = tempfile.mkdtemp(prefix="csbackup-prosody-")
    passed, failed = run_steps(folder)
    if failed:
        print(f"The servers' logs and stores are kept in {folder}")
    else:
        shutil.rmtree(folder)
    skipped = len(STEPS) - passed - failed
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
