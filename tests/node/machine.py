"""The test process in a mount namespace of its own, where the folders that plugins share on a machine are empty.

Locks, notes, leases in the default folder and the names of network namespaces belong to a machine and not to a network
namespace. Test processes that run at the same time would see each other's, and what an interrupted run left.
"""

import ctypes
import os
from contextlib import suppress

FOLDERS = ("/run/cni", "/run/netns", "/var/lib/cni")
CLONE_NEWNS = 0x20000
MS_REC, MS_SLAVE = 0x4000, 0x80000

_libc = ctypes.CDLL(None, use_errno=True)


def _done(status: int, what: str) -> None:
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
