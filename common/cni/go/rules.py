"""One rule of a table that Go's plugins write to: of iptables-nft or nft, read over netlink, or as iptables prints it (pure)."""

from cni.address import PROTOCOL_NAMES, Address
from cni.kernel import compat
from cni.kernel.rulespec import meaning, split
from cni.kernel.transaction import IPV4, IPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni.kernel.nftables import Rule as Message

_SIZES = {IPV4: (4,), IPV6: (16,)}
_ADDRESS_OPTIONS = ("-s", "-d")


class Rule:
    """What is asked of a rule, whoever shows it."""

    __slots__ = ("addresses", "chain", "comment", "deletion", "leads_to", "port", "ports", "protocol", "target")
    # the chain that it stands in
    chain: str
    # by what its table deletes it: a handle, or a line for iptables-restore
    deletion: "Any"
    comment: str
    # where it jumps to; DNAT or MASQUERADE for a translation
    target: str
    # ``tcp`` and the like, or the empty text, and the destination ports that it is for
    protocol: str
    ports: "frozenset[int]"
    # the addresses that it compares with, and where a translation leads to, else nothing: bytes
    addresses: "set[bytes]"
    leads_to: bytes
    port: int


class Seen(Rule):
    """A rule over netlink."""

    __slots__ = ()

    def __init__(self, chain: str, rule: "Message") -> None:
        self.chain, self.deletion = chain, rule.handle
        self.comment = compat.comment_of(rule) or rule.comment
        values, sizes = compat.compared(rule), _SIZES.get(rule.message["nfgen_family"], (4, 16))
        self.protocol = next(
            (PROTOCOL_NAMES[one[0]] for one in values if len(one) == 1 and one[0] in PROTOCOL_NAMES), ""
        )
        single = {int.from_bytes(value, "big") for value in values if len(value) == 2}
        self.ports = frozenset(single | compat.ports_of(rule))
        self.addresses = {value for value in values if len(value) in sizes}
        self.target, self.leads_to, self.port = self._does(rule, sizes)

    @staticmethod
    def _does(rule: "Message", sizes: "Sequence[int]") -> "tuple[str, bytes, int]":
        name, information = compat.target_of(rule)
        if name == "DNAT":  # struct nf_nat_range2: flags, then the address, in the room of an IPv6 one each
            return name, information[4 : 4 + sizes[0]], int.from_bytes(information[36:38], "big")
        loaded = compat.loaded(rule)
        address = next((value for value in loaded if len(value) in sizes), b"")
        if address:
            return "DNAT", address, next((int.from_bytes(value, "big") for value in loaded if len(value) == 2), 0)
        masquerades = name == "MASQUERADE" or any(True for _ in rule.expressions("masq"))
        return next(iter(rule.jumps_to()), "MASQUERADE" if masquerades else name), b"", 0


class Printed(Rule):
    """A rule as iptables prints it (``-A CHAIN …``)."""

    __slots__ = ("line", "meaning", "options")

    def __init__(self, line: str) -> None:
        words = split(line)
        self.line, self.deletion = line, f"-D{line[2:]}"
        self.chain = words[1]
        self.meaning = meaning(line)
        self.options = dict(self.meaning)
        # conditions may have another comment behind it
        self.comment = words[words.index("--comment") + 1] if "--comment" in words[:-1] else ""
        self.target = self.options.get("-j", "")
        self.protocol = self.options.get("-p", "")
        ports = self.options.get("--dports", "") or self.options.get("--dport", "")
        self.ports = frozenset(int(port) for port in ports.split(",") if port.isdigit())
        given = (self.options.get(name, "").partition("/")[0] for name in _ADDRESS_OPTIONS)
        self.addresses = {address for address in map(_packed, given) if address}
        host, _, port = self.options.get("--to-destination", "").rpartition(":")
        self.leads_to = _packed(host.strip("[]"))
        self.port = int(port) if port.isdigit() else 0

    @property
    def conditions(self) -> "frozenset[tuple[str, str]]":
        """What an entry rule asks for besides protocol and ports."""
        usual = ("-A", "-j", "-p", "--dports", "--dport", "--comment")
        return frozenset((name, value) for name, value in self.meaning if name not in usual)


def _packed(text: str) -> bytes:
    try:
        return Address.parse(text).packed
    except ValueError:
        return b""
