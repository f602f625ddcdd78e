"""Ranges and range sets: what the configuration says, completed and checked (pure)."""

from cni import ranges
from cni.address import Address, Prefix
from cni.config import Key, Table, listing, parsed, string
from cni.errors import InvalidConfig
from cni.result import ADDRESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


def _subnet(text: str) -> Prefix:
    prefix = Prefix.parse(text)
    if ":" in text and prefix.version == 4:
        raise ValueError("IPNet IP and Mask version mismatch")
    return prefix


RANGE = Table(
    Key("subnet", parsed(string, _subnet, "CIDR"), words="network that the addresses are of, without host bits"),
    Key("rangeStart", ADDRESS, words="first address to hand out; by default the one after the network address"),
    Key("rangeEnd", ADDRESS, words="last address to hand out; by default the subnet's last, in IPv4 the last but one"),
    Key("gateway", ADDRESS, words="gateway that the result names, never handed out; by default the first host address"),
)


class Range:
    """Addresses from ``start`` to ``end`` of one subnet; ``gateway`` is named in results and not handed out."""

    __slots__ = ("end", "gateway", "start", "subnet")

    def __init__(
        self, subnet: Prefix | None, start: Address | None, end: Address | None, gateway: Address | None
    ) -> None:
        """Complete and check what the configuration says; raises ``ValueError`` with Go's texts."""
        if subnet is None:
            raise ValueError("IP <nil> not v4 nor v6")
        if subnet.length > subnet.address.bits - 2:
            raise ValueError(f"Network {subnet} too small to allocate from")
        if subnet != subnet.network:
            raise ValueError(
                f"Network has host bits set. For a subnet mask of length {subnet.length} "
                f"the network address is {subnet.network.address}"
            )
        # by plain numbers: STATUS completes ranges too, and netaddr is for those who walk through them
        host_bits = (1 << subnet.address.bits - subnet.length) - 1
        last = int(subnet.address) + host_bits - (subnet.version == 4)
        first_host = subnet.address + 1
        self.subnet = subnet
        self.gateway = gateway or first_host
        if start is not None and (start not in subnet or (end is not None and int(start) > int(end))):
            raise ValueError(f"RangeStart {start} not in network {subnet}")
        self.start = start or first_host
        if end is not None and (end not in subnet or int(end) < int(self.start)):
            raise ValueError(f"RangeEnd {end} not in network {subnet}")
        # a start at the broadcast address, given alone, is the whole range
        self.end = end or ranges.address(max(last, int(self.start)), subnet.version)

    @property
    def numbers(self) -> "Any":
        """The addresses as a ``netaddr.IPRange``."""
        return ranges.between(self.start, self.end)

    @classmethod
    def read(cls, found: "dict[str, Any]") -> "Range":
        """From a row of the table ``RANGE``."""
        return cls(found["subnet"], found["rangeStart"], found["rangeEnd"], found["gateway"])

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.subnet.version

    def __contains__(self, address: Address) -> bool:
        return address.version == self.version and int(self.start) <= int(address) <= int(self.end)

    def overlaps(self, other: "Range") -> bool:
        """Whether the two share an address (intervals, not subnets)."""
        if self.version != other.version:
            return False
        return int(self.start) <= int(other.end) and int(other.start) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


class RangeSet:
    """Ranges of one family, of which one address is handed out."""

    __slots__ = ("ranges",)

    def __init__(self, members: list[Range]) -> None:
        """Raises ``ValueError`` with Go's texts."""
        if not members:
            raise ValueError("empty range set")
        if any(member.version != members[0].version for member in members):
            raise ValueError("mixed address families")
        for place, member in enumerate(members):
            for other in members[:place]:
                if other.overlaps(member):
                    raise ValueError(f"subnets {other} and {member} overlap")
        self.ranges = members

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.ranges[0].version

    def holding(self, address: Address) -> Range | None:
        """The range that holds an address."""
        return next((member for member in self.ranges if address in member), None)

    def overlaps(self, other: "RangeSet") -> bool:
        """Whether the two share an address."""
        return any(ours.overlaps(theirs) for ours in self.ranges for theirs in other.ranges)

    def candidates(self, last: Address | None) -> "Iterator[tuple[Range, Address]]":
        """Every address that may be handed out, once: the one after ``last`` first, round all ranges, ``last`` at the end.

        A ``last`` outside the set is as none.
        """
        members = self.ranges
        begin = next((place for place, member in enumerate(members) if last is not None and last in member), None)
        if begin is None or last is None:
            for member in members:
                yield from _walk(member, member.numbers.first, member.numbers.last)
            return
        yield from _walk(members[begin], int(last) + 1, members[begin].numbers.last)
        for member in members[begin + 1 :] + members[:begin]:
            yield from _walk(member, member.numbers.first, member.numbers.last)
        yield from _walk(members[begin], members[begin].numbers.first, int(last))

    def __str__(self) -> str:
        return ",".join(map(str, self.ranges))


def _walk(member: Range, first: int, last: int) -> "Iterator[tuple[Range, Address]]":
    gateway = int(member.gateway) if member.gateway.version == member.version else -1
    for number in range(first, last + 1):
        if number != gateway:
            yield member, ranges.address(number, member.version)


def read_sets(documents: "list[list[dict[str, Any]]]", version: str) -> list[RangeSet]:
    """The configuration's range sets; raises ``InvalidConfig`` with the number of the set at fault."""
    sets = []
    for number, documents_of_set in enumerate(documents):
        try:
            sets.append(RangeSet([Range.read(found) for found in documents_of_set]))
        except ValueError as error:
            raise InvalidConfig(
                f"invalid range set {number}: {error}", f"correct set {number} of ipam.ranges"
            ) from None
    if not sets:
        raise InvalidConfig("no IP ranges specified", "set ipam.ranges, or ipam.subnet")
    if version in ("", "0.1.0", "0.2.0") and any(sum(one.version == family for one in sets) > 1 for family in (4, 6)):
        raise InvalidConfig(
            f"CNI version {version} does not support more than 1 address per family", "set cniVersion to 0.3.0 or later"
        )
    for place, one in enumerate(sets):
        for other in range(place):
            if sets[other].overlaps(one):
                raise InvalidConfig(f"range set {other} overlaps with {place}", "keep the sets apart")
    return sets


RANGES = listing(listing(RANGE))
