"""Limits of the rate of a container's veth, as effects: queues on its host end and on an ifb.

The kernel delays only what a link sends. Packets to the container are delayed on the host end; those from it are
redirected to an ifb and delayed there. The ifb is made under a name with the network's prefix, and then renamed, set up
and given its alias in one step. So GC and DEL recognise it, wherever an ADD died.
"""

from errno import EEXIST, ENOENT, EOPNOTSUPP

from cni.attachment import ALIAS_MAX, is_alias, is_of_network, network_prefix
from cni.errors import CheckFailed, CNIError, Step
from cni.go.ifb import ifb_name
from cni.kernel import tc
from cni.kernel.rtnl import missing, random_mac
from cni.links import host_end
from cni.plan import Effect, Found, Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link, Rtnl
    from cni.kernel.tc import Tbf
    from cni.plan import Differ
    from cni.site import Site

_LACKING = {
    ENOENT: f"the kernel of this node lacks one of {', '.join(tc.OPTIONS.values())}",
    EOPNOTSUPP: missing("ifb"),
}


def _made_as(host_link: str) -> str:
    """The name under which an ifb is made, from a host link's; it keeps it if Go's name is another interface's."""
    return f"ifb{host_link.removeprefix('veth')}"


def _names(attachment: "Attachment") -> tuple[str, str]:
    return ifb_name(attachment), _made_as(attachment.link)


def limited_end(site: "Site") -> "Link":
    """The node's end of the container's veth, for ADD and CHECK; raises ``CNIError`` with Go's texts."""
    ifname = site.attachment.ifname
    inside = site.container.rtnl.link(ifname)
    if inside is None or not inside.peer:
        why = f"it is of kind {inside.kind or 'device'}" if inside is not None else "Link not found"
        text = f"container interface {ifname} has no veth peer: {why}"
        raise CNIError(text, "only the rate of a veth, as of bridge and ptp, can be limited")
    found = host_end(site.rtnl, inside)
    if found is None:
        raise CNIError(f"veth peer with index {inside.peer} is not in host ns", f"it is that of {ifname}")
    return found


def _remaining_end(site: "Site") -> "Link | None":
    """The same for DEL; None if it is gone. A new container with the same path of its namespace may have another one."""
    namespace = site.remaining
    inside = namespace.rtnl.link(site.attachment.ifname) if namespace is not None else None
    found = host_end(site.rtnl, inside) if inside is not None else None
    if found is not None and (found.alias == site.attachment.alias or not is_alias(found.alias)):
        return found
    derived = site.rtnl.link(site.attachment.link)
    return derived if derived is not None and derived.alias == site.attachment.alias else None


class Limit:
    """A limit of what a link sends, and the limits that CHECK accepts too: those of Go's plugin."""

    __slots__ = ("accepted", "wanted")

    def __init__(self, wanted: "Tbf", accepted: "Sequence[Tbf]" = ()) -> None:
        self.wanted = wanted
        self.accepted = accepted

    def set(self, rtnl: "Rtnl", link: "Link") -> None:
        """Give it to a link, in place of an earlier one; raises ``CNIError``."""
        tc.delete_queue(rtnl, link.index)
        with Step("create qdisc", {**_LACKING, EEXIST: f"{link.name} has another queue, of somebody else"}):
            self.wanted.make(rtnl, link.index)

    def compare(self, rtnl: "Rtnl", link: "Link", differ: "Differ") -> None:
        """Compare the numbers and subnets of a link's limit."""
        found, wanted = tc.queue(rtnl, link.index), self.wanted
        if found is None:
            differ(CheckFailed("Failed to find qdisc", f"{link.name} has no limit"))
        elif found != wanted and found not in self.accepted:
            for name, field in (("Rate", "rate"), ("Limit", "limit"), ("Buffer", "burst")):
                has, should = getattr(found, field), getattr(wanted, field)
                if has != should:
                    differ(CheckFailed(f"{name} doesn't match", f"that of {link.name} is {has} bytes, not {should}"))
            if found.part != wanted.part:
                differ(CheckFailed("Subnets don't match", f"{link.name} limits {found.part}, not {wanted.part}"))


class IngressLimit(Effect[None], Kind):
    """The limit of what the container receives: the queue of the host end, with which it goes."""

    # ADD and CHECK have both, DEL and GC none
    host: "Link | None" = None
    limit: Limit | None = None
    noun = "limit to the container"
    repairable = True

    def make(self) -> None:
        """Replace the limit."""
        assert self.host is not None and self.limit is not None  # noqa: S101
        self.limit.set(self.site.rtnl, self.host)

    def compare(self, differ: "Differ") -> None:
        """It has these numbers and subnets."""
        assert self.host is not None and self.limit is not None  # noqa: S101
        self.limit.compare(self.site.rtnl, self.host, differ)

    def remove(self) -> None:
        """Remove the queue, if the host end exists."""
        host = _remaining_end(self.site)
        if host is not None:
            tc.delete_queue(self.site.rtnl, host.index)


class EgressLimit(Effect["Link"], Kind):
    """The limit of what the container sends: the queue of an ifb; the value is the ifb."""

    mtu: int = 0
    # ADD and CHECK have one, DEL and GC none
    limit: Limit | None = None
    noun = "ifb"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The alias."""
        return attachment.alias

    def make(self) -> "Link":
        """Make the ifb, after removing that of an earlier ADD."""
        from cni.kernel.kinds import Ifb

        assert self.limit is not None  # noqa: S101
        self.remove()
        rtnl, (name, made) = self.site.rtnl, _names(self.attachment)
        with Step("adding link", _LACKING):
            rtnl.add(made, Ifb(), mac=random_mac(), mtu=self.mtu)
            link = rtnl.link(made)
            if link is not None:
                name = name if rtnl.link(name) is None else ""
                rtnl.change(link.index, name=name, alias=self.attachment.alias, up=True)
                self.limit.set(rtnl, link)
                link = rtnl.link(index=link.index)
        if link is None:
            raise CNIError(f"the ifb {made} vanished while it was made", "did something remove it?")
        return link

    def compare(self, differ: "Differ") -> "Link":
        """It exists, is up, and its queue has these numbers and subnets."""
        assert self.limit is not None  # noqa: S101
        for link in self._found():
            if not link.up:
                differ(CheckFailed(f"Interface {link.name} is down"))
            self.limit.compare(self.site.rtnl, link, differ)
            return link
        raise CheckFailed("get ifb device: Link not found", f"{ifb_name(self.attachment)} is missing")

    def remove(self) -> None:
        """Remove the ifb. Another attachment's stays."""
        for link in self._found():
            self.site.rtnl.delete(link.index)

    def _found(self) -> "list[Link]":
        """The attachment's ifb, by both names; also one of Go's plugin, which has no alias.

        Go has one name for all interfaces of a container. An ifb to which another interface is redirected is not ours.
        """
        links = (self.site.rtnl.link(name) for name in _names(self.attachment))
        return [
            link
            for link in links
            if link is not None
            and link.kind == "ifb"
            and (link.alias == self.attachment.alias or (not link.alias and link.index not in self._beside()))
        ]

    def _beside(self) -> "set[int | None]":
        """To which links the container's other interfaces are redirected."""
        namespace, rtnl = self.site.remaining, self.site.rtnl
        inside = namespace.rtnl.links() if namespace is not None else []
        ends = [host_end(rtnl, link) for link in inside if link.name != self.attachment.ifname]
        return {tc.redirect(rtnl, end.index) for end in ends if end is not None}

    def present(self, network: str) -> list[Found]:
        """The ifbs of the network's attachments: by the alias, and one that has none yet by the network's prefix."""
        prefix = _made_as(network_prefix(network) if network else "")
        return [
            Found(link.alias or link.name, link.alias, link=link.name, mac=link.mac)
            for link in self.site.rtnl.links()
            if link.kind == "ifb" and (_is_of(link.alias, network) if link.alias else _is_made(link.name, prefix))
        ]

    def discard(self, identity: str) -> None:
        """Remove the ifb with this alias, or this name."""
        for link in self.site.rtnl.links():
            if link.kind == "ifb" and identity in (link.alias, link.name):
                self.site.rtnl.delete(link.index)


def _is_of(alias: str, network: str) -> bool:
    return is_alias(alias) and is_of_network(alias, network, ALIAS_MAX)


def _is_made(name: str, prefix: str) -> bool:
    """Whether a name is one under which ifbs are made; ``prefix`` is its beginning."""
    return len(name) == 14 and name.startswith(prefix) and name.isalnum()


class Redirected(Effect[None], Kind):
    """All packets from the container go to the ifb."""

    # ADD and CHECK have both, DEL and GC none
    host: "Link | None" = None
    ifb: "Link | None" = None
    noun = "redirection"
    repairable = True

    def make(self) -> None:
        """Replace the redirection. Others' filters are an error."""
        assert self.host is not None and self.ifb is not None  # noqa: S101
        self._clear(self.host)
        with Step("create ingress qdisc", {**_LACKING, EEXIST: f"{self.host.name} has filters of somebody else"}):
            tc.add_redirect(self.site.rtnl, self.host.index, self.ifb.index)

    def compare(self, differ: "Differ") -> None:
        """Everything is redirected, and to this ifb."""
        assert self.host is not None and self.ifb is not None  # noqa: S101
        if tc.redirect(self.site.rtnl, self.host.index) != self.ifb.index:
            fault = f"the packets that {self.host.name} receives are not redirected to {self.ifb.name}"
            differ(CheckFailed(fault, "what the container sends is not limited"))

    def remove(self) -> None:
        """Remove the redirection, if the host end exists: without the ifb it would drop all packets."""
        host = _remaining_end(self.site)
        if host is not None:
            self._clear(host)

    def _clear(self, host: "Link") -> None:
        """Remove it if it leads to nothing, or to an ifb of this attachment or of Go's plugin."""
        to = tc.redirect(self.site.rtnl, host.index)
        ifb = self.site.rtnl.link(index=to) if to else None
        if to == 0 or (ifb is not None and ifb.name in _names(self.attachment)):
            tc.delete_redirect(self.site.rtnl, host.index)
