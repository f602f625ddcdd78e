"""Announcing an address: the frames octet by octet, and when the kernel is left to send them."""

from types import SimpleNamespace
from typing import Any

import pytest

from cni.address import Address
from cni.errors import KernelError
from cni.kernel import announce
from cni.kernel.announce import frame
from cni.kernel.netlink import Later

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


class Inside:
    """A namespace that notes what is done in it."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.done: list[object] = []
        self.fault = fault
        self.rtnl = self

    def __enter__(self) -> "Inside":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def change(self, index: int, mac: str) -> None:
        self.done.append((index, mac))
        if self.fault:
            raise self.fault


class Eth0:
    name, index, mac = "eth0", 7, "02:00:00:00:00:01"


KERNEL, FRAMES = (7, Eth0.mac), "frames"
V4, V6 = Address.parse("10.1.2.3"), Address.parse("fd00::1")


@pytest.mark.parametrize(
    ("set_to_notify", "wanted"),
    [
        ({"net/ipv4/conf/eth0/arp_notify", "net/ipv6/conf/eth0/ndisc_notify"}, [KERNEL]),
        ({"net/ipv4/conf/eth0/arp_notify"}, [KERNEL, (FRAMES, [V6])]),
        ({"net/ipv6/conf/eth0/ndisc_notify"}, [KERNEL, (FRAMES, [V4])]),
        (set(), [(FRAMES, [V4, V6])]),
    ],
)
@pytest.mark.parametrize("unset", ["0", ""])
def test_the_kernel_announces_what_it_is_set_to_announce(
    monkeypatch: pytest.MonkeyPatch, set_to_notify: set[str], wanted: list[object], unset: str
) -> None:
    """A packet socket, whose end is dear, is for what is left; ``unset`` is a sysctl that is 0, or not there."""

    def read(path: str) -> str:
        if path in set_to_notify:
            return "1"
        if not unset:
            raise FileNotFoundError(path)
        return unset

    place = Inside()
    monkeypatch.setattr(announce, "send", lambda name, mac, left: place.done.append((FRAMES, left)))
    announce.announce(place, Eth0, [V4, V6], SimpleNamespace(read=read), Later())  # type: ignore[arg-type]
    assert place.done == wanted


@pytest.mark.parametrize("fault", [KernelError(16), OSError("no such device")])
def test_that_it_cannot_be_announced_is_no_fault(fault: Exception) -> None:
    place = Inside(fault)
    notifies: Any = SimpleNamespace(read=lambda path: "1")
    announce.announce(place, Eth0, [V4], notifies, Later())  # type: ignore[arg-type]
    assert place.done == [KERNEL]
