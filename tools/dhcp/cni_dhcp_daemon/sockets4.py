"""Sockets of DHCPv4 in a container's namespace (packet(7)): open only while an answer is expected.

Packets that leave before the interface has the address, and those to everyone, need a packet socket. All answers are
read from it. A packet from the leased address to the server is sent by a socket of UDP, so that the container's routes
apply; it also keeps the kernel from refusing the answer (ICMP).
"""

import socket
import struct
from collections.abc import Callable

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon import interface, packets4
from cni_dhcp_daemon.client import BROADCAST, UNSPECIFIED, Datagram
from cni_dhcp_daemon.closing import Closer
from cni_dhcp_daemon.packetsocket import ETH_ARP, ETH_IP, EVERYONE, answers_of_dhcp, arp_about, packet_socket
from cni_dhcp_daemon.probing import AddressProbe
from cni_dhcp_daemon.reading import Reader

_SOL_PACKET, _PACKET_AUXDATA = 263, 8
# States of a packet in tpacket_auxdata, and its kinds in the address.
_CSUM_NOT_READY, _VLAN_VALID, _OTHER_HOST, _OUTGOING = 0x8, 0x10, 3, 4
_AUXDATA = struct.Struct("=IIIHHHH")
# A packet, data beside it (cmsg), flags, and where it came from.
_Packet = tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int, int, int, bytes]]


class Sockets4:
    """The sockets of one client. ``received`` is called with payload and source."""

    __slots__ = ("_closer", "_link", "_packets", "_reader", "_received", "_udp", "ifname", "server_mac")

    def __init__(
        self, namespace: Namespace, link: Link, received: Callable[[bytes, str], None], closer: Closer
    ) -> None:
        """Raises ``OSError``."""
        self._received = received
        self._closer = closer
        self._link = link
        self.ifname = link.name
        # who has sent the last packet
        self.server_mac = b""
        self._udp: socket.socket | None = None
        answers = answers_of_dhcp(packets4.CLIENT, bytes.fromhex(link.mac.replace(":", "")))
        self._packets = packet_socket(namespace, link, ETH_IP, answers)
        self._packets.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._reader = Reader(self._packets, lambda: self._packets.recvmsg(0xFFFF, 64), self._taken)

    def _taken(self, found: _Packet) -> None:
        packet, more, _, address = found
        status = tag = 0
        for level, kind, data in more:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
                status, _, _, _, _, tag, _ = _AUXDATA.unpack_from(data)
        if address[2] in (_OTHER_HOST, _OUTGOING) or (status & _VLAN_VALID and tag & 0xFFF):
            return
        answer = packets4.unframed(packet, not status & _CSUM_NOT_READY)
        if answer is not None:
            self.server_mac = bytes(address[4])
            self._received(answer[0], socket.inet_ntop(socket.AF_INET, answer[1]))

    def needs_namespace(self, datagram: Datagram) -> bool:
        """Whether it is sent by UDP."""
        return datagram.destination != BROADCAST

    def send(self, namespace: Namespace | None, datagram: Datagram, at_once: bytes = b"") -> None:
        """Send a packet; raises ``OSError``.

        ``at_once`` is the MAC of the server, for a packet that must leave before the link may disappear: the kernel would
        first ask for the MAC.
        """
        everyone = datagram.destination == BROADCAST
        by_udp = not everyone and not at_once and datagram.source != UNSPECIFIED
        if by_udp and namespace is not None and self._sent_by_udp(namespace, datagram):
            return
        source, destination = (socket.inet_aton(text) for text in (datagram.source, datagram.destination))
        packet = packets4.framed(datagram.payload, source, destination)
        mac = EVERYONE if everyone else at_once or self.server_mac or EVERYONE
        self._packets.sendto(packet, (self.ifname, ETH_IP, 0, 0, mac))

    def _sent_by_udp(self, namespace: Namespace, datagram: Datagram) -> bool:
        """Whether the packet was sent by UDP; not if the address is missing, another program has the port, or the
        container has no route or a filter of its own."""
        if self._udp is not None:
            self._udp.close()
            self._udp = None
        # bind does not refuse it where no interface has any address, and the source would be 0.0.0.0 then
        if interface.has(namespace, self._link, datagram.source) is None:
            return False
        with namespace:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.ifname.encode() + b"\0")
            made.bind((datagram.source, packets4.CLIENT))
            made.sendto(datagram.payload, (datagram.destination, packets4.SERVER))
        except OSError:
            made.close()
            return False
        self._udp = made
        return True

    def close(self) -> None:
        """Close the sockets."""
        self._reader.close()
        self._closer.close(self._packets)
        if self._udp is not None:
            self._udp.close()


class ArpProbe(AddressProbe):
    """By ARP."""

    __slots__ = ("_address", "_ifname", "_mac")
    # An answer takes less than a millisecond: the kernel of the other host gives it, and that the link works is known, as
    # the lease came over it.
    probes = (0.0, 0.004)
    silence = 0.01

    def __init__(
        self,
        namespace: Namespace,
        link: Link,
        address: str,
        answered: Callable[[bool], None],
        closer: Closer,
    ) -> None:
        """Raises ``OSError``."""
        self._mac = bytes.fromhex(link.mac.replace(":", ""))
        self._address = socket.inet_aton(address)
        self._ifname = link.name
        super().__init__(packet_socket(namespace, link, ETH_ARP, arp_about(self._address)), answered, closer)

    def send(self) -> None:
        """To everyone."""
        probe = packets4.arp_probe(self._mac, self._address)
        self._packets.sendto(probe, (self._ifname, ETH_ARP, 0, 0, EVERYONE))

    def is_conflict(self, packet: bytes) -> bool:
        """ARP from the address, or another host's probe for it."""
        return packets4.is_conflict(packet, self._mac, self._address)
