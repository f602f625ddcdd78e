"""The veth pair of an attachment: its host end on the node, its other end as ``CNI_IFNAME`` in the container.

The host end's name is derived from the attachment, so DEL finds it without a namespace and without a cached result.
Its alias tells the attachment, and is written last: a pair without one is the remains of an ADD that died.
"""

from errno import EACCES, EEXIST, EOPNOTSUPP, EPERM, EXFULL

from cni.errors import CheckFailed, CNIError, Refused
from cni.kernel import sysctl
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import Rtnl, random_mac
from cni.names import ALIAS_MAX, beginning, check_made, is_alias, is_derived, network_prefix
from cni.plan import Effect, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cni.kernel.namespace import Namespace
    from cni.kernel.rtnl import Link
    from cni.names import Attachment
    from cni.result import Result


# Why the kernel makes no pair. Names, MACs and MTUs that it refuses were refused before, by their keys.
_REFUSALS = {
    EPERM: "this needs CAP_NET_ADMIN",
    EACCES: "this needs CAP_NET_ADMIN",
    EOPNOTSUPP: "the kernel of this node has no veth (CONFIG_VETH)",
    EXFULL: "the bridge has as many ports as the kernel allows, 1023; use another bridge",
}


def refusal(error: KernelError) -> str:
    """What a refused pair wants, as far as the kernel's error number shows it."""
    return _REFUSALS.get(error.errno, "")


def _silent(line: str) -> None:
    pass


class Pair:
    """Both ends as they were made or found."""

    __slots__ = ("container", "host")

    def __init__(self, host: "Link", container: "Link") -> None:
        self.host = host
        self.container = container


class PodLink(Effect):
    """The pair; the value is a ``Pair``."""

    __slots__ = ("expected", "mac", "master", "mtu", "namespace", "rtnl", "say")

    def __init__(
        self,
        attachment: "Attachment",
        rtnl: Rtnl,
        namespace: "Namespace | None",
        mac: str = "",
        mtu: int = 0,
        master: "Callable[[], int] | None" = None,
        expected: "Result | None" = None,
        say: "Callable[[str], None]" = _silent,
    ) -> None:
        """``master`` gives the index of the link that the host end is a port of; ``expected`` is CHECK's prevResult."""
        super().__init__(attachment)
        self.rtnl = rtnl
        self.namespace = namespace
        self.mac = mac
        self.mtu = mtu
        self.master = master
        self.expected = expected
        self.say = say

    def identify(self, attachment: "Attachment") -> str:
        """The host end's name."""
        return attachment.link

    @property
    def _inside(self) -> "Namespace":
        assert self.namespace is not None  # noqa: S101
        return self.namespace

    # make

    def make(self) -> Pair:
        """Both ends in one message, each born where it belongs."""
        ifname = self.attachment.ifname
        check_made(ifname)
        common: list[tuple[str, Any]] = [("IFLA_MTU", self.mtu)] if self.mtu > 0 else []
        peer: list[tuple[str, Any]] = [("IFLA_IFNAME", ifname), ("IFLA_NET_NS_FD", self._inside.fd), *common]
        peer.append(("IFLA_ADDRESS", self.mac or random_mac()))
        data = {"attrs": [("VETH_INFO_PEER", {"attrs": peer})]}
        attributes: list[tuple[str, Any]] = [("IFLA_IFNAME", self.identity), ("IFLA_ADDRESS", random_mac()), *common]
        attributes.append(("IFLA_LINKINFO", {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}))
        if self.master is not None:
            attributes.append(("IFLA_MASTER", self.master()))
        try:
            self.rtnl.add_link(attributes)
        except KernelError as error:
            if error.errno == EEXIST:
                raise self._taken() from None
            raise Refused(f"failed to make veth pair: {error}", refusal(error)) from None
        sysctl.attempt(f"net/ipv6/conf/{self.identity}/accept_ra", "0")
        host, container = self.rtnl.link(self.identity), self._inside.rtnl.link(ifname)
        if host is None or container is None:
            raise CNIError(f"the veth pair {self.identity} vanished while it was made", "did something remove it?")
        return Pair(host, container)

    def _taken(self) -> CNIError:
        """Why a name was taken: another's link, this attachment's own, or the remains of an ADD that died."""
        ifname, ours = self.attachment.ifname, self.rtnl.link(self.identity)
        inside = self._inside.rtnl.link(ifname)
        if ours is None:
            peer = f' peer provided ("{self.identity}")'
            return Refused(
                f'container veth name ("{ifname}"){peer} already exists', f"a link {ifname} is in {self._inside.path}"
            )
        if inside is not None and inside.peer != ours.index:
            return Refused(
                f'container veth name ("{ifname}") peer provided ("{self.identity}") already exists',
                f"the link {ifname} in {self._inside.path} is not of {self.attachment}",
            )
        if ours.alias not in ("", self.attachment.alias):
            return Refused(
                f"link {self.identity} on the node belongs to {ours.alias}", f"it is not of {self.attachment}"
            )
        if ours.alias and inside is not None and inside.peer == ours.index:
            return Refused(
                f'container veth name ("{ifname}") peer provided ("{self.identity}") already exists',
                f"{self.attachment} is attached; send DEL first",
            )
        return Remains(f"{self.identity} is left of an ADD of {self.attachment} that died")

    # compare

    def compare(self) -> Pair:
        """The pair is there, up, a port of its master, and has the MACs of prevResult.

        The host end is looked up from the container's: a pair that Go's plugins made has a random name.
        """
        ifname = self.attachment.ifname
        container = self._inside.rtnl.link(ifname)
        if container is None:
            raise CheckFailed(f'failed to lookup "{ifname}": Link not found', f"in {self._inside.path}")
        if container.kind != "veth":
            raise CheckFailed(f"Error: Container interface {ifname} not of type veth")
        host = self.rtnl.link(index=container.peer) if container.peer else None
        if host is None or host.kind != "veth" or host.peer != container.index:
            raise CheckFailed(f"the host end of {ifname} was not found", "it is not in the plugin's namespace")
        if self.master is not None and host.master != self.master():
            raise CheckFailed(f"{host.name}, the host end of {ifname}, is not a port of its bridge")
        if not host.up:
            raise CheckFailed(f"Interface {host.name} is down")
        if self.mtu > 0 and host.mtu != self.mtu:
            raise CheckFailed(f"mtu of {host.name} is {host.mtu}, not {self.mtu}")
        self._compare_result(host, container)
        return Pair(host, container)

    def _compare_result(self, host: "Link", container: "Link") -> None:
        """What prevResult has: plugins that come later may have given the container's end another MAC.

        Its MTU is not compared: Go's tuning changes it, and leaves that of the result as it was.
        """
        if self.expected is None:
            return
        found = None
        for interface in self.expected.interfaces:
            if interface.sandbox and interface.name == container.name:
                found = interface
                if interface.sandbox != self._inside.path:
                    raise CheckFailed(
                        f"Sandbox in prevResult {interface.sandbox} doesn't match configured netns: {self._inside.path}"
                    )
                if interface.mac and interface.mac.lower() != container.mac:
                    raise CheckFailed(
                        f"Interface {container.name} Mac {container.mac} doesn't match container Mac: {interface.mac}"
                    )
            elif not interface.sandbox and interface.name == host.name and interface.mac not in ("", host.mac):
                raise CheckFailed(
                    f"Interface {host.name} Mac {host.mac} doesn't match that of prevResult: {interface.mac}"
                )
        if found is None:
            raise CheckFailed(f"Container interface name missing in prevResult: {container.name}")

    # remove

    def remove(self) -> None:
        """Remove the pair by its host end; then a link ``CNI_IFNAME`` that another plugin's ADD made, if it is ours."""
        ours = self.rtnl.link(self.identity)
        if ours is not None and ours.alias in ("", self.attachment.alias):
            self.rtnl.delete_link(ours.index)
        if self.namespace is None:
            return
        inside = self.namespace.rtnl.link(self.attachment.ifname)
        if inside is None or inside.loopback:
            return
        owner = self._owner(inside)
        if owner not in ("", self.attachment.alias):
            self.say(f"{self.attachment.ifname} in {self.namespace.path} belongs to {owner}: left alone")
            return
        self.namespace.rtnl.delete_link(inside.index)

    def _owner(self, inside: "Link") -> str:
        """The attachment that the host end of a link in the container tells; empty where none does."""
        host = self.rtnl.link(index=inside.peer) if inside.kind == "veth" and inside.peer else None
        if host is None or host.peer != inside.index or not is_alias(host.alias):
            return ""
        return host.alias

    def present(self, network: str) -> list[str]:
        """Host ends of the network's attachments: by the name's prefix, and by the alias where there is one."""
        prefix, told = network_prefix(network), beginning(f"{network}/", ALIAS_MAX)
        return [
            link.name
            for link in self.rtnl.links()
            if link.kind == "veth"
            and link.name.startswith(prefix)
            and is_derived(link.name)
            and (not link.alias or link.alias.startswith(told))
        ]

    def discard(self, identity: str) -> None:
        """Remove the pair whose host end has this name."""
        link = self.rtnl.link(identity)
        if link is not None:
            self.rtnl.delete_link(link.index)

    def describe(self) -> str:
        """As ``ip`` would be told."""
        words = f"ip link add {self.identity}{f' mtu {self.mtu}' if self.mtu > 0 else ''} type veth"
        mac = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu > 0 else ""
        return f"{words} peer {self.attachment.ifname}{mac}{mtu} netns CONTAINER"


class Labelled(Effect):
    """The host end tells its attachment: the last effect of an ADD, by which a whole one is known."""

    __slots__ = ("index", "rtnl")

    def __init__(self, attachment: "Attachment", rtnl: Rtnl, index: int = 0) -> None:
        super().__init__(attachment)
        self.rtnl = rtnl
        self.index = index

    def make(self) -> None:
        """Write the alias."""
        self.rtnl.set_link(self.index, [("IFLA_IFALIAS", self.attachment.alias)])

    def describe(self) -> str:
        """As ``ip`` would be told."""
        return f"ip link set {self.attachment.link} alias {self.attachment.alias}"
