"""The choice of addresses without host-local's files: what is taken is kept in memory (pure)."""

import pytest

from cni.address import Address, Prefix
from cni.attachment import Attachment
from cni.errors import ADDRESS_TAKEN, ADDRESSES_EXHAUSTED, CNIError
from cni.pool import Range, RangeSet, allocate

ONE, TWO = Attachment("net1", "c1", "eth0"), Attachment("net1", "c2", "eth0")


class Memory:
    def __init__(self) -> None:
        self.taken: dict[Address, tuple[str, str]] = {}
        self.last: dict[int, Address] = {}

    def leases(self, container: str, ifname: str) -> list[Address]:
        return [address for address, owner in self.taken.items() if owner == (container, ifname)]

    def last_reserved(self, number: int) -> Address | None:
        return self.last.get(number)

    def is_taken(self, address: Address, tries: int) -> bool:
        return tries > 0 and address in self.taken

    def reserve(self, address: Address, container: str, ifname: str, number: int) -> bool:
        if address in self.taken:
            return False
        self.taken[address], self.last[number] = (container, ifname), address
        return True

    def where(self, address: Address | None = None) -> str:
        return f"in memory: {address}"


def sets(*subnets: str) -> list[RangeSet]:
    return [RangeSet([Range(Prefix.parse(subnet), None, None, None)]) for subnet in subnets]


def allocated(memory: Memory, who: Attachment, subnets: list[str], *requested: str) -> list[str]:
    asked = [Address.parse(text) for text in requested]
    return [str(address) for _, address in allocate(sets(*subnets), asked, who, memory)]


def test_each_set_gives_the_next_free_address() -> None:
    """The gateway is left out; another attachment gets those that follow, of each set."""
    memory = Memory()
    assert allocated(memory, ONE, ["10.1.0.0/29", "fd00::/64"]) == ["10.1.0.2", "fd00::2"]
    assert allocated(memory, TWO, ["10.1.0.0/29", "fd00::/64"]) == ["10.1.0.3", "fd00::3"]
    assert memory.last == {0: Address.parse("10.1.0.3"), 1: Address.parse("fd00::3")}


def test_a_requested_address_is_its_sets() -> None:
    """In whatever order they are requested; a set that holds none of them gives the next."""
    memory = Memory()
    assert allocated(memory, ONE, ["10.1.0.0/29", "fd00::/64"], "fd00::9") == ["10.1.0.2", "fd00::9"]
    assert allocated(memory, TWO, ["10.1.0.0/29", "fd00::/64"], "fd00::8", "10.1.0.5") == ["10.1.0.5", "fd00::8"]


@pytest.mark.parametrize(
    ("who", "subnets", "requested", "code", "msg", "details"),
    [
        (ONE, ["10.1.0.0/30"], [], ADDRESS_TAKEN, "10.1.0.2 has been allocated to c1, duplicate", "send DEL for net1/c1"),
        (TWO, ["10.1.0.0/30"], [], ADDRESSES_EXHAUSTED, "no IP addresses available in range set: 10.1.0.1-", "memory: None"),
        (TWO, ["10.1.0.0/30"], ["10.1.0.1"], ADDRESS_TAKEN, "requested ip 10.1.0.1 is subnet's gateway", "another"),
        (TWO, ["10.1.0.0/30"], ["10.1.0.2"], ADDRESS_TAKEN, "requested IP address 10.1.0.2 is not", "memory: 10.1.0.2"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be_had(
    who: Attachment, subnets: list[str], requested: list[str], code: int, msg: str, details: str
) -> None:
    """Named by the number of its set; where it is kept is the storage's to say."""
    memory = Memory()
    allocated(memory, ONE, ["10.1.0.0/30"])
    before = dict(memory.taken)
    with pytest.raises(CNIError) as caught:
        allocated(memory, who, subnets, *requested)
    assert caught.value.code == code
    assert caught.value.msg.startswith(f"failed to allocate for range 0: {msg}")
    assert details in caught.value.details
    assert memory.taken == before


def test_requests_that_no_set_has_are_refused_at_the_end() -> None:
    """Of two in one set the second is left too. What was yielded before is known to the caller, who gives it back."""
    memory, got = Memory(), []
    asked = [Address.parse(text) for text in ("10.1.0.4", "10.1.0.5", "192.0.2.1")]
    with pytest.raises(CNIError, match="^failed to allocate all requested IPs: 10.1.0.5 192.0.2.1; ") as caught:
        for found in allocate(sets("10.1.0.0/29"), asked, ONE, memory):
            got.append(str(found[1]))
    assert caught.value.code == ADDRESS_TAKEN
    assert got == ["10.1.0.4"]
