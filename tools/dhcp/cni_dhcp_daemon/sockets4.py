"""Sockets of DHCPv4 in a container's namespace (packet(7)): open only while an answer is expected.

Packets that leave before the interface has the address, and those to everyone, need a packet socket. All answers are
read from it. A packet from the leased address to the server is sent by a socket of UDP, so that the container's routes
apply; it also keeps the kernel from refusing the answer (ICMP).
"""

import asyncio
import errno
import socket
import struct
from array import array
from collections.abc import Callable

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link
from cni_dhcp_daemon import interface, packets4
from cni_dhcp_daemon.client import BROADCAST, UNSPECIFIED, Datagram
from cni_dhcp_daemon.closing import Closer

ETH_IP, ETH_ARP = 0x0800, 0x0806
_EVERYONE = b"\xff" * 6
_SO_ATTACH_FILTER, _SOL_PACKET, _PACKET_AUXDATA = 26, 263, 8
# States of a packet in tpacket_auxdata, and its kinds in the address.
_CSUM_NOT_READY, _VLAN_VALID, _OTHER_HOST, _OUTGOING = 0x8, 0x10, 3, 4
_AUXDATA = struct.Struct("=IIIHHHH")
# The most packets that are read at once.
_BATCH = 16
# Accepts UDP to the client's port, and not a fragment but the first (linux/bpf_common.h): code, jumps, value.
_PROGRAM = (
    (0x30, 0, 0, 9), (0x15, 0, 6, 17), (0x28, 0, 0, 6), (0x45, 4, 0, 0x1FFF), (0xB1, 0, 0, 0), (0x48, 0, 0, 2),
    (0x15, 0, 1, packets4.CLIENT), (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0),
)  # fmt: skip
# The kernel gets its address; the native file has no ctypes.
_FILTER = array("B", b"".join(struct.pack("=HBBI", *line) for line in _PROGRAM))
_ATTACHED = struct.pack("@HP", len(_PROGRAM), _FILTER.buffer_info()[0])
# When the ARP probes are sent, and when nobody has answered.
_PROBES, _SILENCE = (0.0, 0.1), 0.2


def _packets(namespace: Namespace, link: Link, protocol: int) -> socket.socket:
    """A packet socket for one protocol on a link; the kernel adds the headers of the link."""
    with namespace:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        made.setblocking(False)
        if protocol == ETH_IP:
            made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _ATTACHED)
            made.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        made.bind((link.name, protocol))
    except BaseException:
        made.close()
        raise
    return made


class Sockets4:
    """The sockets of one client. ``received`` is called with payload and source."""

    __slots__ = ("_closed", "_closer", "_link", "_loop", "_packets", "_received", "_udp", "ifname", "server_mac")

    def __init__(
        self, namespace: Namespace, link: Link, received: Callable[[bytes, str], None], closer: Closer
    ) -> None:
        """Raises ``OSError``."""
        self._loop = asyncio.get_running_loop()
        self._received = received
        self._closer = closer
        self._closed = False
        self._link = link
        self.ifname = link.name
        # who has sent the last packet
        self.server_mac = b""
        self._udp: socket.socket | None = None
        self._packets = _packets(namespace, link, ETH_IP)
        self._loop.add_reader(self._packets, self._readable)

    def _readable(self) -> None:
        for _ in range(_BATCH):
            if self._closed:  # by the packet before
                return
            try:
                packet, more, _, address = self._packets.recvmsg(0xFFFF, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:  # the link is down
                return
            self._taken(packet, more, address)

    def _taken(
        self, packet: bytes, more: list[tuple[int, int, bytes]], address: tuple[str, int, int, int, bytes]
    ) -> None:
        status = tag = 0
        for level, kind, data in more:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
                status, _, _, _, _, tag, _ = _AUXDATA.unpack_from(data)
        if address[2] in (_OTHER_HOST, _OUTGOING) or (status & _VLAN_VALID and tag & 0xFFF):
            return
        found = packets4.unframed(packet, not status & _CSUM_NOT_READY)
        if found is not None:
            self.server_mac = bytes(address[4])
            self._received(found[0], socket.inet_ntop(socket.AF_INET, found[1]))

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
        mac = _EVERYONE if everyone else at_once or self.server_mac or _EVERYONE
        self._packets.sendto(packet, (self.ifname, ETH_IP, 0, 0, mac))

    def _sent_by_udp(self, namespace: Namespace, datagram: Datagram) -> bool:
        """Whether the packet was sent by UDP; not if the address is missing, or another program has the port."""
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
        except OSError as error:
            made.close()
            if error.errno in (errno.EADDRNOTAVAIL, errno.EADDRINUSE, errno.ENETUNREACH, errno.EHOSTUNREACH):
                return False
            raise
        self._udp = made
        return True

    def close(self) -> None:
        """Close the sockets."""
        self._closed = True
        self._loop.remove_reader(self._packets)
        self._closer.close(self._packets)
        if self._udp is not None:
            self._udp.close()


class ArpProbe:
    """Asks by ARP whether another host has an address; ``answered`` is called once, with True or False."""

    __slots__ = ("_address", "_answered", "_closer", "_ifname", "_loop", "_mac", "_packets", "_timers")

    def __init__(
        self,
        namespace: Namespace,
        link: Link,
        address: str,
        answered: Callable[[bool], None],
        closer: Closer,
    ) -> None:
        """Raises ``OSError``."""
        self._loop = asyncio.get_running_loop()
        self._mac = bytes.fromhex(link.mac.replace(":", ""))
        self._address = socket.inet_aton(address)
        self._answered = answered
        self._closer = closer
        self._ifname = link.name
        self._packets = _packets(namespace, link, ETH_ARP)
        self._loop.add_reader(self._packets, self._readable)
        self._timers = [self._loop.call_later(delay, self._ask) for delay in _PROBES]
        self._timers.append(self._loop.call_later(_SILENCE, self._end, False))

    def _ask(self) -> None:
        probe = packets4.arp_probe(self._mac, self._address)
        try:
            self._packets.sendto(probe, (self._ifname, ETH_ARP, 0, 0, _EVERYONE))
        except OSError:
            pass  # the link is down: nobody can have it there

    def _readable(self) -> None:
        try:
            packet = self._packets.recv(256)
        except OSError:
            return
        if packets4.is_conflict(packet, self._mac, self._address):
            self._end(True)

    def _end(self, in_use: bool) -> None:
        self.close()
        self._answered(in_use)

    def close(self) -> None:
        """End it without an answer."""
        for timer in self._timers:
            timer.cancel()
        self._loop.remove_reader(self._packets)
        self._closer.close(self._packets)
