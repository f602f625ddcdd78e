"""Announcements: neighbours learn the MAC of an address.

The frames are a gratuitous ARP request (RFC 5227) or an unsolicited neighbour advertisement (RFC 4861, 7.2.6). With the
sysctls ``arp_notify`` and ``ndisc_notify`` (ip-sysctl.rst), the kernel sends them when a link's MAC is set, even to the
same value. Otherwise we use a packet socket (packet(7)); closing it waits for an RCU grace period, 10 ms or more.
"""

import os
from _socket import AF_PACKET, SOCK_CLOEXEC, SOCK_RAW, htons, socket

from cni.address import Address
from cni.errors import KernelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.namespace import Namespace
    from cni.kernel.netlink import Later
    from cni.kernel.rtnl import Link
    from cni.kernel.sysctl import Sysctls

_NOTIFY = {4: "net/ipv4/conf/%s/arp_notify", 6: "net/ipv6/conf/%s/ndisc_notify"}

_ARP, _IPV6 = 0x0806, 0x86DD
_ALL_NODES = bytes.fromhex("ff020000000000000000000000000001")


def frame(mac: bytes, address: Address) -> bytes:
    """The frame that announces ``address`` at ``mac`` (6 bytes) to the whole segment."""
    if address.version == 4:
        arp = bytes.fromhex("0001080006040001") + mac + address.packed + bytes(6) + address.packed
        return b"\xff" * 6 + mac + _ARP.to_bytes(2, "big") + arp
    # type, code, checksum, flag "override", target, option "target link-layer address"
    tail = bytes.fromhex("20000000") + address.packed + b"\x02\x01" + mac
    length = 4 + len(tail)
    pseudo = address.packed + _ALL_NODES + length.to_bytes(4, "big") + b"\0\0\0\x3a"
    checksum = _checksum(pseudo + b"\x88\0\0\0" + tail)
    message = b"\x88\0" + checksum + tail
    header = b"\x60\0\0\0" + length.to_bytes(2, "big") + b"\x3a\xff" + address.packed + _ALL_NODES
    return b"\x33\x33\0\0\0\x01" + mac + _IPV6.to_bytes(2, "big") + header + message


def _checksum(data: bytes) -> bytes:
    """The Internet checksum (RFC 1071): the sum of 16-bit words with carries, which is the remainder modulo 0xFFFF."""
    return (0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)).to_bytes(2, "big")


def announce(
    namespace: "Namespace", link: "Link", addresses: "list[Address]", sysctls: "Sysctls", later: "Later"
) -> None:
    """Announce addresses of a link in a namespace. Errors are ignored: neighbours learn the MAC later by themselves.

    ``later`` closes the socket.
    """
    try:
        with namespace:
            ours = [address for address in addresses if not _by_kernel(sysctls, link.name, address.version)]
        if len(ours) < len(addresses):
            namespace.rtnl.change(link.index, mac=link.mac)
        if ours:
            with namespace:
                later.add(send(link.name, link.mac, ours))
    except (OSError, KernelError):
        pass


def _by_kernel(sysctls: "Sysctls", ifname: str, version: int) -> bool:
    try:
        return sysctls.read(_NOTIFY[version] % ifname) == "1"
    except OSError:
        return False


def send(ifname: str, mac: str, addresses: "list[Address]") -> socket:
    """Send a frame for each address through a link of the namespace that the process is in; raises ``OSError``.

    Returns the socket, because closing it waits for a grace period.
    """
    hardware = bytes.fromhex(mac.replace(":", ""))
    packets = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)
    # the name may not be UTF-8
    packets.bind((os.fsencode(ifname).decode("utf-8", "surrogateescape"), htons(0)))
    for address in addresses:
        packets.send(frame(hardware, address))
    return packets
