"""Whether another network namespace still exists, where no link of this one shows it.

The kernel numbers, in each namespace, the others that it has to do with (ip-netns(8), ``list-id``), and forgets a number
when the namespace is no more. A number that was forgotten may be given again, so the namespace's own are recorded too.
"""

import errno
import os
import struct

from cni.kernel.netlink import F_ACK, ROUTE, KernelError, Netlink, attribute, attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.namespace import Namespace

# linux/rtnetlink.h and linux/net_namespace.h
_NEWNSID, _GETNSID = 88, 90
_NSID, _FD = 1, 3
_UNKNOWN = -1
# Its number here and one, so that 0 stands for none; its number in /proc; its cookie.
_IDENTITY = struct.Struct(">IIQ")


class Peers(Netlink):
    """The other namespaces, as the one in which this is made numbers them."""

    def __init__(self) -> None:
        super().__init__(ROUTE)

    def identity(self, namespace: "Namespace") -> bytes:
        """What ``is_gone`` takes; a number is given where there is none yet."""
        try:
            number = self.number(namespace.fd)
            if number == _UNKNOWN:
                self._ask(_NEWNSID, F_ACK, attribute(_NSID, struct.pack("=i", _UNKNOWN)) + _of(namespace.fd))
                number = self.number(namespace.fd)
        except KernelError:
            number = _UNKNOWN
        inode = namespace.inode
        return _IDENTITY.pack(number + 1, inode if inode < 1 << 32 else 0, namespace.cookie)

    def is_gone(self, identity: bytes, asking: bytes = b"") -> bool:
        """Whether the namespace with this identity is gone for certain; ``asking`` is that of one that exists."""
        number, inode, cookie = _IDENTITY.unpack(identity)
        if number and not self._is_known(number - 1):
            return True
        if asking and number:
            taken, _, other = _IDENTITY.unpack(asking)
            if taken == number and cookie and other and other != cookie:
                return True
        return bool(inode) and _is_held_by_nobody(inode)

    def number(self, fd: int) -> int:
        """The number of the namespace behind a descriptor; -1 if it has none. Raises ``KernelError``."""
        return self._ask(_GETNSID, 0, _of(fd))

    def _is_known(self, number: int) -> bool:
        try:
            self._ask(_GETNSID, 0, attribute(_NSID, struct.pack("=i", number)))
        except KernelError as error:
            return error.errno != errno.ENOENT
        return True

    def _ask(self, kind: int, flags: int, attributed: bytes) -> int:
        """The number in the answer."""
        for answer in self._once(bytearray(self.packed(bytes(4) + attributed, kind, flags | F_ACK))):
            if answer.kind == _NEWNSID:
                # behind the headers of netlink and of rtnetlink
                return int(struct.unpack("=i", dict(attributes(answer.data, 20))[_NSID])[0])
        return _UNKNOWN


def _of(fd: int) -> bytes:
    return attribute(_FD, struct.pack("=I", fd))


# PROC_PID_INIT_INO of linux/proc_ns.h: the namespace in which all processes have numbers.
_ALL_PROCESSES = "pid:[4026531836]"


def _is_held_by_nobody(inode: int) -> bool:
    """Whether no process, no open descriptor and no mount holds the network namespace with this number any more.

    False where that cannot be known: not all processes can be seen, or read.
    """
    name = f"net:[{inode}]"
    try:
        if os.readlink("/proc/self/ns/pid") != _ALL_PROCESSES:
            return False
        mounts: set[str] = set()
        return not any(_holds(f"/proc/{process}", name, mounts) for process in os.listdir("/proc") if process.isdigit())
    except OSError:
        return False


def _holds(process: str, name: str, mounts: "set[str]") -> bool:
    """Whether a process keeps a namespace; raises ``OSError`` where that cannot be read.

    ``mounts`` are the namespaces of mounts that were looked at already.
    """
    try:
        if any(_leads_to(f"{process}/task/{task}/ns/net", name) for task in os.listdir(f"{process}/task")):
            return True
        if any(_leads_to(f"{process}/fd/{descriptor}", name) for descriptor in os.listdir(f"{process}/fd")):
            return True
        where = os.readlink(f"{process}/ns/mnt")
        if where in mounts:
            return False
        mounts.add(where)
        with open(f"{process}/mountinfo", encoding="utf-8", errors="replace") as listed:
            return any(name in line.split() for line in listed)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EINVAL) and not _is_there(process):
            return False
        raise


def _leads_to(link: str, name: str) -> bool:
    try:
        return os.readlink(link) == name
    except (FileNotFoundError, ProcessLookupError):  # closed, or ended, meanwhile
        return False


def _is_there(process: str) -> bool:
    """Whether a process still runs: one that has ended holds nothing."""
    try:
        os.readlink(f"{process}/ns/net")
    except OSError:
        return False
    return True
