"""The kernel's calls that put a process into namespaces and onto another root."""

import ctypes
import os
import platform
from pathlib import Path

CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x20000000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED, MNT_DETACH = 1, 0x20, 0x1000, 0x4000, 1 << 18, 1 << 20, 2
PR_SET_PDEATHSIG = 1
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def _done(status: int, what: str) -> None:
    """Raise the error of a call to the kernel that failed."""
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(namespaces: int) -> None:
    """Leave namespaces for new ones."""
    _done(_libc.unshare(namespaces), "unshare")


def own_namespace() -> None:
    """A mount namespace whose mounts nobody outside sees, and which sees none that is made outside."""
    unshare(CLONE_NEWNS)
    _done(_libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None), "mount --make-rprivate /")


def mount(source: object, at: Path, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system at a folder, which is made."""
    at.mkdir(parents=True, exist_ok=True)
    status = _libc.mount(os.fsencode(str(source)), os.fsencode(at), kind.encode(), flags, data.encode() or None)
    _done(status, f"mount -t {kind} {at}")


def bind(source: Path, at: Path, writable: bool = True) -> None:
    """Let a folder, with what is mounted below it, be seen at another place."""
    at.mkdir(parents=True, exist_ok=True)
    names = os.fsencode(source), os.fsencode(at)
    _done(_libc.mount(*names, None, MS_BIND | MS_REC, None), f"mount --rbind {at}")
    if not writable:
        _done(_libc.mount(None, names[1], None, MS_REMOUNT | MS_BIND | MS_RDONLY, None), f"mount -o remount,ro {at}")


def change_root(new: Path) -> None:
    """Make a mounted folder the root. The old one is out of reach; mounts below are shared, as systemd makes them."""
    os.chdir(new)
    _done(_libc.syscall(ctypes.c_long(PIVOT_ROOT[platform.machine()]), b".", b"."), f"pivot_root {new}")
    _done(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")
    _done(_libc.mount(None, b"/", None, MS_REC | MS_SHARED, None), "mount --make-rshared /")


def end_with_parent() -> None:
    """Have the kernel end this process when its parent ends."""
    _done(_libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl")
