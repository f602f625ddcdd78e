"""Pools of addresses without their storage (pure): ranges, sets of ranges, and the choice of the next free address.

An attachment gets one address of each set. A ``Storage`` knows which addresses are taken; host-local's uses files.

Ranges are netaddr's. It is imported without its ``__init__`` (which loads OUI tables), ``pprint`` and ``re``, in 4 ms
instead of 36. ``cni.address`` reads and prints the addresses, with Go's rules.
"""

from cni import environment
from cni.address import Address, Prefix
from cni.errors import ADDRESS_TAKEN, ADDRESSES_EXHAUSTED, CNIError, InvalidConfig
from cni.lean import Library, Placeholder
from cni.result import ADDRESS, check_families
from cni.settings import Section, key, listing, parsed, requested, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Protocol

    from cni.attachment import Attachment
    from cni.skel import Call

    class Storage(Protocol):
        """Keeps which addresses are taken."""

        def leases(self, container: str, ifname: str) -> Iterable[Address]:
            """The addresses of an attachment."""

        def last_reserved(self, number: int) -> Address | None:
            """The last address that set ``number`` gave."""

        def is_taken(self, address: Address, tries: int) -> bool:
            """Whether an address is certainly taken; ``tries`` candidates before it were taken."""

        def reserve(self, address: Address, container: str, ifname: str, number: int) -> bool:
            """Take an address of set ``number`` for an attachment, unless it is taken."""

        def where(self, address: Address | None = None) -> str:
            """Where the address, or all addresses, are stored; for messages."""


def _placeholders() -> "dict[str, dict[str, Any]]":
    import _socket

    socket = {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    return {"pprint": {}, "re": {"compile": Placeholder()}, "socket": socket}


# netaddr 1.x. Its modules have no version number; the project's metadata and lock file pin it.
LIBRARY = Library("netaddr", _placeholders, lambda: True)


def _subnet(text: str) -> Prefix:
    prefix = Prefix.parse(text)
    if ":" in text and prefix.version == 4:
        raise ValueError("IPNet IP and Mask version mismatch")
    return prefix


def _address(number: int, version: int) -> Address:
    return Address(number.to_bytes(4 if version == 4 else 16, "big"))


class StatedRange(Section):
    """A range as the configuration states it; ``Range`` completes it."""

    # fmt: off
    subnet: Prefix | None = key(
        "subnet", parsed(string, _subnet, "CIDR"), None, "network that the addresses are of, without host bits")
    start: Address | None = key(
        "rangeStart", ADDRESS, None, "first address to hand out; by default the one after the network address")
    end: Address | None = key(
        "rangeEnd", ADDRESS, None,
        "last address to hand out; by default the subnet's last, in IPv4 the last but one")
    gateway: Address | None = key(
        "gateway", ADDRESS, None,
        "gateway that the result names, never handed out; by default the first host address")
    # fmt: on


RANGES = listing(listing(StatedRange))


class Range:
    """Addresses from ``start`` to ``end`` in one subnet; ``gateway`` appears in results and is never handed out."""

    __slots__ = ("end", "gateway", "start", "subnet")

    def __init__(
        self, subnet: Prefix | None, start: Address | None, end: Address | None, gateway: Address | None
    ) -> None:
        """Complete and check what the configuration states; raises ``ValueError`` with Go's texts."""
        if subnet is None:
            raise ValueError("IP <nil> not v4 nor v6")
        if subnet.length > subnet.address.bits - 2:
            raise ValueError(f"Network {subnet} too small to allocate from")
        if subnet != subnet.network:
            raise ValueError(
                f"Network has host bits set. For a subnet mask of length {subnet.length} "
                f"the network address is {subnet.network.address}"
            )
        # plain numbers, because STATUS does this too and does not need netaddr otherwise
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
        # a rangeStart at the broadcast address without a rangeEnd is a range of one address
        self.end = end or _address(max(last, int(self.start)), subnet.version)

    @property
    def numbers(self) -> "Any":
        """The addresses as a ``netaddr.IPRange``."""
        ip = LIBRARY.load("netaddr.ip")
        return ip.IPRange(ip.IPAddress(int(self.start), self.version), ip.IPAddress(int(self.end), self.version))

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.subnet.version

    def __contains__(self, address: Address) -> bool:
        return address.version == self.version and int(self.start) <= int(address) <= int(self.end)

    def overlaps(self, other: "Range") -> bool:
        """Whether the two share an address."""
        return self.start in other or other.start in self

    def walk(self, first: "int | None" = None, last: "int | None" = None) -> "Iterator[tuple[Range, Address]]":
        """The addresses that may be handed out, upwards, without the gateway; by default those of the whole range."""
        numbers = self.numbers
        gateway = int(self.gateway) if self.gateway.version == self.version else -1
        for number in range(numbers.first if first is None else first, (numbers.last if last is None else last) + 1):
            if number != gateway:
                yield self, _address(number, self.version)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


class RangeSet:
    """Ranges of one family. An attachment gets one address of a set."""

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
        """Every address that may be handed out, once: first the one after ``last``, then around all ranges up to ``last``.

        A ``last`` outside the set counts as None.
        """
        members = self.ranges
        begin = next((place for place, member in enumerate(members) if last is not None and last in member), None)
        if begin is None or last is None:
            for member in members:
                yield from member.walk()
            return
        yield from members[begin].walk(first=int(last) + 1)
        for member in members[begin + 1 :] + members[:begin]:
            yield from member.walk()
        yield from members[begin].walk(last=int(last))

    def __str__(self) -> str:
        return ",".join(map(str, self.ranges))


def allocate(
    sets: "Sequence[RangeSet]", requested: "Sequence[Address]", attachment: "Attachment", storage: "Storage"
) -> "Iterator[tuple[Range, Address]]":
    """Take one address of each set: the first requested address that is in the set, else the next free one.

    Raises ``CNIError`` with Go's texts; the caller must release the addresses yielded before.
    """
    unused = dict.fromkeys(requested)
    for number, addresses in enumerate(sets):
        wanted = next((address for address in unused if addresses.holding(address)), None)
        unused.pop(wanted, None)  # type: ignore[arg-type]
        yield _allocate(number, addresses, wanted, attachment, storage)
    if unused:
        fault = f"failed to allocate all requested IPs:{''.join(f' {address}' for address in unused)}"
        raise CNIError(fault, "each range set hands out one address", ADDRESS_TAKEN)


def _allocate(
    number: int, addresses: RangeSet, wanted: Address | None, attachment: "Attachment", storage: "Storage"
) -> "tuple[Range, Address]":
    container, ifname = attachment.container, attachment.ifname

    def refusal(text: str, remedy: str, code: int = ADDRESS_TAKEN) -> CNIError:
        return CNIError(f"failed to allocate for range {number}: {text}", remedy, code)

    if wanted is None:
        for lease in storage.leases(container, ifname):
            if addresses.holding(lease):
                text = f"{lease} has been allocated to {container}, duplicate allocation is not allowed"
                raise refusal(text, f"send DEL for {attachment} first")
        candidates = addresses.candidates(storage.last_reserved(number))
    else:
        candidates = iter([(member, wanted) for member in addresses.ranges if wanted in member][:1])
    for tries, (member, address) in enumerate(candidates):
        if address == member.gateway:
            raise refusal(f"requested ip {address} is subnet's gateway", "ask for another")
        if not storage.is_taken(address, tries) and storage.reserve(address, container, ifname, number):
            return member, address
    if wanted is not None:
        raise refusal(f"requested IP address {wanted} is not available in range set {addresses}", storage.where(wanted))
    remedy = f"remove attachments of network {attachment.network} or widen the range; {storage.where()}"
    raise refusal(f"no IP addresses available in range set: {addresses}", remedy, ADDRESSES_EXHAUSTED)


def requested_addresses(call: "Call") -> list[Address]:
    """The addresses requested by ``IP`` in CNI_ARGS, ``args.cni.ips`` and the capability ``ips``, each once.

    Raises ``InvalidEnvironment``, ``DecodingFailure``, ``InvalidConfig``.
    """
    argument, capability = requested(call.config, "ips", listing(string))
    text = environment.arguments(call.environ, ("IP",)).get("IP", "")
    asked = [("", text)] if text else []
    asked += [("args.cni.ips", item) for item in argument or ()]
    asked += [("runtimeConfig.ips", item) for item in capability or ()]
    found: dict[Address, None] = {}
    for where, item in asked:
        try:
            found[_requested(item)] = None
        except ValueError as error:
            if not where:
                raise environment.bad_argument("IP", item, str(error)) from None
            raise InvalidConfig(str(error), f"in {where}") from None
    return list(found)


def _requested(text: str) -> Address:
    """An address; a prefix is accepted and ignored."""
    if not text:
        raise ValueError("cannot understand ip: IP <nil> not v4 nor v6")
    host, slash, length = text.partition("/")
    try:
        address = Address.parse(host)
    except ValueError:
        raise ValueError(f"invalid IP address {text}") from None
    bits = 128 if ":" in host else 32
    if slash and not (length.isascii() and length.isdigit() and len(length) <= 6 and int(length) <= bits):
        raise ValueError(f"invalid IP address {text}")
    return address


def read_sets(documents: list[list[StatedRange]], version: str) -> list[RangeSet]:
    """The configuration's range sets; raises ``InvalidConfig`` with the number of the faulty set."""
    sets = []
    for number, stated in enumerate(documents):
        try:
            sets.append(RangeSet([Range(each.subnet, each.start, each.end, each.gateway) for each in stated]))
        except ValueError as error:
            fault = f"invalid range set {number}: {error}"
            raise InvalidConfig(fault, f"correct set {number} of ipam.ranges") from None
    if not sets:
        raise InvalidConfig("no IP ranges specified", "set ipam.ranges, or ipam.subnet")
    check_families([each.version for each in sets], version)
    for place, addresses in enumerate(sets):
        for other in range(place):
            if sets[other].overlaps(addresses):
                raise InvalidConfig(f"range set {other} overlaps with {place}", "keep the sets apart")
    return sets
