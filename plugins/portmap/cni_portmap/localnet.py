"""Make 127.0.0.1 of the node lead to the pods' ports: ``route_localnet`` on the link to the pods, with a guard.

route_localnet (ip-sysctl.rst) allows packets between 127.0.0.0/8 and the link. That includes packets from neighbours to
services that listen only on 127.0.0.1. A rule in our own table drops these packets (``guard``)::

    table inet pycni_localnet {
        set guarded { type iface_index; elements = { "cni0" } }
        chain prerouting {
            type filter hook prerouting priority raw;
            iif @guarded ip daddr 127.0.0.0/8 drop
        }
    }

When the last attachment behind a link is removed, the sysctl gets its old value and the guard is removed. The old value
and the attachments that need the sysctl are in files, because a flush of the ruleset must not lose them::

    /run/cni/pycni/localnet/NAMESPACE/INDEX/was         old value of route_localnet on the link with this index
                                           /guarded     exists if the link needs the guard
                                           /vethabc...  one file for each attachment, by its link name; its content is the owner

A link keeps its index when it is renamed. All writes, and all reads before a change, are under the lock ``localnet``.
"""

import os

from cni.address import Address
from cni.attachment import COMMENT_MAX, is_of_network, network_prefix
from cni.errors import CheckFailed, CNIError
from cni.go import names
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Nftables
from cni.ledger import Ledger
from cni.plan import Effect, Found, Kind
from cni_portmap import guard, layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.rtnl import Link, Rtnl
    from cni.plan import Differ

_WAS, _GUARDED = "was", "guarded"
_COMMENT_MAX = 4096


def _sysctl(link: str) -> str:
    return f"net/ipv4/conf/{link}/route_localnet"


class Localnet(Effect[None], Kind):
    """One attachment's share in a link with ``route_localnet``: 127.0.0.1 of the node leads to its ports."""

    # the container's IPv4 address, None on DEL and GC
    address: "Address | None" = None
    # neighbours are kept out
    guard: bool = True
    noun = "share in route_localnet"
    repairable = True

    def identify(self, attachment: "Attachment") -> str:
        """The attachment's link name."""
        return attachment.link

    def _link(self) -> "Link | None":
        """The link of the route to the container; None without a route."""
        from cni.kernel import routes

        route = routes.to(self.site.rtnl, self.address) if self.address is not None else None
        link = self.site.rtnl.link(index=route.index) if route is not None and route.index else None
        return link if link is not None and not link.loopback else None

    def _own_shares(self) -> "Shares":
        return Shares(self.site.rtnl.namespace, self.site.node.roots.run)

    def _shares(self) -> "Shares":
        """The shares of this namespace, including those that an earlier build noted in nftables."""
        shares, kernel = self._own_shares(), self.site.nftables
        if guard.is_earlier(kernel):
            from cni_portmap import earlier

            with Exclusive("localnet"):
                earlier.take_over(kernel, shares, self.site.rtnl, self.site.say)
        return shares

    # make

    def make(self) -> None:
        """First the share and the guard, then the sysctl. Without a route nothing is done, as in Go.

        The lock is needed because a DEL may restore the sysctl at the same time.
        """
        link = self._link()
        if link is None:
            self.site.say(f"portmap: no route to {self.address}: 127.0.0.1 will not lead there")
            return
        shares = self._shares()
        with Exclusive("localnet"):
            self._release(shares, self.identity, link.index)  # an earlier ADD was behind another link
            try:
                was = int(self.site.sysctls.read(_sysctl(link.name)) or "0")
                self._note(shares, link, was)
                guard.close(self.site, {*shares.guarded(), *([link.index] if self.guard else [])})
                self.site.sysctls.ensure(_sysctl(link.name), "1")
            except OSError as error:
                remedy = f"on {link.name}; or set snat to false"
                raise CNIError(f"unable to enable route_localnet: {error}", remedy) from None

    def _note(self, shares: "Shares", link: "Link", was: int) -> None:
        """Write the share before anything is changed. If /run cannot be written, the link stays open and guarded."""
        try:
            shares.add(link.index, self.identity, self.attachment.comment, was, self.guard)
        except OSError as error:
            self.site.say(f"portmap: route_localnet of {link.name} will stay on: {error}")

    # compare

    def compare(self, differ: "Differ") -> None:
        """The sysctl is on, and the guard exists. Go's portmap makes no guard, so pods without a record need none."""
        link = self._link()
        if link is None:
            return
        if self.site.sysctls.read(_sysctl(link.name)) != "1":
            fault = f"route_localnet of {link.name} is off"
            differ(CheckFailed(fault, "127.0.0.1 does not lead to the container's ports"))
        if not self.guard:
            return
        recorded = Ledger(self.site.nftables, layout.LAYOUT).recorded
        if not self._own_shares().of(self.identity) and not recorded(layout.ATTACHMENTS, self.identity):
            return
        fault = guard.fault(self.site.nftables, link)
        if fault:
            differ(CheckFailed(fault, "another ADD on the node, or DEL and ADD, makes it again"))

    # remove

    def discard(self, identity: str) -> None:
        """Remove this attachment's share."""
        shares = self._shares()
        if shares.of(identity):
            with Exclusive("localnet"):
                self._release(shares, identity)

    def _release(self, shares: "Shares", identity: str, kept: int = 0) -> None:
        """Remove an attachment's shares, except in the link ``kept``. The links may have been renamed.

        With the last share in a link the sysctl is restored, then the guard removed.
        """
        site = self.site
        for index in shares.of(identity):
            if index == kept:
                continue
            if not shares.beside(index, identity):
                link, was = site.rtnl.link(index=index), shares.was(index)
                if link is not None and was is not None and not _go_needs_it(site.nftables, site.rtnl, index):
                    site.sysctls.attempt(_sysctl(link.name), str(was))
                if index in shares.guarded():
                    guard.open_again(site.nftables, index)
            shares.remove(index, identity)

    def present(self, network: str) -> list[Found]:
        """The attachments of the network that have a share. Without a network: all, with the names of the links."""
        if network:
            return self._shares().present(network)
        links = {str(link.index): link.name for link in self.site.rtnl.links()}
        found = ((each, str(each.facts["link"])) for each in self._own_shares().present(""))
        return [Found(each, each.owner, link=links.get(index, index)) for each, index in found]

    def describe(self) -> str:
        """The sysctl and the rule in nft's words."""
        closed = f"\niifname LINK-TO-{self.address} ip daddr {guard.LOOPBACK} drop" if self.guard else ""
        return f"sysctl net/ipv4/conf/LINK-TO-{self.address}/route_localnet=1{closed}"


def _go_needs_it(kernel: Nftables, rtnl: "Rtnl", index: int) -> bool:
    """Whether a container behind the link has ports in Go's layouts. Then route_localnet stays on, as in Go."""
    if not names.may_have_ports(kernel):
        return False
    from cni.go import hostports
    from cni.kernel import routes

    found = (routes.to(rtnl, claim.address) for claim in hostports.claims(kernel, 4))
    return any(route is not None and route.index == index for route in found)


# files


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _text(path: str) -> str:
    """A file's content; empty if there is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return ""
    try:
        return os.read(fd, _COMMENT_MAX).decode("utf-8", "replace")
    finally:
        os.close(fd)


def _write(path: str, text: str = "") -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Shares:
    """The shares of one network namespace."""

    def __init__(self, namespace: int, run: str) -> None:
        """``namespace`` is a number that no other namespace has had since boot. ``run`` is a folder."""
        self._folder = f"{run}/localnet/{namespace}"

    def _at(self, index: int) -> str:
        return f"{self._folder}/{index}"

    def links(self) -> list[int]:
        """The indices of the links in which an attachment has a share."""
        return [int(name) for name in _names(self._folder) if name.isdigit()]

    def guarded(self) -> list[int]:
        """The indices of the links that need the guard."""
        return [index for index in self.links() if os.path.exists(f"{self._at(index)}/{_GUARDED}")]

    def of(self, link: str) -> list[int]:
        """The indices of the links in which the attachment with this link name has a share: one or none."""
        return [index for index in self.links() if os.path.exists(f"{self._at(index)}/{link}")]

    def beside(self, index: int, link: str) -> bool:
        """Whether another attachment has a share in the link."""
        return any(name not in (_WAS, _GUARDED, link) for name in _names(self._at(index)))

    def was(self, index: int) -> "int | None":
        """The value of route_localnet before the first share in the link."""
        text = _text(f"{self._at(index)}/{_WAS}")
        return int(text) if text.isdigit() else None

    def add(self, index: int, link: str, comment: str, was: int, guard: bool) -> None:
        """Write the share of the attachment with this link name and comment, and the sysctl's old value if not known.

        Raises ``OSError``.
        """
        at = self._at(index)
        os.makedirs(at, 0o755, exist_ok=True)
        _write(f"{at}/{link}", comment)
        if self.was(index) is None:
            _write(f"{at}/{_WAS}", str(was))
        if guard:
            _write(f"{at}/{_GUARDED}")

    def remove(self, index: int, link: str) -> None:
        """Remove an attachment's share; with the last share, remove everything about the link."""
        at = self._at(index)
        last = not self.beside(index, link)
        # the attachment's own file goes last: if this stops half-way, the next DEL finds the rest by it
        for name in (_GUARDED, _WAS, link) if last else (link,):
            if os.path.exists(f"{at}/{name}"):
                os.unlink(f"{at}/{name}")
        for folder in (at, self._folder) if last else ():
            try:
                os.rmdir(folder)
            except OSError:
                return

    def forget(self) -> None:
        """Remove all files without changing the links: another plugin takes them over."""
        for index in self.links():
            for name in _names(self._at(index)):
                if name not in (_WAS, _GUARDED):
                    self.remove(index, name)

    def present(self, network: str) -> list[Found]:
        """The attachments with a share, of one network or of all: their link names and owners."""
        prefix = network_prefix(network) if network else ""
        found = []
        for index in self.links():
            for name in _names(self._at(index)):
                owner = _text(f"{self._at(index)}/{name}")
                is_share = name not in (_WAS, _GUARDED) and name.startswith(prefix)
                if is_share and is_of_network(owner, network, COMMENT_MAX):
                    found.append(Found(name, owner, link=str(index)))
        return found
