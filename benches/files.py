"""files-first, files-delta, files-idle, files-block: the content store against cp, rsync and rclone."""

import os
import shutil
import time

from measure import OURS, Contender, Target, compare, program
from service import ServiceProcess
from stores import CONTENT_STORE, POOL, Deployment, change_share, make_large, make_share, make_tiny, require_equal_trees

CP, RSYNC, RSYNC_FSYNC = "cp -a", "rsync -a", "rsync -a --fsync"
RSYNC_BLOCKS = "rsync -a --no-whole-file"
RCLONE_COPY, RCLONE_SYNC = "rclone copy", "rclone sync"
DURABLE_COPY = "cp and fsync"


def peer_command(peer, share, copy):
    """What makes `copy` equal to `share`."""
    rclone = ("-q", "--metadata", "--exclude", "/.csb/**", share, copy)
    rsync = ("--delete", "--exclude=/.csb", f"{share}/", f"{copy}/")
    return {
        CP: ("cp", "-a", share, copy),
        RSYNC: ("rsync", "-a", *rsync),
        RSYNC_FSYNC: ("rsync", "-a", "--fsync", *rsync),
        RSYNC_BLOCKS: ("rsync", "-a", "--no-whole-file", *rsync),
        RCLONE_COPY: ("rclone", "copy", *rclone),
        DURABLE_COPY: ("sh", "-ec", 'mkdir -p "$2"; cp -p --reflink=never "$1"/* "$2"; sync "$2"/*', "sh", share, copy),
        RCLONE_SYNC: ("rclone", "sync", *rclone),
    }[peer]


def first(root, files, rounds):
    """A copy where there is none. Ours is durable and so is `rsync --fsync`; the others leave writing to the system."""
    share = root / "share"
    make_share(share, files)
    size = _describe(*count(share))
    current = {}

    def new_deployment():
        if current:
            current["service"].__exit__()
            current["deployment"].share.rename(share)
            shutil.rmtree(current["deployment"].folder)
        deployment = Deployment(root / "deployment")
        deployment.take_share(share)
        current.update(deployment=deployment, service=ServiceProcess(deployment.file))

    def contender(peer):
        copy = root / f"copy by {peer}"

        def run():
            return program(*peer_command(peer, current["deployment"].share, copy))

        def check():
            if copy.exists():
                require_equal_trees(current["deployment"].share, copy)

        return Contender(peer, run, lambda: shutil.rmtree(copy, ignore_errors=True), check)

    ours = Contender(
        OURS,
        lambda: current["service"].sync(CONTENT_STORE, POOL),
        lambda: None,
        lambda: require_equal_trees(current["deployment"].share, current["deployment"].share_copy),
    )
    peers = [CP, RSYNC, RSYNC_FSYNC, RCLONE_COPY]
    targets = [Target(1.0, (CP, RSYNC, RCLONE_COPY)), Target(0.6, (RSYNC,)), Target(0.6, (RSYNC_FSYNC,))]
    try:
        return compare("files-first", size, [ours, *map(contender, peers)], rounds, targets,
                       lambda number: new_deployment())
    finally:
        current["service"].__exit__()


def delta(root, files, rounds):
    """One file in a hundred is new, one changed, a few are moved."""
    return _repeated("files-delta", root, lambda share: make_share(share, files), rounds, [RSYNC, RSYNC_FSYNC, RCLONE_SYNC],
                     [Target(0.5, (RSYNC, RCLONE_SYNC)), Target(0.5, (RSYNC_FSYNC,))], change_share)


def idle(root, files, rounds):
    """Nothing changes in many tiny files."""
    return _repeated("files-idle", root, lambda share: make_tiny(share, files), rounds, [RSYNC, RCLONE_SYNC],
                     [Target(0.5, (RSYNC, RCLONE_SYNC))])


def block(root, mebibytes, rounds):
    """4 KiB change in the middle of a large file. One durable copy of it is what a file system without clones has to write."""
    def change(share, number):
        with (share / "large.bin").open("r+b") as file:
            file.seek((mebibytes << 19) + number)
            file.write(bytes([number]) * 4096)

    return _repeated("files-block", root, lambda share: make_large(share / "large.bin", mebibytes << 20), rounds, [RSYNC_BLOCKS, RSYNC, DURABLE_COPY],
                     [Target(0.3, (RSYNC_BLOCKS,))], change)


def _repeated(name, root, make, rounds, peers, targets, change=None):
    """The same copies again and again, after a change."""
    deployment = Deployment(root / "deployment")
    make(root / "share")
    deployment.take_share(root / "share")
    share = deployment.share
    size = _describe(*count(share))
    copies = {peer: root / f"copy by {peer}" for peer in peers}

    def before_round(number):
        if change:
            change(share, number)

    def contender(peer):
        command = peer_command(peer, share, copies[peer])
        program(*command)
        return Contender(peer, lambda: program(*command), check=lambda: require_equal_trees(share, copies[peer]))

    with ServiceProcess(deployment.file) as service:
        service.sync(CONTENT_STORE, POOL)
        # What was written shortly before a look is read again at the next.
        time.sleep(2.5)
        service.sync(CONTENT_STORE, POOL)
        ours = Contender(OURS, lambda: service.sync(CONTENT_STORE, POOL), check=lambda: require_equal_trees(share, deployment.share_copy))
        return compare(name, size, [ours, *map(contender, peers)], rounds, targets, before_round)


def count(share):
    """How many files a tree has, and their bytes."""
    files = size = 0
    for folder, folders, names in os.walk(share):
        if ".csb" in folders:
            folders.remove(".csb")
        files += len(names)
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return files, size


def _describe(files, size):
    return f"{files} files, {size / (1 << 20):.0f} MiB"
