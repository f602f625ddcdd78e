"""The protocols of an attachment, as its options say."""

from dataclasses import replace

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon.client import Lease
from cni_dhcp_daemon.keeper import Keeper
from cni_dhcp_daemon.side import Side
from cni_dhcp_daemon.sockets4 import ArpProbe, Sockets4
from cni_dhcp_daemon.v4.machine import DHCPv4
from cni_dhcp_daemon.v4.options import identifier
from cni_dhcp_daemon.v4.wish import Wish


class Side4(Side):
    """DHCPv4."""

    __slots__ = ("_server_mac",)
    name = "4"
    words = "DHCPv4"

    def __init__(self, keeper: Keeper, client: DHCPv4, lease: Lease | None = None) -> None:
        super().__init__(keeper, client, lease)
        self.client: DHCPv4 = client
        self._server_mac = b""

    @property
    def server_mac(self) -> bytes:
        """Who sent the last answer."""
        if isinstance(self._sockets, Sockets4):
            self._server_mac = self._sockets.server_mac or self._server_mac
        return self._server_mac

    def seen(self, link: Link) -> None:
        """The link may have another MAC by now."""
        mac = _mac(link)
        if mac != self.client.wish.mac:
            self.client.wish = replace(self.client.wish, mac=mac)

    def open(self, namespace: Namespace, link: Link) -> Sockets4:
        """A packet socket."""
        return Sockets4(namespace, link, self.received, self.keeper.keepers.closer)

    def probe(self, namespace: Namespace, link: Link, address: str) -> bool:
        """By ARP, if the link has MACs of Ethernet."""
        if len(link.mac) != 17:
            return False
        answered = lambda in_use: self.probed(address, in_use)  # noqa: E731
        self._probing = ArpProbe(namespace, link, address, answered, self.keeper.keepers.closer)
        return True


def sides(keeper: Keeper, link: Link, leases: dict[str, Lease]) -> list[Side]:
    """The sides, with the leases that a daemon before has kept."""
    found: list[Side] = []
    if keeper.options["ipv4"]:
        found.append(_side4(keeper, link, leases.get("4")))
    return found


def _mac(link: Link) -> bytes:
    return bytes.fromhex(link.mac.replace(":", ""))


def _side4(keeper: Keeper, link: Link, lease: Lease | None) -> Side4:
    options, flags = keeper.options, keeper.keepers.flags
    wish = Wish(
        mac=_mac(link),
        identifier=identifier(keeper.name),
        request=tuple(options["request"]),
        provide={int(code): bytes.fromhex(value) for code, value in options["provide"]},
        broadcast=flags.broadcast,
        probe=keeper.wants_probe,
        timeout=flags.timeout,
        longest=flags.resendmax,
    )
    return Side4(keeper, DHCPv4(wish, lease), lease)
