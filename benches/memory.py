"""memory: the most that is resident during one job, at two sizes a factor of ten apart, and in the peers."""

import time

from files import RCLONE_SYNC, RSYNC, peer_command
from measure import OURS, Result, memory_of
from service import ServiceProcess
from stores import CONTENT_STORE, POOL, USER_STORE, Deployment, fill_users, make_tiny, sql

LIMIT_MIB = 128


def users(root, sizes):
    """First copy, delta of all users, idle cycle, comparison of a user store; each in a process of its own."""
    result = Result("memory", f"user store of {' and '.join(map(str, sizes))} users")
    for users in sizes:
        deployment = Deployment(root / str(users))
        fill_users(deployment.users, users)
        _job(result, deployment, USER_STORE, f"first copy, {users} users")
        sql(deployment.users, "UPDATE contacts SET groups = 'All'")
        _job(result, deployment, USER_STORE, f"delta of all contacts, {users} users")
        _job(result, deployment, USER_STORE, f"idle, {users} users")
        _job(result, deployment, USER_STORE, f"comparison, {users} users", verify=True)
        for command in (f".backup {root}/backup.sqlite", f"VACUUM INTO '{root}/vacuum.sqlite'"):
            mebibytes = memory_of("sqlite3", deployment.users, command)
            result.notes.append(f"sqlite3 {command.split()[0]}, {users} users: {mebibytes:.1f} MiB")
        for left in root.glob("*.sqlite"):
            left.unlink()
    return result


def files(root, sizes):
    """First copy, idle cycle, comparison of a content store of tiny files; each in a process of its own."""
    result = Result("memory", f"content store of {' and '.join(map(str, sizes))} files")
    for files in sizes:
        deployment = Deployment(root / str(files) / "deployment")
        make_tiny(root / str(files) / "share", files)
        deployment.take_share(root / str(files) / "share")
        _job(result, deployment, CONTENT_STORE, f"first copy, {files} files")
        time.sleep(2.5)
        _job(result, deployment, CONTENT_STORE, f"idle, {files} files")
        _job(result, deployment, CONTENT_STORE, f"comparison, {files} files", verify=True)
        for peer in (RSYNC, RCLONE_SYNC):
            mebibytes = memory_of(*peer_command(peer, deployment.share, root / str(files) / peer))
            result.notes.append(f"{peer}, {files} files: {mebibytes:.1f} MiB")
    return result


def one_folder(root, files):
    """The same where all files are in one folder, whose listing a job holds."""
    result = Result("memory", f"content store of {files} files in one folder")
    deployment = Deployment(root / "deployment")
    make_tiny(root / "share", files, in_each=files)
    deployment.take_share(root / "share")
    _job(result, deployment, CONTENT_STORE, "first copy")
    time.sleep(2.5)
    _job(result, deployment, CONTENT_STORE, "idle")
    _job(result, deployment, CONTENT_STORE, "comparison", verify=True)
    return result


def _job(result, deployment, module, what, **options):
    with ServiceProcess(deployment.file) as service:
        _, mebibytes = service.sync(module, POOL, **options)
    met = "met    " if mebibytes < LIMIT_MIB else "NOT MET"
    result.notes.append(f"{met} {OURS}, {what}: {mebibytes:.1f} MiB beyond the host, of at most {LIMIT_MIB}")
