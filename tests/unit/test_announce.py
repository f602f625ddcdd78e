"""The frames that announce an address, octet by octet."""

from cni.address import Address
from cni.kernel.announce import frame

MAC = bytes.fromhex("020000000001")


def test_gratuitous_arp() -> None:
    """RFC 5227: a broadcast request whose sender and target address are the announced one."""
    assert frame(MAC, Address.parse("10.1.2.3")).hex(" ", 2) == (
        "ffff ffff ffff 0200 0000 0001 0806 0001 0800 0604 0001 0200 0000 0001 0a01 0203 0000 0000 0000 0a01 0203"
    )


def test_unsolicited_neighbour_advertisement() -> None:
    """RFC 4861, 7.2.6: to all nodes, hop limit 255, override, the link-layer address as an option, a right checksum."""
    data = frame(MAC, Address.parse("fd00::3"))
    assert data[:14].hex() == "333300000001" + "020000000001" + "86dd"
    assert data[14:54].hex() == "60000000" + "0020" + "3a" + "ff" + "fd" + "00" * 14 + "03" + "ff02" + "00" * 13 + "01"
    assert data[54:56].hex() == "8800"
    assert data[58:62].hex() == "20000000"
    assert data[62:].hex() == "fd" + "00" * 14 + "03" + "0201" + "020000000001"
    # the sum over pseudo header and message, its checksum included, is all ones
    pseudo = data[22:54] + (32).to_bytes(4, "big") + b"\0\0\0\x3a"
    words = pseudo + data[54:]
    total = sum(int.from_bytes(words[place : place + 2], "big") for place in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF
