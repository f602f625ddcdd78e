"""Plugins on a kernel that has no nfnetlink: stand-ins that cannot open a socket to it, and nothing that they start can."""

import shutil
from pathlib import Path

from .plugin import DIST, PLUGINS

# A filter of seccomp(2): socket(AF_NETLINK, …, NETLINK_NETFILTER) fails as on a kernel that lacks it.
STAND_IN = """#!/usr/bin/python3 -I
import ctypes, errno, os, struct

SOCKET = {{"x86_64": 41, "aarch64": 198}}[os.uname().machine]
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
program = [
    (LOAD, 0, 0, 0), (EQUAL, 0, 5, SOCKET),
    (LOAD, 0, 0, 16), (EQUAL, 0, 3, 16),
    (LOAD, 0, 0, 32), (EQUAL, 0, 1, 12),
    (RETURN, 0, 0, 0x50000 | errno.EPROTONOSUPPORT),
    (RETURN, 0, 0, 0x7FFF0000),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
asked = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for arguments in ((38, 1, 0, 0, 0), (22, 2, ctypes.addressof(asked), 0, 0)):
    if libc.prctl(*(ctypes.c_ulong(argument) for argument in arguments)):
        raise OSError(ctypes.get_errno(), "prctl")
os.execv({path!r}, [{path!r}])
"""


def without_nf_tables(folder: Path) -> str:
    """A folder with such a stand-in for each plugin of ours."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree("/run/cni/pycni/nf_tables", ignore_errors=True)  # what is known of the real kernel
    for plugin in PLUGINS:
        stand_in = folder / plugin
        stand_in.write_text(STAND_IN.format(path=f"{DIST}/{plugin}"))
        stand_in.chmod(0o755)
    return str(folder)
