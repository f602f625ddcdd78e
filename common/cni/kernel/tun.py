"""TUN and TAP links, which are made through /dev/net/tun (linux/if_tun.h, tuntap.rst)."""

import fcntl
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.kinds import Tun

DEVICE = "/dev/net/tun"
REMEDY = f"this needs {DEVICE} (CONFIG_TUN: modprobe tun)"
_SET_LINK, _SET_PERSISTENT, _SET_OWNER, _SET_GROUP = 0x400454CA, 0x400454CB, 0x400454CC, 0x400454CE
_MODES = {"tun": 0x1, "tap": 0x2}
_MULTI_QUEUE, _NO_INFORMATION, _VNET_HEADER, _EXCLUSIVE = 0x100, 0x1000, 0x4000, 0x8000
# struct ifreq: the name, the flags, the rest of a union
_REQUEST = struct.Struct("=16sH22x")


def check() -> None:
    """Raise ``OSError`` if the device cannot be opened: then no link can be made."""
    os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))


def make(name: str, kind: "Tun") -> None:
    """Make a link in the namespace that the process is in; raises ``OSError``, with EBUSY if the name is in use."""
    flags = _MODES[kind.mode] | _EXCLUSIVE
    for flag, wanted in (
        (_MULTI_QUEUE, kind.multi_queue),
        (_NO_INFORMATION, not kind.packet_information),
        (_VNET_HEADER, kind.vnet_header),
    ):
        flags |= flag if wanted else 0
    device = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _SET_LINK, _REQUEST.pack(name.encode(), flags))
        for request, number in ((_SET_OWNER, kind.owner), (_SET_GROUP, kind.group)):
            if number >= 0:
                # Python takes a C int, and the kernel the same bits as unsigned
                fcntl.ioctl(device, request, number - (1 << 32) if number >= 1 << 31 else number)
        # otherwise closing the descriptor would remove it
        fcntl.ioctl(device, _SET_PERSISTENT, int(kind.persistent))
    finally:
        os.close(device)
