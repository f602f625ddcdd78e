"""Neighbour solicitations that ask whether another host has an address, and the answers (RFC 4861, RFC 4862) (pure)."""

import struct

_IP = struct.Struct("!IHBB16s16s")
_ICMP, _HOPS = 58, 255
_SOLICITATION, _ADVERTISEMENT = 135, 136
_ANY = bytes(16)


def solicited(address: bytes) -> bytes:
    """The multicast group of the hosts that may have an address."""
    return bytes.fromhex("ff0200000000000000000001ff") + address[13:]


def group_mac(group: bytes) -> bytes:
    """The MAC of a multicast group."""
    return b"\x33\x33" + group[12:]


def probe(address: bytes) -> bytes:
    """A packet that asks who has the address. It comes from no address, so hosts do not learn from it."""
    group = solicited(address)
    message = struct.pack("!BBHI", _SOLICITATION, 0, 0, 0) + address
    pseudo = _ANY + group + struct.pack("!II", len(message), _ICMP)
    message = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    return _IP.pack(6 << 28, len(message), _ICMP, _HOPS, _ANY, group) + message


def is_conflict(packet: bytes, address: bytes) -> bool:
    """Whether a packet shows that another host has the address, or asks for it at the same time."""
    if len(packet) < _IP.size + 24:
        return False
    first, _, protocol, hops, source, _ = _IP.unpack_from(packet)
    kind, target = packet[_IP.size], packet[_IP.size + 8 : _IP.size + 24]
    if first >> 28 != 6 or protocol != _ICMP or hops != _HOPS or target != address:
        return False
    return kind == _ADVERTISEMENT or (kind == _SOLICITATION and source == _ANY)


def _checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data with an even length."""
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or 0xFFFF)
