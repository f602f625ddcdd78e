"""Flows that a namespace tracks, made over netlink as ``conntrack -I`` makes one: thousands in a second."""

import ipaddress
import socket
import struct
from collections.abc import Iterable
from typing import NamedTuple

from .namespace import Netns

_NETFILTER, _NEW, _REQUEST, _ACK, _CREATE = 12, 0x100, 1, 4, 0x400
_HEADER = struct.Struct("=IHHII")
_LIFE = 3600
_AT_ONCE = 64


class Tracked(NamedTuple):
    """One flow: who sent it, to where, and who answers it where that is somebody else."""

    source: tuple[str, int]
    to: tuple[str, int]
    answerer: tuple[str, int] | None = None
    protocol: int = socket.IPPROTO_UDP
    zone: int = 0
    one_way: bool = False
    """Whether the zone is only that of the direction in which it was sent."""


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), kind) + payload + bytes(-len(payload) % 4)


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | 0x8000, b"".join(attributes))


def _tuple(kind: int, source: tuple[str, int], to: tuple[str, int], protocol: int, zone: int) -> bytes:
    packed = [ipaddress.ip_address(address).packed for address, _ in (source, to)]
    kinds = (1, 2) if len(packed[0]) == 4 else (3, 4)
    ports = [_attribute(at, struct.pack(">H", port)) for at, (_, port) in ((2, source), (3, to))]
    parts = [
        _nested(1, *(_attribute(at, each) for at, each in zip(kinds, packed, strict=True))),
        _nested(2, _attribute(1, bytes([protocol])), *ports),
    ]
    return _nested(kind, *parts, *([_attribute(3, struct.pack(">H", zone))] if zone else []))


def body(flow: Tracked) -> bytes:
    """The body of a message that makes it, which is how the kernel tells of it too."""
    version = ipaddress.ip_address(flow.to[0]).version
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    one_way = flow.zone if flow.one_way else 0
    attributes = [
        _tuple(1, flow.source, flow.to, flow.protocol, one_way),
        _tuple(2, flow.answerer or flow.to, flow.source, flow.protocol, 0),
        _attribute(7, struct.pack(">I", _LIFE)),
    ]
    if flow.protocol == socket.IPPROTO_TCP:
        attributes.append(_nested(4, _nested(1, _attribute(1, bytes([3])))))
    if flow.zone and not flow.one_way:
        attributes.append(_attribute(18, struct.pack(">H", flow.zone)))
    return bytes([family, 0, 0, 0]) + b"".join(attributes)


def track(netns: Netns, flows: Iterable[Tracked]) -> None:
    """Have a namespace track these flows."""
    bodies = [body(flow) for flow in flows]
    with netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER) as kernel:
        kernel.bind((0, 0))
        kernel.settimeout(20)
        for start in range(0, len(bodies), _AT_ONCE):
            group = bodies[start : start + _AT_ONCE]
            messages = [
                _HEADER.pack(16 + len(each), _NEW, _REQUEST | _CREATE | (_ACK if each is group[-1] else 0), 1, 0) + each
                for each in group
            ]
            kernel.send(b"".join(messages))
            (number,) = struct.unpack_from("=i", kernel.recv(1 << 16), 16)
            if number:
                raise OSError(-number, "a flow could not be made")


def tracked(netns: Netns) -> int:
    """How many flows a namespace tracks."""
    return int(netns.sysctl("netfilter/nf_conntrack_count"))
