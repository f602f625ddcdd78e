"""The veth pair of an attachment: its host end on the node, its other end as ``CNI_IFNAME`` in the container.

The host end's name is derived from the attachment, so DEL finds it without a namespace and without a cached result.
Its alias names the attachment, and is written last: a pair without one is a leftover of an ADD that died.
"""

from errno import EACCES, EEXIST, EOPNOTSUPP, EPERM, EXFULL

from cni.attachment import ALIAS_MAX, is_derived, is_of_network, network_prefix
from cni.errors import CheckFailed, CNIError, KernelError, Refused, Step
from cni.kernel.rtnl import random_mac
from cni.links import compare_previous, host_end, of_container, owner
from cni.names import check_made
from cni.plan import Differ, Effect, Found, Kind, Remains
from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link


# Remedies for the kernel's refusals. Names, MACs and MTUs that it would refuse are refused earlier, with their keys.
REFUSALS = {
    EPERM: "this needs CAP_NET_ADMIN",
    EACCES: "this needs CAP_NET_ADMIN",
    EOPNOTSUPP: "the kernel of this node has no veth (CONFIG_VETH)",
    EXFULL: "the bridge has as many ports as the kernel allows, 1023; use another bridge",
}


class Pair(Declared):
    """Both ends as they were made or found."""

    host: "Link"
    container: "Link"


class PodLink(Effect[Pair], Kind):
    """The pair; the value is both its ends."""

    mac: str = ""
    mtu: int = 0
    # returns the index of the link that the host end is a port of
    master: "Callable[[], int] | None" = None
    noun = "veth pair"
    # a container that runs gets no other interface
    repairable = False

    def identify(self, attachment: "Attachment") -> str:
        """The host end's name."""
        return attachment.link

    def make(self) -> Pair:
        """Make both ends with one message, each in its namespace."""
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
            raise Refused(f"failed to make veth pair: {error}", REFUSALS.get(error.errno, "")) from None
        self.site.sysctls.attempt(f"net/ipv6/conf/{self.identity}/accept_ra", "0")
        host, container = self.site.rtnl.link(self.identity), self.site.container.rtnl.link(ifname)
        if host is None or container is None:
            raise CNIError(f"the veth pair {self.identity} vanished while it was made", "did something remove it?")
        return Pair(host, container)

    def _taken(self) -> CNIError:
        """The error for a name in use: by another owner, by this attachment, or by leftovers of an ADD that died."""
        ifname, ours = self.attachment.ifname, self.site.rtnl.link(self.identity)
        inside = self.site.container.rtnl.link(ifname)
        taken = f'container veth name ("{ifname}") peer provided ("{self.identity}") already exists'
        if ours is None:
            return Refused(taken, f"a link {ifname} is in {self.site.netns}")
        if inside is not None and inside.peer != ours.index:
            return Refused(taken, f"the link {ifname} in {self.site.netns} is not of {self.attachment}")
        if ours.alias not in ("", self.attachment.alias):
            return Refused(
                f"link {self.identity} on the node belongs to {ours.alias}", f"it is not of {self.attachment}"
            )
        if ours.alias and inside is not None:
            return Refused(taken, f"{self.attachment} is attached; send DEL first")
        return Remains(f"{self.identity} is a leftover of an ADD of {self.attachment} that died")

    def compare(self, differ: "Differ") -> Pair:
        """The pair is there, up, a port of its master, and has the MACs of prevResult.

        The host end is looked up from the container's: a pair that Go's plugins made has a random name.
        """
        container = of_container(self.site, "veth")
        host = host_end(self.site.rtnl, container)
        if host is None:
            fault = f"the host end of {container.name} was not found"
            raise CheckFailed(fault, "it is not in the plugin's namespace")
        if self.master is not None and host.master != self.master():
            differ(CheckFailed(f"{host.name}, the host end of {container.name}, is not a port of its bridge"))
        if not host.up:
            differ(CheckFailed(f"Interface {host.name} is down"))
        if self.mtu > 0 and host.mtu != self.mtu:
            differ(CheckFailed(f"mtu of {host.name} is {host.mtu}, not {self.mtu}"))
        compare_previous(self.site, container, differ)
        previous = self.site.previous
        for interface in previous.interfaces if previous is not None else ():
            if not interface.sandbox and interface.name == host.name and interface.mac not in ("", host.mac):
                text = f"Interface {host.name} Mac {host.mac} doesn't match that of prevResult: {interface.mac}"
                differ(CheckFailed(text))
        return Pair(host, container)

    def remove(self) -> None:
        """Remove the pair by its host end; then a link ``CNI_IFNAME`` that another plugin's ADD made, if it is ours."""
        ours, namespace = self.site.rtnl.link(self.identity), self.site.remaining
        if ours is not None and ours.alias in ("", self.attachment.alias):
            self.site.rtnl.delete(ours.index)
        inside = namespace.rtnl.link(self.attachment.ifname) if namespace is not None else None
        if namespace is None or inside is None or inside.loopback:
            return
        named = owner(self.site.rtnl, inside)
        if named not in ("", self.attachment.alias, self.attachment.unfinished):
            self.site.say(f"{self.attachment.ifname} in {namespace.path} belongs to {named}: left alone")
            return
        namespace.rtnl.delete(inside.index)

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
        mac = f" address {self.mac}" if self.mac else ""
        mtu = f" mtu {self.mtu}" if self.mtu > 0 else ""
        return f"ip link add {self.identity}{mtu} type veth peer {self.attachment.ifname}{mac}{mtu} netns CONTAINER"


class HostUp(Effect[None]):
    """The host end is up. It goes with the link."""

    link: "Link"
    # without it, its own link-local address can be used at once
    detect_duplicates: bool = True
    repairable = True

    def make(self) -> None:
        """Set it up."""
        if not self.detect_duplicates:
            self.site.sysctls.attempt(f"net/ipv6/conf/{self.link.name}/accept_dad", "0")
        with Step(f'failed to set "{self.link.name}" UP'):
            self.site.rtnl.change(self.link.index, up=True)

    def compare(self, differ: "Differ") -> None:
        """Nothing to do: ``PodLink`` compares that it is up."""

    def describe(self) -> str:
        """The ``ip`` command for it."""
        return f"ip link set {self.attachment.link} up"
