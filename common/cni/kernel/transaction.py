"""A transaction of nftables: changes of one table, and perhaps of others, that take effect together or not at all.

It can be printed as a script for ``nft -f``; a test compares the kernel's state with that script. Messages are
pyroute2's (linux/netfilter/nf_tables.h). Nothing here talks to the kernel; ``nftables`` commits it.
"""

import struct

from cni.kernel import pyroute
from cni.kernel.expressions import printed
from cni.kernel.netlink import F_APPEND, F_CREATE, F_NEW, F_NONREC
from cni.settings import Declared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from cni.kernel.expressions import Expression

INET, IPV4, BRIDGE, IPV6 = 1, 2, 7, 10
_FAMILY_NAMES = {INET: "inet", IPV4: "ip", BRIDGE: "bridge", IPV6: "ip6"}
SUBSYSTEM = 10
# What messages are about, in the order of their types: each has a type for NEW, one for GET and one for DELETE.
_OBJECTS = ("TABLE", "CHAIN", "RULE", "SET", "SET_ELEM_LIST", "GEN")
NEW, GET, DELETE = range(3)
# The most elements in a message, because an attribute has at most 64 KiB.
_A_MESSAGE = 150

# hook numbers of the inet, ip and bridge families
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
_HOOK_NAMES = ("prerouting", "input", "forward", "output", "postrouting")


class Type(Declared):
    """A data type: its name and number in nft, its length in bytes."""

    name: str
    number: int
    length: int


IPV4_ADDR, IPV6_ADDR = Type("ipv4_addr", 7, 4), Type("ipv6_addr", 8, 16)
ETHER_ADDR, INET_PROTO, INET_SERVICE = Type("ether_addr", 9, 6), Type("inet_proto", 12, 1), Type("inet_service", 13, 2)
MARK, IFINDEX, IFNAME = Type("mark", 19, 4), Type("iface_index", 20, 4), Type("ifname", 41, 16)
# by IP version: the type of an address, and nft's word for the header
ADDRESS, WORD = {4: IPV4_ADDR, 6: IPV6_ADDR}, {4: "ip", 6: "ip6"}


# types that nft reads in the host's byte order if they are a single field; libnftnl's user data for that
_IN_HOST_ORDER, _BYTEORDER_HOST_ENDIAN = (MARK, IFINDEX, IFNAME), struct.pack("=I", 1)


def _number(types: "Sequence[Type]") -> int:
    """The type number of a concatenation: six bits for each field."""
    number = 0
    for each in types:
        number = number << 6 | each.number
    return number


def _length(types: "Sequence[Type]") -> int:
    return types[0].length if len(types) == 1 else sum(each.length + 3 & ~3 for each in types)


def pack(types: "Sequence[Type]", values: "Sequence[bytes]") -> bytes:
    """A key or value of an element from the bytes of its fields."""
    if len(types) == 1:
        return values[0].ljust(types[0].length, b"\0")
    return b"".join(value.ljust(each.length + 3 & ~3, b"\0") for each, value in zip(types, values, strict=True))


def unpack(types: "Sequence[Type]", data: bytes) -> list[bytes]:
    """The bytes of the fields of an element's key or value."""
    fields, offset = [], 0
    for each in types:
        fields.append(data[offset : offset + each.length])
        offset += each.length + 3 & ~3
    return fields


class SetType:
    """The types of the keys of a set, and of the values of a map."""

    __slots__ = ("data", "key")

    def __init__(self, key: "Sequence[Type]", data: "Sequence[Type]" = ()) -> None:
        self.key = tuple(key)
        self.data = tuple(data)

    @property
    def user_data(self) -> bytes:
        """User data for nft, which it needs for printing: the byte order of keys and values with a single field."""
        sides = enumerate((self.key, self.data))
        single = [number for number, types in sides if len(types) == 1 and types[0] in _IN_HOST_ORDER]
        return b"".join(bytes([number, 4]) + _BYTEORDER_HOST_ENDIAN for number in single)

    def __str__(self) -> str:
        key = " . ".join(each.name for each in self.key)
        return f"{key} : {' . '.join(each.name for each in self.data)}" if self.data else key


def message_type(action: int, what: str) -> int:
    """The type of a message that makes (NEW), reads or removes an object."""
    return SUBSYSTEM << 8 | 3 * _OBJECTS.index(what) + action


def message(what: str, family: int, attributes: "Iterable[tuple[str, Any]]") -> "Any":
    """A message of pyroute2's about a TABLE, CHAIN, RULE, SET or SET_ELEM_LIST; attributes without ``NFTA_<what>_``."""
    classes = pyroute.load("pyroute2.netlink.nfnetlink.nftsocket")
    named = ((f"NFTA_{what}_{name}", value) for name, value in attributes)
    return pyroute.message(getattr(classes, f"nft_{what.lower()}_msg"), named, nfgen_family=family)


class Transaction:
    """Changes of one table, in order, for ``Nftables.commit``; ``of`` is for other tables in the same transaction."""

    def __init__(self, family: int, table: str) -> None:
        self.family = family
        self.table = table
        self._steps: list[tuple[int, int, Any, str]] = []

    def __bool__(self) -> bool:
        return bool(self._steps)

    def of(self, family: int, table: str) -> "Transaction":
        """This transaction for another table: steps added there are steps of this one."""
        other = Transaction(family, table)
        other._steps = self._steps
        return other

    @property
    def _where(self) -> str:
        return f"{_FAMILY_NAMES[self.family]} {self.table}"

    def _step(self, action: int, flags: int, what: str, attributes: "Sequence[tuple[str, Any]]", text: str) -> None:
        named = [("NAME" if what == "TABLE" else "TABLE", self.table), *attributes]
        self._steps.append((message_type(action, what), flags, message(what, self.family, named), text))

    def add_table(self, comment: str = "") -> None:
        """Make the table unless it exists."""
        text = f"add table {self._where}" + (f' {{ comment "{comment}" ; }}' if comment else "")
        attributes = [("FLAGS", 0), ("USERDATA", {"value": comment} if comment else None)]
        self._step(NEW, F_CREATE, "TABLE", attributes, text)

    def delete_table(self) -> None:
        """Remove the table with its content."""
        self._step(DELETE, 0, "TABLE", [], f"delete table {self._where}")

    def add_chain(self, name: str, type: str = "", hook: int = 0, priority: int = 0) -> None:
        """Make a chain unless it exists; with a ``type``, a base chain."""
        attributes: list[tuple[str, Any]] = [("NAME", name)]
        text = f"add chain {self._where} {name}"
        if type:
            at = [("NFTA_HOOK_HOOKNUM", hook), ("NFTA_HOOK_PRIORITY", priority)]
            attributes += [("HOOK", {"attrs": at}), ("TYPE", type)]
            text += f" {{ type {type} hook {_HOOK_NAMES[hook]} priority {priority} ; }}"
        self._step(NEW, F_CREATE, "CHAIN", attributes, text)

    def delete_chain(self, name: str) -> None:
        """Remove an empty chain; fails if it has a rule, or a rule jumps to it."""
        self._step(DELETE, F_NONREC, "CHAIN", [("NAME", name)], f"delete chain {self._where} {name}")

    def flush_chain(self, name: str) -> None:
        """Remove the chain's rules."""
        self._step(DELETE, 0, "RULE", [("CHAIN", name)], f"flush chain {self._where} {name}")

    def add_rule(self, chain: str, expressions: "Sequence[Expression]", comment: str = "", first: bool = False) -> None:
        """Append a rule, or insert it ``first``."""
        listed = [
            {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attributes})]}
            for expression in expressions
            for name, attributes in expression.encoded
        ]
        attributes = [("CHAIN", chain), ("EXPRESSIONS", listed), ("USERDATA", {"value": comment} if comment else None)]
        text = f"{'insert' if first else 'add'} rule {self._where} {chain} {printed(expressions)}"
        text += f' comment "{comment}"' if comment else ""
        self._step(NEW, F_CREATE | (0 if first else F_APPEND), "RULE", attributes, text)

    def delete_rule(self, chain: str, handle: int) -> None:
        """Remove a rule by its handle."""
        text = f"delete rule {self._where} {chain} handle {handle}"
        self._step(DELETE, 0, "RULE", [("CHAIN", chain), ("HANDLE", handle)], text)

    def add_set(self, name: str, type: SetType) -> None:
        """Make a set or map unless it exists."""
        attributes: list[tuple[str, Any]] = [("NAME", name), ("FLAGS", ("NFT_SET_MAP",) if type.data else ())]
        attributes += [("KEY_TYPE", _number(type.key)), ("KEY_LEN", _length(type.key)), ("ID", len(self._steps) + 1)]
        if type.data:
            attributes += [("DATA_TYPE", _number(type.data)), ("DATA_LEN", _length(type.data))]
        attributes.append(("USERDATA", type.user_data or None))
        text = f"add {'map' if type.data else 'set'} {self._where} {name} {{ type {type} ; }}"
        self._step(NEW, F_CREATE, "SET", attributes, text)

    def delete_set(self, name: str) -> None:
        """Remove a set or map that no rule uses."""
        self._step(DELETE, 0, "SET", [("NAME", name)], f"delete set {self._where} {name}")

    def _element(self, action: int, flags: int, set_name: str, parts: "list[tuple[str, Any]]", text: str) -> None:
        """Add or remove an element; consecutive ones of one set share a message."""
        if self._steps:
            kind, _, last, before = self._steps[-1]
            same = kind == message_type(action, "SET_ELEM_LIST") and last["attrs"][1][1] == set_name
            if same and before.count("\n") < _A_MESSAGE:
                last["attrs"][2][1].append({"attrs": parts})
                self._steps[-1] = (kind, flags, last, f"{before}\n{text}")
                return
        self._step(action, flags, "SET_ELEM_LIST", [("SET", set_name), ("ELEMENTS", [{"attrs": parts}])], text)

    def add_element(self, set_name: str, key: bytes, data: bytes = b"", comment: str = "") -> None:
        """Make an element; fails if the key exists."""
        parts: list[tuple[str, Any]] = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
        if data:
            parts.append(("NFTA_SET_ELEM_DATA", {"attrs": [("NFTA_DATA_VALUE", data)]}))
        if comment:
            words = comment.encode() + b"\0"
            parts.append(("NFTA_SET_ELEM_USERDATA", bytes([0, len(words)]) + words))
        text = f"add element {self._where} {set_name} {{ {key.hex()}{f' : {data.hex()}' if data else ''} }}"
        self._element(NEW, F_NEW, set_name, parts, text)

    def delete_element(self, set_name: str, key: bytes) -> None:
        """Remove the element with this key."""
        parts: list[tuple[str, Any]] = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
        text = f"delete element {self._where} {set_name} {{ {key.hex()} }}"
        self._element(DELETE, 0, set_name, parts, text)

    def describe(self) -> str:
        """The transaction as a script for nft; keys and values of elements are hexadecimal."""
        return "\n".join(text for _, _, _, text in self._steps)

    def steps(self) -> "list[tuple[int, int, Any, str]]":
        """Message type, flags, message and text of each step."""
        return list(self._steps)
