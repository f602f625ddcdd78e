"""The test process in a mount namespace of its own, where the folders that plugins share on a machine are empty.

Locks, notes, leases in the default folder and the names of network namespaces belong to a machine and not to a network
namespace. Test processes that run at the same time would see each other's, and what an interrupted run left.
"""

import ctypes
import os
from contextlib import suppress

FOLDERS = ("/run/cni", "/run/netns", "/var/lib/cni")
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE, MS_SHARED, MNT_DETACH = 0x1000, 0x4000, 0x80000, 0x100000, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _done(status: int, what: str) -> None:
    """Raise the error of a call to the kernel that failed."""
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def set_apart() -> None:
    """Give the process such a namespace; the programs that it starts are in it too. Without the right to do so, nothing.

    What is unmounted on the machine is unmounted here too, so that nothing is kept alive by this process.
    """
    try:
        _done(_libc.unshare(CLONE_NEWNS), "unshare")
    except PermissionError:
        return
    _done(_libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None), "mount --make-rslave /")
    for folder in FOLDERS:
        with suppress(OSError):  # the guest's root is read-only
            os.makedirs(folder, exist_ok=True)
        if os.path.isdir(folder):
            _done(_libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, b"mode=755"), f"mount -t tmpfs {folder}")
            # as `ip netns` has it: what is unmounted here is unmounted in the namespaces of our children
            _done(_libc.mount(None, folder.encode(), None, MS_SHARED, None), f"mount --make-shared {folder}")


def enter(namespace: int) -> None:
    """Put the calling thread into a network namespace."""
    _done(_libc.setns(namespace, CLONE_NEWNET), "setns")


def make_netns(path: str) -> None:
    """Make a network namespace that lasts until its path is removed."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        _done(_libc.unshare(CLONE_NEWNET), "unshare")
        try:
            _done(_libc.mount(b"/proc/thread-self/ns/net", path.encode(), None, MS_BIND, None), path)
        finally:
            enter(home)
    finally:
        os.close(home)


def remove_netns(path: str) -> None:
    """Remove the path of a network namespace. Links in it go when nobody uses it any more."""
    _done(_libc.umount2(path.encode(), MNT_DETACH), path)
    os.unlink(path)
