"""A rule of a table that Go's plugins write to, read over netlink or from iptables' output (pure)."""

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
    """The parts of a rule that matter here."""

    __slots__ = ("addresses", "chain", "comment", "deletion", "leads_to", "port", "ports", "protocol", "target")
    chain: str
    # how to delete it: a handle, or a line for iptables-restore
    deletion: "Any"
    comment: str
    # the chain that it jumps to; DNAT or MASQUERADE for a translation
    target: str
    # a name such as ``tcp``, or empty, and the destination ports
    protocol: str
    ports: "frozenset[int]"
    # the packed addresses that it compares with; the target of a translation, or empty
    addresses: "set[bytes]"
    leads_to: bytes
    port: int

    @property
    def meaning(self) -> "frozenset[tuple[str, str]]":
        """Its options and their values, as in ``rulespec.meaning``."""
        raise NotImplementedError


class Seen(Rule):
    """A rule read over netlink."""

    __slots__ = ("_message",)

    def __init__(self, chain: str, rule: "Message") -> None:
        self._message = rule
        self.chain, self.deletion = chain, rule.handle
        self.comment = compat.comment_of(rule) or rule.comment
        values, sizes = compat.compared(rule), _SIZES.get(rule.message["nfgen_family"], (4, 16))
        numbers = [value[0] for value in values if len(value) == 1]
        self.protocol = next((PROTOCOL_NAMES[number] for number in numbers if number in PROTOCOL_NAMES), "")
        single = {int.from_bytes(value, "big") for value in values if len(value) == 2}
        self.ports = frozenset(single | compat.ports_of(rule))
        self.addresses = {value for value in values if len(value) in sizes}
        self.target, self.leads_to, self.port = self._does(rule, sizes)

    @property
    def meaning(self) -> "frozenset[tuple[str, str]]":
        """Only the parts that rules of Go's firewall have."""
        from cni.kernel.filter_rules import words

        return meaning(f"-A {self.chain} {words(self._message)}")

    @staticmethod
    def _does(rule: "Message", sizes: "Sequence[int]") -> "tuple[str, bytes, int]":
        name, information = compat.target_of(rule)
        if name == "DNAT":  # struct nf_nat_range2: flags, first and last address (16 bytes each), first port
            return name, information[4 : 4 + sizes[0]], int.from_bytes(information[36:38], "big")
        loaded = compat.loaded(rule)
        address = next((value for value in loaded if len(value) in sizes), b"")
        if address:
            return "DNAT", address, next((int.from_bytes(value, "big") for value in loaded if len(value) == 2), 0)
        masquerades = name == "MASQUERADE" or any(True for _ in rule.expressions("masq"))
        return next(iter(rule.jumps_to()), "MASQUERADE" if masquerades else name), b"", 0


class Printed(Rule):
    """A rule as iptables prints it (``-A CHAIN …``)."""

    __slots__ = ("_meaning", "line", "options")

    def __init__(self, line: str) -> None:
        words = split(line)
        self.line, self.deletion = line, f"-D{line[2:]}"
        self.chain = words[1]
        self._meaning = meaning(line)
        self.options = dict(self._meaning)
        # the first comment: conditions may contain another one
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
    def meaning(self) -> "frozenset[tuple[str, str]]":
        """All options."""
        return self._meaning

    @property
    def conditions(self) -> "frozenset[tuple[str, str]]":
        """The conditions of an entry rule besides protocol and ports."""
        usual = ("-A", "-j", "-p", "--dports", "--dport", "--comment")
        return frozenset((name, value) for name, value in self.meaning if name not in usual)


def _packed(text: str) -> bytes:
    try:
        return Address.parse(text).packed
    except ValueError:
        return b""
