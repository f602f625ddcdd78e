"""IPv4 and UDP headers around DHCPv4's messages (RFC 791, RFC 768), and ARP probes (RFC 5227) (pure)."""

import struct

_IP = struct.Struct("!BBHHHBBH4s4s")
_UDP = struct.Struct("!HHHH")
_PROTOCOL, _TTL = 17, 64
SERVER, CLIENT = 67, 68
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_HEADER = (1, 0x0800, 6, 4)


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) & 1:
        data += b"\0"
    return 0xFFFF - (int.from_bytes(data, "big") % 0xFFFF or (0xFFFF if any(data) else 0))


def framed(payload: bytes, source: bytes, destination: bytes) -> bytes:
    """A packet from the client's port to the server's port; addresses are of 4 bytes."""
    length = _UDP.size + len(payload)
    pseudo = source + destination + struct.pack("!BBH", 0, _PROTOCOL, length)
    total = checksum(pseudo + _UDP.pack(CLIENT, SERVER, length, 0) + payload) or 0xFFFF
    header = _IP.pack(0x45, 0x10, _IP.size + length, 0, 0, _TTL, _PROTOCOL, 0, source, destination)
    header = _IP.pack(
        0x45, 0x10, _IP.size + length, 0, 0, _TTL, _PROTOCOL, checksum(header), source, destination
    )  # fmt: skip
    return header + _UDP.pack(CLIENT, SERVER, length, total) + payload


def unframed(packet: bytes, summed: bool) -> tuple[bytes, bytes] | None:
    """The payload and the source address of a packet to the client's port; None for anything else.

    ``summed`` is False if the checksum of UDP is not computed yet, as between two ends of a veth.
    """
    if len(packet) < _IP.size + _UDP.size:
        return None
    first, _, total, _, fragment, _, protocol, _, source, destination = _IP.unpack_from(packet)
    start = (first & 0xF) * 4
    if first >> 4 != 4 or start < _IP.size or protocol != _PROTOCOL or fragment & 0x3FFF:
        return None
    if not start + _UDP.size <= total <= len(packet) or checksum(packet[:start]):
        return None
    _, port, length, given = _UDP.unpack_from(packet, start)
    if port != CLIENT or not _UDP.size <= length <= total - start:
        return None
    data = packet[start : start + length]
    pseudo = source + destination + struct.pack("!BBH", 0, _PROTOCOL, length)
    if given and summed and checksum(pseudo + data):
        return None
    return data[_UDP.size :], source


def arp_probe(mac: bytes, address: bytes) -> bytes:
    """The question whether another host has the address. It does not change what hosts know about it."""
    return _ARP.pack(*_ARP_HEADER, 1, mac, bytes(4), bytes(6), address)


def is_conflict(packet: bytes, mac: bytes, address: bytes) -> bool:
    """Whether an ARP packet shows that another host has the address, or is about to take it."""
    if len(packet) < _ARP.size:
        return False
    *header, operation, sender, source, _, target = _ARP.unpack_from(packet)
    if tuple(header) != _ARP_HEADER or sender == mac:
        return False
    return source == address or (operation == 1 and not any(source) and target == address)
