"""Packet sockets on a link in a container's namespace (packet(7)), and what the kernel lets through to them.

A filter is a program of the kernel's (linux/bpf_common.h). It spares the daemon the packets that are not for it: the
container's other traffic, and answers to other clients.
"""

import socket
import struct
from array import array
from collections.abc import Sequence

from cni.kernel.namespace import Namespace
from cni.kernel.rtnl import Link

ETH_IP, ETH_ARP, ETH_IPV6 = 0x0800, 0x0806, 0x86DD
EVERYONE = b"\xff" * 6
_SO_ATTACH_FILTER = 26
# An instruction: what to do, how many to skip if a comparison is true or false, and a value.
Instruction = tuple[int, int, int, int]
_BYTE, _HALF, _WORD = 0x30, 0x28, 0x20
# from the beginning of the header after IPv4's
_HEADER, _HALF_AFTER, _WORD_AFTER = 0xB1, 0x48, 0x40
_EQUAL, _ANY_BIT = 0x15, 0x45
_ACCEPT, _REFUSE = (0x06, 0, 0, 0x40000), (0x06, 0, 0, 0)


def answers_of_dhcp(port: int, mac: bytes) -> list[Instruction]:
    """UDP of IPv4 to this port, no fragment but the first; the message is for the client with this MAC of Ethernet."""
    tests = [(_HALF_AFTER, 2, port)]
    if len(mac) == 6:
        tests += [(_WORD_AFTER, 36, int.from_bytes(mac[:4])), (_HALF_AFTER, 40, int.from_bytes(mac[4:]))]
    ends = 2 * len(tests) + 1
    found = [
        (_BYTE, 0, 0, 9),
        (_EQUAL, 0, ends + 3, socket.IPPROTO_UDP),
        (_HALF, 0, 0, 6),
        (_ANY_BIT, ends + 1, 0, 0x1FFF),
    ]
    found.append((_HEADER, 0, 0, 0))
    for size, offset, value in tests:
        ends -= 2
        found += [(size, 0, 0, offset), (_EQUAL, 0, ends, value)]
    return [*found, _ACCEPT, _REFUSE]


def arp_about(address: bytes) -> list[Instruction]:
    """ARP from or about an address."""
    number = int.from_bytes(address)
    return [(_WORD, 0, 0, 14), (_EQUAL, 2, 0, number), (_WORD, 0, 0, 24), (_EQUAL, 0, 1, number), _ACCEPT, _REFUSE]


def neighbours() -> list[Instruction]:
    """Solicitations and advertisements of neighbours (ICMPv6)."""
    return [
        (_BYTE, 0, 0, 6), (_EQUAL, 0, 4, socket.IPPROTO_ICMPV6),
        (_BYTE, 0, 0, 40), (_EQUAL, 1, 0, 135), (_EQUAL, 0, 1, 136), _ACCEPT, _REFUSE,
    ]  # fmt: skip


def attach(made: socket.socket, program: Sequence[Instruction]) -> None:
    """Let through to a socket only what the program accepts; raises ``OSError``."""
    # the kernel copies the program from this address; the native file has no ctypes
    lines = array("B", b"".join(struct.pack("=HBBI", *line) for line in program))
    made.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), lines.buffer_info()[0]))


def packet_socket(namespace: Namespace, link: Link, protocol: int, program: Sequence[Instruction]) -> socket.socket:
    """A socket for one protocol; the kernel adds the headers of the link. Raises ``OSError``."""
    with namespace:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
    try:
        made.setblocking(False)
        attach(made, program)
        made.bind((link.name, protocol))
    except BaseException:
        made.close()
        raise
    return made
