"""Whether another network namespace still exists.

In each namespace, the kernel has numbers for other namespaces (ip-netns(8), ``list-id``), and drops a number when its
namespace is gone. It may give the number to another one later, so an identity also has the namespace's inode and cookie.
"""

import errno
import os
import struct

from cni.errors import KernelError
from cni.kernel.netlink import Netlink, attribute, attributes, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.namespace import Namespace

# linux/rtnetlink.h and linux/net_namespace.h
_NEWNSID, _GETNSID = 88, 90
_NSID, _FD = 1, 3
_UNKNOWN = -1
# Its number here plus one (0: none), its inode, its cookie.
_IDENTITY = struct.Struct(">IIQ")


class Peers(Netlink):
    """An rtnetlink socket for the numbers of other namespaces, in the namespace in which it is made."""

    def identity(self, namespace: "Namespace") -> bytes:
        """The identity of a namespace, for ``is_gone``. The namespace gets a number here if it has none."""
        try:
            number = self.number(namespace.fd)
            if number == _UNKNOWN:
                self._ask(_NEWNSID, attribute(_NSID, struct.pack("=i", _UNKNOWN)) + integer(_FD, namespace.fd))
                number = self.number(namespace.fd)
        except KernelError:
            number = _UNKNOWN
        inode = os.fstat(namespace.fd).st_ino
        return _IDENTITY.pack(number + 1, inode if inode < 1 << 32 else 0, namespace.rtnl.cookie)

    def is_gone(self, identity: bytes, asking: bytes = b"") -> bool:
        """Whether the namespace with this identity is certainly gone; ``asking`` is the identity of an existing one."""
        number, inode, cookie = _IDENTITY.unpack(identity)
        if number:
            try:
                self._ask(_GETNSID, attribute(_NSID, struct.pack("=i", number - 1)))
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return True
        if asking and number:
            taken, _, other = _IDENTITY.unpack(asking)
            if taken == number and cookie and other and other != cookie:
                return True
        return bool(inode) and _is_unused(inode)

    def number(self, fd: int) -> int:
        """The number of the namespace of a descriptor; -1 if it has none. Raises ``KernelError``."""
        return self._ask(_GETNSID, integer(_FD, fd))

    def _ask(self, kind: int, attributed: bytes) -> int:
        """The number in the answer, -1 if there is none."""
        for answer in self.request(bytes(4) + attributed, kind):
            # behind the headers of netlink and of rtnetlink
            return int(struct.unpack("=i", dict(attributes(answer.data, 20))[_NSID])[0])
        return _UNKNOWN


# PROC_PID_INIT_INO of linux/proc_ns.h: the PID namespace in which all processes are visible.
_ALL_PROCESSES = "pid:[4026531836]"


def _is_unused(inode: int) -> bool:
    """Whether no process, open descriptor or mount uses the network namespace with this inode.

    False if not all processes are visible, or one cannot be read.
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
    """Whether a process uses a namespace; raises ``OSError`` if that cannot be read.

    ``mounts`` are the mount namespaces that were already read.
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
        if error.errno in (errno.ENOENT, errno.ESRCH, errno.EINVAL) and not _is_running(process):
            return False
        raise


def _leads_to(link: str, name: str) -> bool:
    try:
        return os.readlink(link) == name
    except (FileNotFoundError, ProcessLookupError):  # closed, or ended, meanwhile
        return False


def _is_running(process: str) -> bool:
    try:
        os.readlink(f"{process}/ns/net")
    except OSError:
        return False
    return True
