"""Sockets of DHCPv6 and of router advertisements in a container's namespace: open only while an answer is expected."""

import socket
import struct
from collections.abc import Callable
from typing import Any

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon import packets6
from cni_dhcp_daemon.client import ICMPV6, Datagram
from cni_dhcp_daemon.closing import Closer
from cni_dhcp_daemon.packetsocket import ETH_IPV6, neighbours, packet_socket
from cni_dhcp_daemon.probing import AddressProbe
from cni_dhcp_daemon.reading import Reader
from cni_dhcp_daemon.v6.routers import MOST

_SERVER, _CLIENT = 547, 546
_ADVERTISEMENT = 134
_ICMP6_FILTER, _HOPS = 1, 255
_RECV_HOPS, _HOP_LIMIT = 51, 52
Received = Callable[[bytes, str], None]
# An address of a socket of IPv6: address, port, flow, scope.
_Address = tuple[str, int, int, int]


def _udp(link: Link, own: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    try:
        _bound(made, link)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((own, _CLIENT, 0, link.index))
    except BaseException:
        made.close()
        raise
    return made


def _icmp(link: Link, own: str) -> socket.socket:
    """Receives router advertisements alone, each with its hop limit."""
    made = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    try:
        blocked = [0xFFFFFFFF] * 8
        blocked[_ADVERTISEMENT >> 5] &= ~(1 << (_ADVERTISEMENT & 31))
        made.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("=8I", *blocked))
        made.setsockopt(socket.IPPROTO_IPV6, _RECV_HOPS, 1)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _HOPS)
        _bound(made, link)
        made.bind((own, 0, 0, link.index))
    except BaseException:
        made.close()
        raise
    return made


def _bound(made: socket.socket, link: Link) -> None:
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.name.encode() + b"\0")
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, link.index)


class Sockets6:
    """The sockets of one client; ``received`` and ``advertised`` are called with payload and source."""

    __slots__ = ("_advertised", "_icmp", "_index", "_readers", "_received", "_udp", "server_mac")

    def __init__(self, namespace: Namespace, link: Link, own: str, received: Received, advertised: Received) -> None:
        """``own`` is the link-local address. Raises ``OSError``."""
        self._received = received
        self._advertised = advertised
        self._index = link.index
        self.server_mac = b""  # the RELEASE goes to everyone
        with namespace:
            self._udp = _udp(link, own)
            try:
                # advertisements go to all nodes, or to the address that has solicited them
                self._icmp = _icmp(link, "::")
            except BaseException:
                self._udp.close()
                raise
        self._readers: tuple[Reader[Any], ...] = (
            Reader(self._udp, lambda: self._udp.recvfrom(0xFFFF), self._answered),
            Reader(self._icmp, lambda: self._icmp.recvmsg(0xFFFF, 64), self._heard, MOST),
        )

    def _answered(self, found: tuple[bytes, _Address]) -> None:
        payload, address = found
        self._received(payload, address[0])

    def _heard(self, found: tuple[bytes, list[tuple[int, int, bytes]], int, _Address]) -> None:
        payload, more, _, address = found
        hops = [
            int.from_bytes(data, "little" if struct.pack("=H", 1)[0] else "big")
            for level, kind, data in more
            if (level, kind) == (socket.IPPROTO_IPV6, _HOP_LIMIT)
        ]
        if hops == [_HOPS]:  # others come from beyond a router
            self._advertised(payload, address[0])

    def needs_namespace(self, datagram: Datagram) -> bool:  # noqa: ARG002
        """Never: there is a socket for each protocol."""
        return False

    def send(self, namespace: Namespace | None, datagram: Datagram, at_once: bytes = b"") -> None:  # noqa: ARG002
        """Send a packet; raises ``OSError``."""
        if datagram.protocol == ICMPV6:
            self._icmp.sendto(datagram.payload, (datagram.destination, 0, 0, self._index))
        else:
            self._udp.sendto(datagram.payload, (datagram.destination, _SERVER, 0, self._index))

    def close(self) -> None:
        """Close the sockets."""
        for reader in self._readers:
            reader.close()
        self._udp.close()
        self._icmp.close()


class NeighbourProbe(AddressProbe):
    """By neighbour discovery."""

    __slots__ = ("_address", "_ifname")
    probes = (0.0, 0.1)
    silence = 0.25

    def __init__(
        self, namespace: Namespace, link: Link, address: str, answered: Callable[[bool], None], closer: Closer
    ) -> None:
        """Raises ``OSError``."""
        self._address = socket.inet_pton(socket.AF_INET6, address)
        self._ifname = link.name
        super().__init__(packet_socket(namespace, link, ETH_IPV6, neighbours()), answered, closer)

    def send(self) -> None:
        """To those whose address has the same end."""
        mac = packets6.group_mac(packets6.solicited(self._address))
        self._packets.sendto(packets6.probe(self._address), (self._ifname, ETH_IPV6, 0, 0, mac))

    def is_conflict(self, packet: bytes) -> bool:
        """An advertisement of the address, or another host's probe for it."""
        return packets6.is_conflict(packet, self._address)
