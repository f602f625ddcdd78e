"""What one call works with: the node, the container's namespace, prevResult, and the output for people.

Everything is opened on first use, and belongs to the object that opened it; nothing is global. A daemon, or a tool for
the whole node, makes its own ``Node`` and closes it.
"""

from cni.errors import CNIError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.address import Prefix
    from cni.attachment import Attachment
    from cni.kernel.namespace import Namespace
    from cni.kernel.netlink import Later
    from cni.kernel.nftables import Nftables
    from cni.kernel.rtnl import Rtnl
    from cni.kernel.sysctl import Sysctls
    from cni.lock import Locks
    from cni.result import Result, Route


class Roots:
    """The folders /proc, /sys, /run/cni/pycni and /etc/cni; tests use others."""

    __slots__ = ("etc", "proc", "run", "sys")

    def __init__(
        self, proc: str = "/proc", sys: str = "/sys", run: str = "/run/cni/pycni", etc: str = "/etc/cni"
    ) -> None:
        self.proc = proc
        self.sys = sys
        self.run = run
        self.etc = etc


class Node:
    """The node's network namespace: sockets, each opened on first use, and the roots of its files.

    A socket belongs to the namespace that the process is in when it is opened.
    """

    __slots__ = ("_later", "_locks", "_nftables", "_rtnl", "_sysctls", "roots")

    def __init__(self, roots: Roots | None = None) -> None:
        self.roots = roots or Roots()
        self._rtnl: Rtnl | None = None
        self._nftables: Nftables | None = None
        self._sysctls: Sysctls | None = None
        self._locks: Locks | None = None
        self._later: Later | None = None

    @property
    def rtnl(self) -> "Rtnl":
        """The socket for links, addresses and routes."""
        if self._rtnl is None:
            from cni.kernel.rtnl import Rtnl

            self._rtnl = Rtnl()
        return self._rtnl

    @property
    def nftables(self) -> "Nftables":
        """The socket for nftables."""
        if self._nftables is None:
            from cni.kernel.nftables import Nftables

            self._nftables = Nftables()
        return self._nftables

    @property
    def used_nftables(self) -> bool:
        """Whether the socket for nftables is open: closing it may wait for the kernel."""
        return self._nftables is not None

    @property
    def later(self) -> "Later":
        """Sockets to close together with the node's, because closing them waits for the kernel."""
        if self._later is None:
            from cni.kernel.netlink import Later

            self._later = Later()
        return self._later

    @property
    def locks(self) -> "Locks":
        """The locks of attachments that this process holds."""
        if self._locks is None:
            from cni.lock import Locks

            self._locks = Locks(f"{self.roots.run}/attachments")
        return self._locks

    @property
    def sysctls(self) -> "Sysctls":
        """The sysctls of the namespace that the process is in at the time of use."""
        if self._sysctls is None:
            from cni.kernel.sysctl import Sysctls

            self._sysctls = Sysctls(self.roots.proc)
        return self._sysctls

    def close(self) -> None:
        """Close the sockets, all even if one fails. After a removal, closing that of nftables takes some 10 ms."""
        from cni.plan import all_of

        opened = self._rtnl, self._nftables, self._locks, self._later
        self._rtnl = self._nftables = self._locks = self._later = None
        all_of(each.close for each in opened if each is not None)


def _silent(line: str) -> None:
    pass


class Site:
    """The attachment, node and container that one call works on."""

    __slots__ = ("_container", "_previous", "attachment", "netns", "node", "say")

    def __init__(
        self,
        attachment: "Attachment",
        netns: str = "",
        node: Node | None = None,
        say: "Callable[[str], None]" = _silent,
        previous: "Callable[[], Result | None]" = lambda: None,
    ) -> None:
        """``netns`` is CNI_NETNS; ``say`` prints a line for people; ``previous`` reads prevResult and may raise ``CNIError``."""
        self.attachment = attachment
        self.netns = netns
        self.node = node or Node()
        self.say = say
        self._previous = previous
        self._container: Namespace | None = None

    @property
    def rtnl(self) -> "Rtnl":
        """The node's links, addresses and routes."""
        return self.node.rtnl

    @property
    def nftables(self) -> "Nftables":
        """The node's nftables."""
        return self.node.nftables

    @property
    def sysctls(self) -> "Sysctls":
        """The sysctls of the namespace that the process is in: the container's within ``with site.container``."""
        return self.node.sysctls

    @property
    def container(self) -> "Namespace":
        """The container's namespace. Raises ``InvalidNetns``, ``NetnsGone`` and ``NoNetns``."""
        if self._container is None:
            from cni.kernel.namespace import Namespace

            self._container = Namespace(self.netns)
        return self._container

    @property
    def remaining(self) -> "Namespace | None":
        """The container's namespace for cleanup; None if it is gone, and its links with it.

        Raises ``InvalidNetns`` if it cannot be opened now.
        """
        if self._container is None:
            from cni.kernel.namespace import Namespace

            self._container = Namespace.remaining(self.netns, self.say)
        return self._container

    @property
    def previous(self) -> "Result | None":
        """prevResult, or None. Raises ``DecodingFailure`` and ``InvalidConfig``."""
        return self._previous()

    def close(self) -> None:
        """Close the container's namespace. The owner of the node closes that."""
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def readable(self) -> "Result | None":
        """prevResult for cleanup: None if it cannot be read."""
        try:
            return self.previous
        except CNIError:
            return None

    def _known(self) -> "Result | None":
        """What prevResult has for the attachment, if it can be read."""
        try:
            previous = self.previous
        except CNIError:
            return None
        return previous.of(self.attachment.ifname) if previous is not None else None

    def known(self) -> "list[Prefix]":
        """The attachment's addresses in prevResult, if it can be read: DEL recognises leftovers of Go's plugins by them."""
        known = self._known()
        return [ip.address for ip in known.ips] if known is not None else []

    def known_routes(self) -> "list[Route]":
        """The routes in prevResult, if it can be read."""
        known = self._known()
        return list(known.routes) if known is not None else []

    def of(self, attachment: "Attachment") -> "Site":
        """A site for another attachment on the same node, without a container's namespace."""
        return Site(attachment, "", self.node, self.say)
