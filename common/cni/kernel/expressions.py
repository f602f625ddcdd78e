"""What the rules of nftables are made of: expressions that load parts of a packet, compare, look up, and decide.

Each is encoded for the kernel, by linux/netfilter/nf_tables.h in pyroute2's words and with the registers that nft uses,
and prints itself in nft's words. pyroute2 models some enumerations as sets of flags and the other way round; numbers are
given to it there. (pure)
"""

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni.address import Prefix

    # its name, and its attributes
    Encoded = tuple[str, list[tuple[str, Any]]]

_REG_VERDICT, _REG_1, _REG32_00 = 0, 1, 8
# registers of four bytes that a concatenated key may fill; a datum that is looked up goes behind them
_KEY_ROOM = 8
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = range(3)
_FAMILIES, _WORDS = {4: 2, 6: 10}, {4: "ip", 6: "ip6"}
_EQUAL, _NOT_EQUAL = 0, 1
_RTN_LOCAL, _NAT_DNAT, _MARK = 2, 1, 3
_ACCEPT, _DROP, _JUMP, _RETURN = 1, 0, -3, -5


def _encoded(kind: str, **attributes: "Any") -> "Encoded":
    """One of the kernel's expressions; the attributes by the rest of their names."""
    return kind, [(f"NFTA_{kind.upper()}_{name}", value) for name, value in attributes.items()]


def _value(data: bytes) -> "dict[str, Any]":
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


class Expression:
    """One or several of the kernel's expressions that nft shows as one; ``version`` is that of the IP header it reads."""

    __slots__ = ("encoded", "text", "version")

    def __init__(self, text: str, encoded: "Sequence[Encoded]", version: int = 0) -> None:
        self.text = text
        self.encoded = encoded
        self.version = version

    def __str__(self) -> str:
        return self.text


class Field:
    """A part of a packet, or of what is known about it: nft's name, its length in bytes, what loads it."""

    __slots__ = ("_load", "_mask", "length", "text", "version")

    def __init__(
        self, text: str, length: int, load: "tuple[str, dict[str, Any]]", version: int = 0, mask: bytes = b""
    ) -> None:
        """``load`` is the expression without its register; ``mask`` keeps some bits of what it loads."""
        self.text = text
        self.length = length
        self._load = load
        self.version = version
        self._mask = mask

    def masked(self, mask: bytes, text: str) -> "Field":
        """The bits of the field that the mask keeps; ``text`` is nft's of the mask."""
        return Field(f"{self.text} & {text}", self.length, self._load, self.version, mask)

    def load(self, register: int = _REG_1) -> "list[Encoded]":
        """The expressions that load it."""
        kind, attributes = self._load
        load = _encoded(kind, **attributes, DREG=register)
        return [load, _mask(self._mask, register)] if self._mask else [load]


def _meta(text: str, key: int, length: int) -> Field:
    return Field(text, length, ("meta", {"KEY": key}))


def _header(text: str, base: int, offset: int, length: int, version: int = 0) -> Field:
    return Field(text, length, ("payload", {"BASE": base, "OFFSET": offset, "LEN": length}), version)


def _connection(text: str, key: int, length: int, **more: int) -> Field:
    return Field(text, length, ("ct", {"KEY": key, **more}))


INTERFACE, INTERFACE_NAME = _meta("iif", 4, 4), _meta("iifname", 6, 16)
PROTOCOL, _FAMILY, MARK = _meta("meta l4proto", 16, 1), _meta("meta nfproto", 15, 1), _meta("meta mark", _MARK, 4)
SOURCE_MAC = _header("ether saddr", _LINK_HEADER, 6, 6)
# of TCP, UDP, SCTP and DCCP
DESTINATION_PORT = _header("th dport", _TRANSPORT_HEADER, 2, 2)
SOURCE = {4: _header("ip saddr", _NETWORK_HEADER, 12, 4, 4), 6: _header("ip6 saddr", _NETWORK_HEADER, 8, 16, 6)}
DESTINATION = {4: _header("ip daddr", _NETWORK_HEADER, 16, 4, 4), 6: _header("ip6 daddr", _NETWORK_HEADER, 24, 16, 6)}
# the destination port that the connection was opened with
ORIGINAL_PORT = _connection("ct original proto-dst", 12, 2, DIRECTION=0)


def _mask(data: bytes, register: int = _REG_1) -> "Encoded":
    mask, xor = _value(data), _value(bytes(len(data)))
    return _encoded("bitwise", SREG=register, DREG=register, LEN=len(data), MASK=mask, XOR=xor)


def _compared(data: bytes, equal: bool = True) -> "Encoded":
    return _encoded("cmp", SREG=_REG_1, OP=_EQUAL if equal else _NOT_EQUAL, DATA=_value(data))


# conditions: the rule goes on only if they are met


def compare(field: Field, data: bytes, text: str, equal: bool = True) -> Expression:
    """The field has this value, or has not; ``text`` is nft's of the value."""
    operator = "" if equal else "!= "
    return Expression(f"{field.text} {operator}{text}", [*field.load(), _compared(data, equal)], field.version)


def within(field: Field, network: "Prefix", inside: bool = True) -> Expression:
    """The address is one of a network, or is not."""
    whole = network.length == network.address.bits
    load = (field if whole else field.masked(network.netmask.packed, "")).load()
    text = f"{field.text} {'' if inside else '!= '}{network}"
    return Expression(text, [*load, _compared(network.address.packed, inside)], field.version)


def is_in(name: str, *fields: Field) -> Expression:
    """The fields together are a key of the set."""
    text, load = _key(fields)
    register = _REG_1 if len(fields) == 1 else _REG32_00
    lookup = _encoded("lookup", SET=name, SREG=register)
    return Expression(f"{text} @{name}", [*load, lookup], max(field.version for field in fields))


def _key(fields: "Sequence[Field]") -> "tuple[str, list[Encoded]]":
    """Fields side by side, each in registers of four bytes of its own."""
    load: list[Encoded] = []
    register = _REG32_00 if len(fields) > 1 else _REG_1
    for field in fields:
        load += field.load(register)
        register += field.length + 3 >> 2
    return " . ".join(field.text for field in fields), load


def of_family(version: int) -> Expression:
    """The packet is of IPv4, or of IPv6, in a table of the inet family."""
    return compare(_FAMILY, bytes([_FAMILIES[version]]), f"ipv{version}")


def _flag(field: Field, bit: int, text: str) -> Expression:
    """A bit of the field is set."""
    load = [*field.load(), _mask(struct.pack("=I", bit)), _compared(bytes(4), equal=False)]
    return Expression(f"{field.text} {text}", load)


# the connection's destination was translated
REDIRECTED = _flag(_connection("ct status", 2, 4), 1 << 5, "dnat")
# connection tracking cannot place the packet
INVALID = _flag(_connection("ct state", 0, 4), 1, "invalid")
# the destination is an address of the node; pyroute2 takes the result's number for a set of flags, and these two make
# it 3, the type of the address
_RESULT = ("NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF")
_KIND = Field("fib daddr type", 4, ("fib", {"RESULT": _RESULT, "FLAGS": 2}))
TO_THIS_NODE = compare(_KIND, struct.pack("=I", _RTN_LOCAL), "local")


def marked(bits: int, all_of_them: bool) -> Expression:
    """The packet's mark has all of these bits, or not all of them."""
    number = struct.pack("=I", bits)
    field = MARK.masked(number, f"{bits:#x}")
    return compare(field, number, f"{bits:#x}", all_of_them)


# statements: the rule does something


def unmark(bits: int) -> Expression:
    """Clear these bits of the packet's mark."""
    left = ~bits & 0xFFFFFFFF
    store = _encoded("meta", KEY=_MARK, SREG=_REG_1)
    field = MARK.masked(struct.pack("=I", left), f"{left:#010x}")
    return Expression(f"{MARK.text} set {field.text}", [*field.load(), store])


def dnat(version: int, name: str, *fields: Field) -> Expression:
    """Translate the destination to the address and the port that the map has for these fields."""
    text, load = _key(fields)
    into = _REG32_00 + _KEY_ROOM
    lookup = _encoded("lookup", SET=name, SREG=_REG32_00, DREG=into)
    port, family = into + (SOURCE[version].length >> 2), _FAMILIES[version]
    nat = _encoded("nat", TYPE=_NAT_DNAT, FAMILY=family, REG_ADDR_MIN=into, REG_PROTO_MIN=port)
    return Expression(f"dnat {_WORDS[version]} to {text} map @{name}", [*load, lookup, nat], version)


def _verdict(word: str, code: int, chain: str = "") -> Expression:
    attributes: list[tuple[str, Any]] = [("NFTA_VERDICT_CODE", code)]
    if chain:
        attributes.append(("NFTA_VERDICT_CHAIN", chain))
    data = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": attributes})]}
    decided = _encoded("immediate", DREG=_REG_VERDICT, DATA=data)
    return Expression(f"{word} {chain}" if chain else word, [decided])


ACCEPT, DROP, RETURN = _verdict("accept", _ACCEPT), _verdict("drop", _DROP), _verdict("return", _RETURN)
MASQUERADE = Expression("masquerade", [("masq", [])])


def jump(chain: str) -> Expression:
    """Go on in another chain, and come back."""
    return _verdict("jump", _JUMP, chain)


def beginning_of_jump(chain: str) -> bytes:
    """What a rule's message has where it jumps to a chain whose name begins so."""
    return struct.pack("=H", 2) + chain.encode()


def printed(expressions: "Sequence[Expression]") -> str:
    """nft's text of a rule; it leaves a family out that follows from the rest."""
    implied = {of_family(each.version).text for each in expressions if each.version}
    return " ".join(each.text for each in expressions if each.text and each.text not in implied)
