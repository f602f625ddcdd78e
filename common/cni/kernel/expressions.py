"""Expressions, the parts of nftables' rules: they load parts of a packet, compare, look up, and decide (pure).

Each is encoded for the kernel (linux/netfilter/nf_tables.h) with pyroute2's names and nft's registers, and printed in
nft's words. pyroute2 treats some enumerations as sets of flags and vice versa; there we pass numbers.
"""

import struct

from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cni.address import Prefix

    # name and attributes
    Encoded = tuple[str, list[tuple[str, Any]]]

_REG_VERDICT, _REG_1, _REG32_00 = 0, 1, 8
# registers of four bytes for a concatenated key; the result of a look-up goes behind them
_KEY_ROOM = 8
_LINK_HEADER, _NETWORK_HEADER, _TRANSPORT_HEADER = range(3)
_FAMILIES, _WORDS = {4: 2, 6: 10}, {4: "ip", 6: "ip6"}
_EQUAL, _NOT_EQUAL = 0, 1
_RTN_LOCAL, _NAT_DNAT, _MARK = 2, 1, 3
_ACCEPT, _DROP, _JUMP, _RETURN = 1, 0, -3, -5


def _encoded(kind: str, **attributes: "Any") -> "Encoded":
    """One of the kernel's expressions; attributes have pyroute2's names without ``NFTA_…_``."""
    return kind, [(f"NFTA_{kind.upper()}_{name}", value) for name, value in attributes.items()]


def _value(data: bytes) -> "dict[str, Any]":
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


class Expression(Declared):
    """Expressions of the kernel that nft prints as one; ``version`` is 4 or 6 if they read an IP header."""

    text: str
    encoded: "Sequence[Encoded]"
    version: int = 0

    def __str__(self) -> str:
        return self.text


class Field(Declared):
    """A field of a packet or of its metadata: nft's name, length in bytes, and the expression that loads it."""

    text: str
    length: int
    # without its register
    expression: "tuple[str, dict[str, Any]]"
    version: int = 0
    # selects bits of the value
    mask: bytes = b""

    def masked(self, mask: bytes, text: str) -> "Field":
        """The field with only the bits of the mask; ``text`` is nft's text of the mask."""
        return Field(f"{self.text} & {text}", self.length, self.expression, self.version, mask)

    def load(self, register: int = _REG_1) -> "list[Encoded]":
        """The expressions that load it."""
        kind, attributes = self.expression
        load = _encoded(kind, **attributes, DREG=register)
        return [load, _mask(self.mask, register)] if self.mask else [load]


def _meta(text: str, key: int, length: int) -> Field:
    return Field(text, length, ("meta", {"KEY": key}))


def _header(text: str, base: int, offset: int, length: int, version: int = 0) -> Field:
    return Field(text, length, ("payload", {"BASE": base, "OFFSET": offset, "LEN": length}), version)


def _connection(text: str, key: int, length: int, **more: int) -> Field:
    return Field(text, length, ("ct", {"KEY": key, **more}))


INTERFACE, INTERFACE_NAME, OUTGOING_NAME = _meta("iif", 4, 4), _meta("iifname", 6, 16), _meta("oifname", 7, 16)
PROTOCOL, _FAMILY, MARK = _meta("meta l4proto", 16, 1), _meta("meta nfproto", 15, 1), _meta("meta mark", _MARK, 4)
# the protocol in a frame
ETHER_TYPE = _meta("meta protocol", 1, 2)
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


# conditions: the rule ends where one is false


def compare(field: Field, data: bytes, text: str, equal: bool = True) -> Expression:
    """The field has this value, or not; ``text`` is nft's text of the value."""
    operator = "" if equal else "!= "
    return Expression(f"{field.text} {operator}{text}", [*field.load(), _compared(data, equal)], field.version)


def within(field: Field, network: "Prefix", inside: bool = True) -> Expression:
    """The address is in a network, or not."""
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
    """Concatenated fields: each begins at a register of four bytes."""
    load: list[Encoded] = []
    register = _REG32_00 if len(fields) > 1 else _REG_1
    for field in fields:
        load += field.load(register)
        register += field.length + 3 >> 2
    return " . ".join(field.text for field in fields), load


def of_family(version: int) -> Expression:
    """The packet is IPv4, or IPv6, in a table of the inet family."""
    return compare(_FAMILY, bytes([_FAMILIES[version]]), f"ipv{version}")


def _flag(field: Field, bit: int, text: str) -> Expression:
    """A bit of the field is set."""
    load = [*field.load(), _mask(struct.pack("=I", bit)), _compared(bytes(4), equal=False)]
    return Expression(f"{field.text} {text}", load)


# the connection's destination was translated
REDIRECTED = _flag(_connection("ct status", 2, 4), 1 << 5, "dnat")
# connection tracking cannot place the packet
INVALID = _flag(_connection("ct state", 0, 4), 1, "invalid")
# connection tracking knows the connection
CONNECTED = _flag(_connection("ct state", 0, 4), 2 | 4, "established,related")
# the destination is an address of the node; pyroute2 treats the result's number as flags: these two make 3, the type of
# the address
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
    kept = ~bits & 0xFFFFFFFF
    store = _encoded("meta", KEY=_MARK, SREG=_REG_1)
    field = MARK.masked(struct.pack("=I", kept), f"{kept:#010x}")
    return Expression(f"{MARK.text} set {field.text}", [*field.load(), store])


def mark(bits: int) -> Expression:
    """Set these bits of the packet's mark."""
    kept, new = _value(struct.pack("=I", ~bits & 0xFFFFFFFF)), _value(struct.pack("=I", bits))
    change = _encoded("bitwise", SREG=_REG_1, DREG=_REG_1, LEN=4, MASK=kept, XOR=new)
    store = _encoded("meta", KEY=_MARK, SREG=_REG_1)
    return Expression(f"{MARK.text} set {MARK.text} | {bits:#010x}", [*MARK.load(), change, store])


def dnat(version: int, name: str, *fields: Field) -> Expression:
    """Translate the destination to the address and port that the map has for these fields."""
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
    """Continue in another chain, and return."""
    return _verdict("jump", _JUMP, chain)


def beginning_of_jump(chain: str) -> bytes:
    """The bytes in a rule's message if it jumps to a chain whose name begins with this text."""
    return struct.pack("=H", 2) + chain.encode()


def printed(expressions: "Sequence[Expression]") -> str:
    """nft's text of a rule; like nft, it omits a family that follows from other expressions."""
    implied = {of_family(each.version).text for each in expressions if each.version}
    return " ".join(each.text for each in expressions if each.text and each.text not in implied)
