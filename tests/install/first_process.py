"""The first process of a Machine: gives itself a root, and then only waits for the end of its input.

    unshare --mount --pid --fork python3 first_process.py FOLDER WORK [--scratch] [--bind FROM TO]…
    unshare --mount --pid --net --fork python3 first_process.py FOLDER WORK --loopback …

With --scratch, FOLDER is what is seen and nothing is written to it: changes are kept in memory and end with this process.
WORK is an empty folder; mounts below it are seen from in here only. --bind shows something of the outside inside, and
--loopback is for a network of its own, which has nothing else. Prints its process id, as those outside see it, when all is
there.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
#: Of linux/sockios.h and linux/if.h.
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True, stdin=subprocess.DEVNULL)


def make_root(folder: Path, work: Path, is_scratch: bool) -> Path:
    if not is_scratch:
        mount("--bind", folder, work)
        return work
    mount("-t", "tmpfs", "-o", "mode=755", "scratch", work)
    root, upper, internal = (work / name for name in ("root", "upper", "internal"))
    for path in (root, upper, internal):
        path.mkdir(mode=0o755)
    mount("-t", "overlay", "-o", f"lowerdir={folder},upperdir={upper},workdir={internal}", "overlay", root)
    return root


def furnish(root: Path) -> None:
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", root / "proc")
    mount("-t", "tmpfs", "-o", "mode=755,nosuid", "dev", root / "dev")
    for device in DEVICES:
        (root / "dev" / device).touch()
        mount("--bind", Path("/dev") / device, root / "dev" / device)
    (root / "dev/pts").mkdir()
    mount("-t", "devpts", "-o", "newinstance,ptmxmode=666,mode=620", "devpts", root / "dev/pts")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    (root / "dev/fd").symlink_to("/proc/self/fd")
    # Empty, as after every boot.
    mount("-t", "tmpfs", "-o", "mode=755,nosuid,nodev", "run", root / "run")
    (root / "run/lock").mkdir(mode=0o1777)


def raise_loopback() -> None:
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh", b"lo", IFF_UP))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--loopback", action="store_true")
    parser.add_argument("--bind", nargs=2, type=Path, action="append", default=[], metavar=("FROM", "TO"))
    arguments = parser.parse_args()

    # /proc is still that of outside.
    pid = os.readlink("/proc/self")
    root = make_root(arguments.folder, arguments.work, arguments.scratch)
    for source, target in arguments.bind:
        inside = root / target.relative_to("/")
        if source.is_dir():
            inside.mkdir(parents=True, exist_ok=True)
        else:
            inside.unlink(missing_ok=True)
            inside.touch()
        mount("--bind", source, inside)
    furnish(root)
    if arguments.loopback:
        raise_loopback()
    os.chroot(root)
    os.chdir("/")
    # Orphans come to the first process; one that ignores their end leaves no zombies.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print(pid, flush=True)
    os.execv("/bin/cat", ["cat"])


if __name__ == "__main__":
    main()
