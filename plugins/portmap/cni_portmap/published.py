"""The ports that one attachment publishes: entries, source networks and records of the table (pure)."""

from cni.address import ANY, PROTOCOL_NAMES, PROTOCOLS, Address, Prefix
from cni.kernel.transaction import ADDRESS, INET_PROTO, INET_SERVICE, WORD, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cni_portmap.settings import Settings

    # address and port
    End = tuple[Address, int]

# IPv6 has none: the kernel sends no packets from ::1 out of the node.
LOOPBACK: "dict[int, list[Prefix]]" = {4: [Prefix.parse("127.0.0.0/8")], 6: []}

# The group of attachments without conditions.
PLAIN = ""


class Entry:
    """One mapping in one family, as in the table."""

    __slots__ = ("address", "group", "host", "host_port", "port", "protocol")

    def __init__(self, protocol: int, node: "End", container: "End", group: str = PLAIN) -> None:
        """``node`` has the unspecified address for all addresses. Entries with the same conditions are one ``group``."""
        self.protocol = protocol
        self.host, self.host_port = node
        self.address, self.port = container
        self.group = group

    @classmethod
    def parse(cls, fields: "Sequence[bytes]", group: str) -> "Entry":
        """The entry of a record."""
        protocol, host, host_port, address, port = fields
        node, container = (Address(host), number(host_port)), (Address(address), number(port))
        return cls(protocol[0], node, container, group)

    def record(self) -> list[bytes]:
        """A record's fields."""
        host_port, port = two_bytes(self.host_port), two_bytes(self.port)
        return [bytes([self.protocol]), self.host.packed, host_port, self.address.packed, port]

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def everywhere(self) -> bool:
        """Whether the entry is for all addresses of the node."""
        return not any(self.host.packed)

    @property
    def name(self) -> str:
        """The protocol's name."""
        return PROTOCOL_NAMES.get(self.protocol, str(self.protocol))

    @property
    def map(self) -> str:
        """The name of its map."""
        return named("hostports" if self.everywhere else "hostips", self.version, self.group)

    @property
    def plain_key(self) -> bytes:
        """Its key without the address of the node."""
        return pack((INET_PROTO, INET_SERVICE), [bytes([self.protocol]), two_bytes(self.host_port)])

    @property
    def key(self) -> bytes:
        """Its key in its map."""
        return self.plain_key if self.everywhere else self.host.packed + self.plain_key

    @property
    def data(self) -> bytes:
        """Its target, as the map's data."""
        return pack((ADDRESS[self.version], INET_SERVICE), [self.address.packed, two_bytes(self.port)])

    def source_key(self, source: Prefix) -> bytes:
        """Its key in the set of a source network."""
        return source.network.address.packed + self.address.packed + self.plain_key

    def __str__(self) -> str:
        host = "" if self.everywhere else f" on {self.host}"
        return f"{self.name} port {self.host_port}{host}"

    def describe(self) -> str:
        """In nft's words."""
        word = WORD[self.version]
        host = "" if self.everywhere else f"{word} daddr {self.host} "
        return f"{host}{self.name} dport {self.host_port} dnat {word} to {self.address.with_port(self.port)}"


def two_bytes(value: int) -> bytes:
    """A port or a count, as in the table."""
    return value.to_bytes(2, "big")


def number(data: bytes) -> int:
    """A port or a count, read from the table."""
    return int.from_bytes(data[:2], "big")


def named(kind: str, version: int, group: str) -> str:
    """The name of a group's map or chain for one family."""
    return f"{kind}{version}{f'_{group}' if group else ''}"


def source_set(source: Prefix) -> str:
    """The name of the set for source networks of this family and prefix length."""
    return f"from{source.version}_{source.length}"


class Published:
    """All that one attachment has in the table, or should have."""

    __slots__ = ("conditions", "entries", "link", "namespace", "sources")

    def __init__(
        self,
        entries: "Iterable[Entry]" = (),
        sources: "Iterable[Prefix]" = (),
        link: str = "",
        conditions: "dict[int, str] | None" = None,
        namespace: bytes = b"",
    ) -> None:
        """``sources`` are networks whose connections are masqueraded. ``link`` is the host end of the container's link.

        ``namespace`` identifies the namespace of a container that has no link on the node. ``conditions`` are nft's
        match words by family; the group of an entry is derived from them.
        """
        self.entries = list(entries)
        self.sources = list(sources)
        self.link = link
        self.namespace = namespace
        self.conditions = conditions or {}

    @classmethod
    def wanted(cls, settings: "Settings", prefixes: "Sequence[Prefix]") -> "Published":
        """The ports that a configuration asks for, at the container's first address in each family.

        Raises ``InvalidConfig`` for too many ports.
        """
        found = cls(conditions=settings.expressions)
        for version, everywhere in ANY.items():
            mappings = settings.mappings_of(version)
            prefix = next((each for each in prefixes if each.version == version), None)
            if prefix is None or not mappings:
                continue
            group = group_of(found.conditions.get(version, ""))
            for each in mappings:
                node, container = (
                    (each.host or everywhere.address, each.host_port),
                    (prefix.address, each.container_port),
                )
                found.entries.append(Entry(PROTOCOLS[each.protocol], node, container, group))
            if settings.snat:
                found.sources += [everywhere] if settings.masq_all else [prefix.network, *LOOPBACK[version]]
        return found

    def of(self, version: int) -> "list[Entry]":
        """The entries of one family."""
        return [entry for entry in self.entries if entry.version == version]

    @property
    def addresses(self) -> "dict[int, Address]":
        """The container's address by family."""
        return {entry.version: entry.address for entry in self.entries}

    def masqueraded(self) -> "dict[Prefix, dict[bytes, None]]":
        """The keys of the sets, by source network."""
        keys: dict[Prefix, dict[bytes, None]] = {}
        for source in self.sources:
            for entry in self.entries:
                if entry.version == source.version:
                    keys.setdefault(source, {})[entry.source_key(source)] = None
        return keys

    def mapped(self) -> "dict[str, dict[bytes, Entry]]":
        """The elements of the maps."""
        elements: dict[str, dict[bytes, Entry]] = {}
        for entry in self.entries:
            elements.setdefault(entry.map, {})[entry.key] = entry
        return elements

    def records(self, version: int) -> "list[list[bytes]]":
        """The records of the entries of one family."""
        return [entry.record() for entry in self.of(version)]

    def groups(self) -> "dict[int, str]":
        """Family and group of the entries with conditions."""
        return {entry.version: entry.group for entry in self.entries if entry.group}

    def record(self) -> list[bytes]:
        """The fields of the attachment's record: its link, and its groups in both families."""
        groups = self.groups()
        return [self.link.encode(), *(bytes.fromhex(groups.get(version, PLAIN)) or bytes(4) for version in (4, 6))]

    @staticmethod
    def parsed(fields: "Sequence[bytes]") -> "tuple[str, dict[int, str]]":
        """The link and the groups of a record."""
        link, *groups = fields
        names = [group.hex() if any(group) else PLAIN for group in groups]
        return link.rstrip(b"\0").decode("utf-8", "replace"), dict(zip((4, 6), names, strict=True))


def group_of(conditions: str) -> str:
    """The group for these conditions: 8 hexadecimal digits, empty without conditions."""
    if not conditions:
        return PLAIN
    from cni.names import sha512

    digest = sha512(conditions)[:4]
    return digest.hex() if any(digest) else "00000001"
