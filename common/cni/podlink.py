"""The veth pair of an attachment: its host end on the node, its other end as ``CNI_IFNAME`` in the container.

The host end's name is derived from the attachment, so DEL finds it without a namespace and without a cached result.
Its alias names the attachment, and is written last: a pair without one is a leftover of an ADD that died.
"""

from errno import EACCES, EEXIST, EOPNOTSUPP, EPERM, EXFULL

from cni.attachment import ALIAS_MAX, is_alias, is_derived, is_of_network, network_prefix
from cni.errors import CheckFailed, CNIError, Refused
from cni.kernel.netlink import KernelError
from cni.kernel.rtnl import random_mac
from cni.names import check_made
from cni.plan import Effect, Found, Kind, Remains

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link
    from cni.plan import Differ
    from cni.site import Site


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


class Pair:
    """Both ends as they were made or found."""

    __slots__ = ("container", "host")

    def __init__(self, host: "Link", container: "Link") -> None:
        self.host = host
        self.container = container


class PodLink(Effect[Pair], Kind):
    """The pair; the value is both its ends."""

    __slots__ = ("mac", "master", "mtu")
    noun = "veth pair"
    # a container that runs gets no other interface
    repairable = False

    def __init__(self, site: "Site", mac: str = "", mtu: int = 0, master: "Callable[[], int] | None" = None) -> None:
        """``master`` returns the index of the link that the host end is a port of."""
        super().__init__(site)
        self.mac = mac
        self.mtu = mtu
        self.master = master

    def identify(self, attachment: "Attachment") -> str:
        """The host end's name."""
        return attachment.link

    # make

    def make(self) -> Pair:
        """Both ends in one message, each born where it belongs."""
        from cni.kernel.kinds import Veth

        ifname = self.attachment.ifname
        check_made(ifname)
        kind = Veth(ifname, self.mac or random_mac(), self.mtu, self.site.container.fd)
        master = self.master() if self.master is not None else 0
        try:
            self.site.rtnl.add(self.identity, kind, mac=random_mac(), mtu=self.mtu, master=master)
        except KernelError as error:
            if error.errno == EEXIST:
                raise self._taken() from None
            raise Refused(f"failed to make veth pair: {error}", refusal(error)) from None
        self.site.sysctls.attempt(f"net/ipv6/conf/{self.identity}/accept_ra", "0")
        host, container = self.site.rtnl.link(self.identity), self.site.container.rtnl.link(ifname)
        if host is None or container is None:
            raise CNIError(f"the veth pair {self.identity} vanished while it was made", "did something remove it?")
        return Pair(host, container)

    def _taken(self) -> CNIError:
        """Why a name was taken: another's link, this attachment's own, or the remains of an ADD that died."""
        ifname, ours = self.attachment.ifname, self.site.rtnl.link(self.identity)
        inside = self.site.container.rtnl.link(ifname)
        if ours is None:
            peer = f' peer provided ("{self.identity}")'
            return Refused(
                f'container veth name ("{ifname}"){peer} already exists', f"a link {ifname} is in {self.site.netns}"
            )
        if inside is not None and inside.peer != ours.index:
            return Refused(
                f'container veth name ("{ifname}") peer provided ("{self.identity}") already exists',
                f"the link {ifname} in {self.site.netns} is not of {self.attachment}",
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
        return Remains(f"{self.identity} is a leftover of an ADD of {self.attachment} that died")

    # compare

    def compare(self, differ: "Differ") -> Pair:
        """The pair is there, up, a port of its master, and has the MACs of prevResult.

        The host end is looked up from the container's: a pair that Go's plugins made has a random name.
        """
        ifname = self.attachment.ifname
        container = self.site.container.rtnl.link(ifname)
        if container is None:
            raise CheckFailed(f'failed to lookup "{ifname}": Link not found', f"in {self.site.netns}")
        if container.kind != "veth":
            raise CheckFailed(f"Error: Container interface {ifname} not of type veth")
        host = self.site.rtnl.link(index=container.peer) if container.peer else None
        if host is None or host.kind != "veth" or host.peer != container.index:
            raise CheckFailed(f"the host end of {ifname} was not found", "it is not in the plugin's namespace")
        if self.master is not None and host.master != self.master():
            differ(CheckFailed(f"{host.name}, the host end of {ifname}, is not a port of its bridge"))
        if not host.up:
            differ(CheckFailed(f"Interface {host.name} is down"))
        if self.mtu > 0 and host.mtu != self.mtu:
            differ(CheckFailed(f"mtu of {host.name} is {host.mtu}, not {self.mtu}"))
        self._compare_result(host, container, differ)
        return Pair(host, container)

    def _compare_result(self, host: "Link", container: "Link", differ: "Differ") -> None:
        """What prevResult has: plugins that come later may have given the container's end another MAC.

        Its MTU is not compared: Go's tuning changes it, and leaves that of the result as it was.
        """
        previous, netns = self.site.previous, self.site.netns
        if previous is None:
            return
        found = None
        for interface in previous.interfaces:
            if interface.sandbox and interface.name == container.name:
                found = interface
                if interface.sandbox != netns:
                    text = f"Sandbox in prevResult {interface.sandbox} doesn't match configured netns: {netns}"
                    differ(CheckFailed(text))
                if interface.mac and interface.mac.lower() != container.mac:
                    text = (
                        f"Interface {container.name} Mac {container.mac} doesn't match container Mac: {interface.mac}"
                    )
                    differ(CheckFailed(text))
            elif not interface.sandbox and interface.name == host.name and interface.mac not in ("", host.mac):
                text = f"Interface {host.name} Mac {host.mac} doesn't match that of prevResult: {interface.mac}"
                differ(CheckFailed(text))
        if found is None:
            differ(CheckFailed(f"Container interface name missing in prevResult: {container.name}"))

    # remove

    def remove(self) -> None:
        """Remove the pair by its host end; then a link ``CNI_IFNAME`` that another plugin's ADD made, if it is ours."""
        ours, namespace = self.site.rtnl.link(self.identity), self.site.remaining
        if ours is not None and ours.alias in ("", self.attachment.alias):
            self.site.rtnl.delete(ours.index)
        inside = namespace.rtnl.link(self.attachment.ifname) if namespace is not None else None
        if namespace is None or inside is None or inside.loopback:
            return
        owner = self._owner(inside)
        if owner not in ("", self.attachment.alias):
            self.site.say(f"{self.attachment.ifname} in {namespace.path} belongs to {owner}: left alone")
            return
        namespace.rtnl.delete(inside.index)

    def _owner(self, inside: "Link") -> str:
        """The attachment that the host end of a link in the container names; empty where none does."""
        host = self.site.rtnl.link(index=inside.peer) if inside.kind == "veth" and inside.peer else None
        if host is None or host.peer != inside.index or not is_alias(host.alias):
            return ""
        return host.alias

    def present(self, network: str) -> list[Found]:
        """Host ends of the network's attachments: by the name's prefix, and by the alias where there is one."""
        prefix = network_prefix(network) if network else ""
        return [
            Found(link.name, link.alias, mac=link.mac)
            for link in self.site.rtnl.links()
            if link.kind == "veth"
            and link.name.startswith(prefix)
            and is_derived(link.name)
            and (not link.alias or is_of_network(link.alias, network, ALIAS_MAX))
        ]

    def discard(self, identity: str) -> None:
        """Remove the pair whose host end has this name."""
        link = self.site.rtnl.link(identity)
        if link is not None:
            self.site.rtnl.delete(link.index)

    def describe(self) -> str:
        """The ``ip`` command for it."""
        words = f"ip link add {self.identity}{f' mtu {self.mtu}' if self.mtu > 0 else ''} type veth"
        mac = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu > 0 else ""
        return f"{words} peer {self.attachment.ifname}{mac}{mtu} netns CONTAINER"


class Labelled(Effect[None]):
    """The host end names its attachment: the last effect of an ADD, by which a whole one is known."""

    __slots__ = ("link",)
    # nothing is compared
    repairable = False

    def __init__(self, site: "Site", link: "Link") -> None:
        super().__init__(site)
        self.link = link

    def make(self) -> None:
        """Write the alias."""
        self.site.rtnl.change(self.link.index, alias=self.attachment.alias)

    def compare(self, differ: "Differ") -> None:
        """A pair that Go's plugins made has no alias, so nothing is compared."""

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.link} alias {self.attachment.alias}"
