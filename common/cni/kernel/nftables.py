"""nftables over netlink, without the nft program: a transaction of objects, and single objects fetched by name.

The kernel interface is linux/netfilter/nf_tables.h; messages are pyroute2's (its socket is not used: it starts an
event loop and has no batch of mixed messages). A ``Transaction`` is one batch: all of it comes into force, or nothing.
It prints itself as the script that one would give to ``nft -f``; a test holds the kernel's state against that text.

pyroute2 models some enumerations as sets of flags and the other way round; numbers are given to it there.
"""

import _thread
import os
import struct

from cni.errors import CNIError, TryAgainLater
from cni.kernel import pyroute
from cni.kernel.netlink import F_ACK, F_CREATE, F_DUMP, F_EXCL, NETFILTER, KernelError, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    Expression = tuple[str, list[tuple[str, Any]]]

INET, IPV4, BRIDGE, IPV6 = 1, 2, 7, 10
_FAMILY_NAMES = {INET: "inet", IPV4: "ip", BRIDGE: "bridge", IPV6: "ip6"}
_SUBSYSTEM = 10
_BATCH_BEGIN, _BATCH_END = 16, 17
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _DELCHAIN, _NEWRULE, _GETRULE, _DELRULE = range(9)
_NEWSET, _GETSET, _DELSET, _NEWSETELEM, _GETSETELEM, _DELSETELEM, _NEWGEN, _GETGEN = range(9, 17)
_APPEND = 0x800
ENOENT, EEXIST, EBUSY, ERESTART = 2, 17, 16, 85
# A generation that went by, or a name that somebody else made meanwhile: the caller looks again.
_AGAIN = (ERESTART, EEXIST, EBUSY, ENOENT)
_TRIES = 50
_NLMSG_ERROR = 2
# linux/netfilter/nf_tables.h: a rule's attributes, behind the headers of netlink and of nfnetlink
_RULE_TABLE, _RULE_CHAIN, _RULE_USERDATA, _RULE_HEADER = 1, 2, 7, 20
# Keys a request for elements: their answers fit into a socket's receive buffer.
_AT_ONCE = 24
# Elements a message: an attribute has 64 KiB.
_A_MESSAGE = 150

# hook numbers of the inet, ip and bridge families
PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
_HOOK_NAMES = ("prerouting", "input", "forward", "output", "postrouting")


class Type:
    """A data type: its number and name in nft, its length in bytes."""

    __slots__ = ("length", "name", "number")

    def __init__(self, name: str, number: int, length: int) -> None:
        self.name = name
        self.number = number
        self.length = length

    @property
    def in_host_order(self) -> bool:
        """Whether nft takes a single field of this type for a number of the host's byte order."""
        return self.number in (19, 41)

    def pack(self, value: bytes) -> bytes:
        """A value, padded as fields of a concatenation are (to 4 bytes)."""
        return value.ljust(self.length + 3 & ~3, b"\0")


IPV4_ADDR, IPV6_ADDR = Type("ipv4_addr", 7, 4), Type("ipv6_addr", 8, 16)
ETHER_ADDR, INET_PROTO, INET_SERVICE = Type("ether_addr", 9, 6), Type("inet_proto", 12, 1), Type("inet_service", 13, 2)
MARK, IFNAME = Type("mark", 19, 4), Type("ifname", 41, 16)


# libnftnl's user data of a set: BYTEORDER_HOST_ENDIAN
_HOST_ORDER = struct.pack("=I", 1)


def _number(types: "Sequence[Type]") -> int:
    """A concatenation's type: six bits a field."""
    number = 0
    for each in types:
        number = number << 6 | each.number
    return number


def _length(types: "Sequence[Type]") -> int:
    return types[0].length if len(types) == 1 else sum(each.length + 3 & ~3 for each in types)


def pack(types: "Sequence[Type]", values: "Sequence[bytes]") -> bytes:
    """A key or a datum from the bytes of its fields."""
    if len(types) == 1:
        return values[0].ljust(types[0].length, b"\0")
    return b"".join(each.pack(value) for each, value in zip(types, values, strict=True))


def unpack(types: "Sequence[Type]", data: bytes) -> list[bytes]:
    """The bytes of the fields of a key or a datum."""
    fields, offset = [], 0
    for each in types:
        fields.append(data[offset : offset + each.length])
        offset += each.length + 3 & ~3
    return fields


class SetType:
    """What a set or map holds."""

    __slots__ = ("data", "key")

    def __init__(self, key: "Sequence[Type]", data: "Sequence[Type]" = ()) -> None:
        self.key = tuple(key)
        self.data = tuple(data)

    @property
    def told(self) -> bytes:
        """What nft wants to know to print it: the byte order of a key or a datum that is a single field."""
        sides = enumerate((self.key, self.data))
        single = [number for number, types in sides if len(types) == 1 and types[0].in_host_order]
        return b"".join(bytes([number, 4]) + _HOST_ORDER for number in single)

    def __str__(self) -> str:
        key = " . ".join(each.name for each in self.key)
        return f"{key} : {' . '.join(each.name for each in self.data)}" if self.data else key


class Element:
    """An element as the kernel has it."""

    __slots__ = ("comment", "data", "key")

    def __init__(self, key: bytes, data: bytes, comment: str) -> None:
        self.key = key
        self.data = data
        self.comment = comment


class Rule:
    """A rule as the kernel has it: its handle, its comment, and pyroute2's message for whoever wants more."""

    __slots__ = ("comment", "handle", "message")

    def __init__(self, handle: int, comment: str, message: "Any") -> None:
        self.handle = handle
        self.comment = comment
        self.message = message

    def jumps_to(self) -> list[str]:
        """The chains that the rule jumps or goes to."""
        found = []
        for expression in self.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
            if expression.get_attr("NFTA_EXPR_NAME") == "immediate":
                data = expression.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_IMMEDIATE_DATA")
                verdict = data.get_attr("NFTA_DATA_VERDICT") if data else None
                chain = verdict.get_attr("NFTA_VERDICT_CHAIN") if verdict else None
                if chain:
                    found.append(str(chain))
        return found


class BaseChain:
    """A chain at a hook: the hook's number, and the policy (0 drop, 1 accept)."""

    __slots__ = ("hook", "name", "policy", "table")

    def __init__(self, message: "Any") -> None:
        self.table: str = message.get_attr("NFTA_CHAIN_TABLE")
        self.name: str = message.get_attr("NFTA_CHAIN_NAME")
        self.hook: int = message.get_attr("NFTA_CHAIN_HOOK").get_attr("NFTA_HOOK_HOOKNUM")
        policy = message.get_attr("NFTA_CHAIN_POLICY")
        self.policy: int = 1 if policy is None else policy


class NftablesError(CNIError):
    """A transaction failed; the message names the first object at fault."""

    def __init__(self, msg: str, number: int) -> None:
        super().__init__(msg)
        self.errno = number


def _messages() -> "Any":
    return pyroute.load("pyroute2.netlink.nfnetlink.nftsocket")


def _comment(data: "Any") -> str:
    """A comment out of user data, whether pyroute2 decoded that as a text, a list or not at all."""
    if isinstance(data, str):
        return data.rstrip("\0")
    for kind, value in data if isinstance(data, list) else ():
        if kind.endswith("_COMMENT"):
            return bytes(value).rstrip(b"\0").decode("utf-8", "replace")
    return ""


# expressions: (name, attributes), with the registers that nft itself uses

REG_VERDICT, REG_1, REG_2 = 0, 1, 2
REG32_00 = 8
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_ACCEPT, _DROP, _JUMP, _RETURN = 1, 0, -3, -5
META_IIFNAME, META_NFPROTO, META_L4PROTO = 6, 15, 16
_CT_STATUS, _CT_PROTO_DST, _IPS_DST_NAT = 2, 12, 1 << 5
_RTN_LOCAL, _NAT_DNAT = 2, 1


def meta(key: int, register: int = REG_1) -> "Expression":
    """Load a piece of meta data."""
    return "meta", [("NFTA_META_KEY", key), ("NFTA_META_DREG", register)]


def payload(base: int, offset: int, length: int, register: int = REG_1) -> "Expression":
    """Load bytes of a header: 0 link, 1 network, 2 transport."""
    return "payload", [
        ("NFTA_PAYLOAD_DREG", register),
        ("NFTA_PAYLOAD_BASE", base),
        ("NFTA_PAYLOAD_OFFSET", offset),
        ("NFTA_PAYLOAD_LEN", length),
    ]


def compare(data: bytes, equal: bool = True, register: int = REG_1) -> "Expression":
    """Go on only if the register holds, or does not hold, these bytes."""
    return "cmp", [
        ("NFTA_CMP_SREG", register),
        ("NFTA_CMP_OP", 0 if equal else 1),
        ("NFTA_CMP_DATA", {"attrs": [("NFTA_DATA_VALUE", data)]}),
    ]


def mask(data: bytes, register: int = REG_1) -> "Expression":
    """Keep the bits of the register that are set in ``data``."""
    return "bitwise", [
        ("NFTA_BITWISE_SREG", register),
        ("NFTA_BITWISE_DREG", register),
        ("NFTA_BITWISE_LEN", len(data)),
        ("NFTA_BITWISE_MASK", {"attrs": [("NFTA_DATA_VALUE", data)]}),
        ("NFTA_BITWISE_XOR", {"attrs": [("NFTA_DATA_VALUE", bytes(len(data)))]}),
    ]


def lookup(name: str, register: int = REG_1, into: int | None = None) -> "Expression":
    """Go on only if the register is a key of the set; with ``into`` load the map's datum."""
    attributes: list[tuple[str, Any]] = [("NFTA_LOOKUP_SET", name), ("NFTA_LOOKUP_SREG", register)]
    if into is not None:
        attributes.append(("NFTA_LOOKUP_DREG", into))
    return "lookup", attributes


def _verdict(code: int, chain: str = "") -> "Expression":
    attributes: list[tuple[str, Any]] = [("NFTA_VERDICT_CODE", code)]
    if chain:
        attributes.append(("NFTA_VERDICT_CHAIN", chain))
    data = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": attributes})]}
    return "immediate", [("NFTA_IMMEDIATE_DREG", REG_VERDICT), ("NFTA_IMMEDIATE_DATA", data)]


ACCEPT, DROP, RETURN = _verdict(_ACCEPT), _verdict(_DROP), _verdict(_RETURN)
MASQUERADE: "Expression" = ("masq", [])


def jump(chain: str) -> "Expression":
    """Go on in another chain, and come back."""
    return _verdict(_JUMP, chain)


def to_this_node() -> "list[Expression]":
    """Go on only if the destination is an address of the node (``fib daddr type local``)."""
    # pyroute2 takes the result's number for a set of flags; these two make it 3, the type of the address
    result = ("NFT_FIB_RESULT_UNSPEC", "NFT_FIB_RESULT_OIF")
    fib: Expression = ("fib", [("NFTA_FIB_DREG", REG_1), ("NFTA_FIB_RESULT", result), ("NFTA_FIB_FLAGS", 2)])
    return [fib, compare(struct.pack("=I", _RTN_LOCAL))]


def redirected() -> "list[Expression]":
    """Go on only for connections whose destination was translated (``ct status dnat``)."""
    status: Expression = ("ct", [("NFTA_CT_KEY", _CT_STATUS), ("NFTA_CT_DREG", REG_1)])
    return [status, mask(struct.pack("=I", _IPS_DST_NAT)), compare(bytes(4), equal=False)]


def original_port(register: int) -> "Expression":
    """Load the destination port that the connection was opened with (``ct original proto-dst``)."""
    return "ct", [("NFTA_CT_KEY", _CT_PROTO_DST), ("NFTA_CT_DREG", register), ("NFTA_CT_DIRECTION", 0)]


def destination_port(register: int) -> "Expression":
    """Load the destination port of TCP, UDP, SCTP or DCCP (``th dport``)."""
    return payload(_TRANSPORT_HEADER, 2, 2, register)


def dnat(version: int, address_register: int, port_register: int) -> "Expression":
    """Translate the destination to the address and the port in registers."""
    return "nat", [
        ("NFTA_NAT_TYPE", _NAT_DNAT),
        ("NFTA_NAT_FAMILY", IPV4 if version == 4 else IPV6),
        ("NFTA_NAT_REG_ADDR_MIN", address_register),
        ("NFTA_NAT_REG_PROTO_MIN", port_register),
    ]


def of_family(version: int) -> "list[Expression]":
    """Go on only for IPv4 or IPv6, in a table of the inet family."""
    return [meta(META_NFPROTO), compare(bytes([IPV4 if version == 4 else IPV6]))]


def address(version: int, destination: bool, register: int = REG_1) -> "Expression":
    """Load the source or destination address."""
    if version == 4:
        return payload(_NETWORK_HEADER, 16 if destination else 12, 4, register)
    return payload(_NETWORK_HEADER, 24 if destination else 8, 16, register)


class Transaction:
    """Changes of one table, in order; nothing happens before ``commit``."""

    def __init__(self, family: int, table: str) -> None:
        self.family = family
        self.table = table
        self._steps: list[tuple[int, int, Any, str]] = []

    def __bool__(self) -> bool:
        return bool(self._steps)

    @property
    def _where(self) -> str:
        return f"{_FAMILY_NAMES[self.family]} {self.table}"

    def _step(self, kind: int, flags: int, message: "Any", attributes: "list[tuple[str, Any]]", text: str) -> None:
        message["nfgen_family"] = self.family
        message["attrs"] = attributes
        self._steps.append((kind, flags, message, text))

    def add_table(self, comment: str = "") -> None:
        """Make the table unless it is there."""
        attributes: list[tuple[str, Any]] = [("NFTA_TABLE_NAME", self.table), ("NFTA_TABLE_FLAGS", 0)]
        text = f"add table {self._where}"
        if comment:
            attributes.append(("NFTA_TABLE_USERDATA", {"value": comment}))
            text += f' {{ comment "{comment}" ; }}'
        self._step(_NEWTABLE, F_CREATE, _messages().nft_table_msg(), attributes, text)

    def delete_table(self) -> None:
        """Remove the table with all that is in it."""
        attributes = [("NFTA_TABLE_NAME", self.table)]
        self._step(_DELTABLE, 0, _messages().nft_table_msg(), attributes, f"delete table {self._where}")

    def add_chain(self, name: str, type: str = "", hook: int = 0, priority: int = 0) -> None:
        """Make a chain unless it is there; a base chain if it has a type."""
        attributes: list[tuple[str, Any]] = [("NFTA_CHAIN_TABLE", self.table), ("NFTA_CHAIN_NAME", name)]
        text = f"add chain {self._where} {name}"
        if type:
            at = [("NFTA_HOOK_HOOKNUM", hook), ("NFTA_HOOK_PRIORITY", priority)]
            attributes += [("NFTA_CHAIN_HOOK", {"attrs": at}), ("NFTA_CHAIN_TYPE", type)]
            text += f" {{ type {type} hook {_HOOK_NAMES[hook]} priority {priority} ; }}"
        self._step(_NEWCHAIN, F_CREATE, _messages().nft_chain_msg(), attributes, text)

    def delete_chain(self, name: str) -> None:
        """Remove an empty chain."""
        attributes = [("NFTA_CHAIN_TABLE", self.table), ("NFTA_CHAIN_NAME", name)]
        self._step(_DELCHAIN, 0, _messages().nft_chain_msg(), attributes, f"delete chain {self._where} {name}")

    def flush_chain(self, name: str) -> None:
        """Remove the chain's rules."""
        attributes = [("NFTA_RULE_TABLE", self.table), ("NFTA_RULE_CHAIN", name)]
        self._step(_DELRULE, 0, _messages().nft_rule_msg(), attributes, f"flush chain {self._where} {name}")

    def add_rule(self, chain: str, expressions: "Sequence[Expression]", text: str, comment: str = "") -> None:
        """Append a rule; ``text`` is how nft tells its expressions."""
        listed = [
            {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attributes})]}
            for name, attributes in expressions
        ]
        attributes: list[tuple[str, Any]] = [
            ("NFTA_RULE_TABLE", self.table),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_EXPRESSIONS", listed),
        ]
        text = f"add rule {self._where} {chain} {text}"
        if comment:
            attributes.append(("NFTA_RULE_USERDATA", {"value": comment}))
            text += f' comment "{comment}"'
        self._step(_NEWRULE, F_CREATE | _APPEND, _messages().nft_rule_msg(), attributes, text)

    def delete_rule(self, chain: str, handle: int) -> None:
        """Remove a rule by its handle."""
        attributes = [("NFTA_RULE_TABLE", self.table), ("NFTA_RULE_CHAIN", chain), ("NFTA_RULE_HANDLE", handle)]
        text = f"delete rule {self._where} {chain} handle {handle}"
        self._step(_DELRULE, 0, _messages().nft_rule_msg(), attributes, text)

    def add_set(self, name: str, type: SetType, exclusive: bool = False) -> None:
        """Make a set or map; one that is there is an error if ``exclusive``."""
        attributes: list[tuple[str, Any]] = [
            ("NFTA_SET_TABLE", self.table),
            ("NFTA_SET_NAME", name),
            ("NFTA_SET_FLAGS", ("NFT_SET_MAP",) if type.data else ()),
            ("NFTA_SET_KEY_TYPE", _number(type.key)),
            ("NFTA_SET_KEY_LEN", _length(type.key)),
            ("NFTA_SET_ID", len(self._steps) + 1),
        ]
        if type.data:
            attributes += [("NFTA_SET_DATA_TYPE", _number(type.data)), ("NFTA_SET_DATA_LEN", _length(type.data))]
        if type.told:
            attributes.append(("NFTA_SET_USERDATA", type.told))
        text = f"add {'map' if type.data else 'set'} {self._where} {name} {{ type {type} ; }}"
        flags = F_CREATE | (F_EXCL if exclusive else 0)
        self._step(_NEWSET, flags, _messages().nft_set_msg(), attributes, text)

    def delete_set(self, name: str) -> None:
        """Remove a set or map that no rule uses."""
        attributes = [("NFTA_SET_TABLE", self.table), ("NFTA_SET_NAME", name)]
        self._step(_DELSET, 0, _messages().nft_set_msg(), attributes, f"delete set {self._where} {name}")

    def _element(self, kind: int, flags: int, set_name: str, parts: "list[tuple[str, Any]]", text: str) -> None:
        """One more element; those of one set that follow each other share a message."""
        if self._steps:
            last_kind, _, message, told = self._steps[-1]
            if last_kind == kind and message["attrs"][1][1] == set_name and told.count("\n") < _A_MESSAGE:
                message["attrs"][2][1].append({"attrs": parts})
                self._steps[-1] = (kind, flags, message, f"{told}\n{text}")
                return
        attributes: list[tuple[str, Any]] = [
            ("NFTA_SET_ELEM_LIST_TABLE", self.table),
            ("NFTA_SET_ELEM_LIST_SET", set_name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", [{"attrs": parts}]),
        ]
        self._step(kind, flags, _messages().nft_set_elem_list_msg(), attributes, text)

    def add_element(self, set_name: str, key: bytes, data: bytes = b"", comment: str = "") -> None:
        """Make an element; one that has the key already is an error."""
        parts: list[tuple[str, Any]] = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
        if data:
            parts.append(("NFTA_SET_ELEM_DATA", {"attrs": [("NFTA_DATA_VALUE", data)]}))
        if comment:
            text = comment.encode() + b"\0"
            parts.append(("NFTA_SET_ELEM_USERDATA", bytes([0, len(text)]) + text))
        told = f"add element {self._where} {set_name} {{ {key.hex()}{f' : {data.hex()}' if data else ''} }}"
        self._element(_NEWSETELEM, F_CREATE | F_EXCL, set_name, parts, told)

    def delete_element(self, set_name: str, key: bytes) -> None:
        """Remove the element with this key."""
        parts: list[tuple[str, Any]] = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
        text = f"delete element {self._where} {set_name} {{ {key.hex()} }}"
        self._element(_DELSETELEM, 0, set_name, parts, text)

    def describe(self) -> str:
        """The transaction as a script for nft; keys and data of elements in hexadecimal."""
        return "\n".join(text for _, _, _, text in self._steps)

    def texts(self) -> list[str]:
        """The lines of that script."""
        return self.describe().splitlines()

    def steps(self) -> "list[tuple[int, int, Any, str]]":
        """Message type, flags, message and text of each step."""
        return list(self._steps)


_thread_local = _thread._local()


def here() -> "Nftables":
    """The socket to nf_tables of the namespace that the process is in; one for all effects of a thread, not closed.

    Closing one after a removal waits for the kernel's own tidying (a grace period of RCU, some 10 ms): a process pays
    for that once, at its end, and not at all when it has waited for another reason meanwhile.
    """
    namespace = os.stat("/proc/thread-self/ns/net")
    key = os.getpid(), namespace.st_dev, namespace.st_ino
    held = getattr(_thread_local, "held", None)
    if held is not None and held[0] == key:
        kernel: Nftables = held[1]
        return kernel
    if held is not None:
        held[1].close()
    kernel = Nftables()
    _thread_local.held = key, kernel
    return kernel


class Nftables(Netlink):
    """A socket to nf_tables of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(NETFILTER)
        self._dump: Netlink | None = None
        self._given_up: list[Netlink] = []

    def close(self) -> None:
        """Give the descriptors back; waits for the kernel after a removal."""
        for dump in (*self._given_up, *([self._dump] if self._dump else ())):
            dump.close()
        super().close()

    # transactions

    def commit(self, transaction: Transaction, generation: int | None = None) -> None:
        """Send the batch, and read its faults and the last message's acknowledgement; raises ``NftablesError`` for the first.

        With a ``generation`` it fails with ERESTART if anything has changed since that was read.
        """
        if not transaction:
            return
        data = bytearray(self._bracket(_BATCH_BEGIN, generation))
        told: dict[int, str] = {self._sequence: "the start of the batch"}
        steps = transaction.steps()
        for number, (kind, flags, message, text) in enumerate(steps, 1):
            flags |= F_ACK if number == len(steps) else 0
            data += self.encode(message, _SUBSYSTEM << 8 | kind, flags)
            told[self._sequence] = text.split("\n", 1)[0]
        last = self._sequence
        data += self._bracket(_BATCH_END, None)
        self.make_room(len(data))
        self.send(data)
        self._acknowledge(told, last)

    def _bracket(self, kind: int, generation: int | None) -> bytes:
        self._sequence += 1
        attribute = b"" if generation is None else struct.pack("=HH", 8, 1) + generation.to_bytes(4, "big")
        body = struct.pack("=BB", 0, 0) + _SUBSYSTEM.to_bytes(2, "big") + attribute
        return struct.pack("=IHHII", 16 + len(body), kind, 1, self._sequence, 0) + body

    def _acknowledge(self, told: "dict[int, str]", last: int) -> None:
        """The last message is answered, and those with a fault, unless the whole batch is refused at once."""
        fault: NftablesError | None = None
        while True:
            for answer in self.receive():
                if answer.sequence not in told or answer.kind != 2:
                    continue
                error = answer.error
                if error is not None and fault is None:
                    fault = NftablesError(f"nftables: {told[answer.sequence]}: {error}", error.errno)
                if answer.sequence == last or told[answer.sequence] == "the start of the batch":
                    if fault is not None:
                        self._drain()
                        raise fault
                    return

    def _drain(self) -> None:
        """Drop what the kernel may still have to say about a failed batch."""
        self._socket.setblocking(False)
        try:
            while self._socket.recv(1 << 16):
                pass
        except OSError:
            pass
        finally:
            self._socket.settimeout(20.0)

    def repeatedly(self, change: "Callable[[], None]") -> None:
        """Run ``change`` again while others get in its way, a bounded number of times."""
        for turn in range(_TRIES):
            try:
                change()
            except NftablesError as error:
                if error.errno not in _AGAIN or turn == _TRIES - 1:
                    raise
            else:
                return
        raise TryAgainLater("nftables is changed by others all the time", "try again")

    # single objects

    def generation(self) -> int:
        """The number of the ruleset's present state."""
        message = _messages().nft_gen_msg()
        answers = self.request(message, _SUBSYSTEM << 8 | _GETGEN)
        return int(answers[0].decode(type(message)).get_attr("NFTA_GEN_ID"))

    def _get(
        self, message: "Any", kind: int, family: int, attributes: "list[tuple[str, Any]]", flags: int = 0
    ) -> "list[Any]":
        """What the kernel answers, decoded; nothing where the object, or what it is in, does not exist."""
        message["nfgen_family"] = family
        message["attrs"] = attributes
        try:
            answers = self.request(message, _SUBSYSTEM << 8 | kind, flags)
        except KernelError as error:
            if error.errno == ENOENT:
                return []
            raise
        return [answer.decode(type(message)) for answer in answers]

    def has_table(self, family: int, table: str) -> bool:
        """Whether the table exists."""
        return bool(self._get(_messages().nft_table_msg(), _GETTABLE, family, [("NFTA_TABLE_NAME", table)]))

    def tables(self) -> "set[tuple[int, str]]":
        """Family and name of every table; there are few."""
        found = self._get(_messages().nft_table_msg(), _GETTABLE, 0, [], F_DUMP)
        return {(table["nfgen_family"], table.get_attr("NFTA_TABLE_NAME")) for table in found}

    def chain(self, family: int, table: str, name: str) -> "Any":
        """pyroute2's message of a chain, None if it does not exist."""
        attributes = [("NFTA_CHAIN_TABLE", table), ("NFTA_CHAIN_NAME", name)]
        found = self._get(_messages().nft_chain_msg(), _GETCHAIN, family, attributes)
        return found[0] if found else None

    def chains(self, family: int) -> list[tuple[str, str]]:
        """Table and name of every chain of a family; for GC."""
        found = self._get(_messages().nft_chain_msg(), _GETCHAIN, family, [], F_DUMP)
        return [(chain.get_attr("NFTA_CHAIN_TABLE"), chain.get_attr("NFTA_CHAIN_NAME")) for chain in found]

    def base_chains(self, family: int) -> "list[BaseChain]":
        """The chains of a family that hang at a hook; for STATUS."""
        found = self._get(_messages().nft_chain_msg(), _GETCHAIN, family, [], F_DUMP)
        return [BaseChain(chain) for chain in found if chain.get_attr("NFTA_CHAIN_HOOK") is not None]

    def has_set(self, family: int, table: str, name: str) -> bool:
        """Whether the set or map exists."""
        attributes = [("NFTA_SET_TABLE", table), ("NFTA_SET_NAME", name)]
        return bool(self._get(_messages().nft_set_msg(), _GETSET, family, attributes))

    def sets(self, family: int, table: str) -> list[str]:
        """The names of a table's sets and maps, of which our tables have one a subnet."""
        found = self._get(_messages().nft_set_msg(), _GETSET, family, [("NFTA_SET_TABLE", table)], F_DUMP)
        return [each.get_attr("NFTA_SET_NAME") for each in found if each.get_attr("NFTA_SET_TABLE") == table]

    def rules(self, family: int, table: str, chain: str) -> list[Rule]:
        """The rules of one chain; the kernel looks at no other."""
        attributes = [("NFTA_RULE_TABLE", table), ("NFTA_RULE_CHAIN", chain)]
        rules = []
        for message in self._get(_messages().nft_rule_msg(), _GETRULE, family, attributes, F_DUMP):
            if message.get_attr("NFTA_RULE_CHAIN") == chain:
                rules.append(Rule(message.get_attr("NFTA_RULE_HANDLE"), self._told(message), message))
        return rules

    def rule_comments(self, family: int, table: str) -> "list[tuple[str, str]]":
        """Chain and comment of every rule of a table, in order; of ours, whose rules are few, in every ADD.

        Nothing else of a rule is decoded. Empty where the table does not exist.
        """
        message = _messages().nft_rule_msg()
        message["nfgen_family"] = family
        message["attrs"] = [("NFTA_RULE_TABLE", table)]
        try:
            answers = self.request(message, _SUBSYSTEM << 8 | _GETRULE, F_DUMP)
        except KernelError as error:
            if error.errno == ENOENT:
                return []
            raise
        found = []
        for answer in answers:
            attributes = dict(answer.attributes(_RULE_HEADER))
            data = attributes.get(_RULE_USERDATA, b"")
            comment = data[2 : 2 + data[1]] if len(data) > 2 and data[0] == 0 else b""
            named = attributes.get(_RULE_TABLE, b"").rstrip(b"\0").decode("utf-8", "replace") == table
            if named:
                chain = attributes.get(_RULE_CHAIN, b"").rstrip(b"\0").decode("utf-8", "replace")
                found.append((chain, comment.rstrip(b"\0").decode("utf-8", "replace")))
        return found

    def _told(self, message: "Any") -> str:
        """A rule's comment; user data that is none of nft's has none."""
        for slot in message["attrs"]:
            if slot[0] == "NFTA_RULE_USERDATA":
                nla = slot.nla
                data = bytes(nla.data[nla.offset + 4 : nla.offset + nla.length])
                if len(data) > 2 and data[0] == 0:
                    return data[2 : 2 + data[1]].rstrip(b"\0").decode("utf-8", "replace")
        return ""

    def element(self, family: int, table: str, set_name: str, key: bytes) -> Element | None:
        """The element with this key, None if there is none."""
        parts = [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]
        attributes = [
            ("NFTA_SET_ELEM_LIST_TABLE", table),
            ("NFTA_SET_ELEM_LIST_SET", set_name),
            ("NFTA_SET_ELEM_LIST_ELEMENTS", [{"attrs": parts}]),
        ]
        for message in self._get(_messages().nft_set_elem_list_msg(), _GETSETELEM, family, attributes):
            for found in _elements(message):
                return found
        return None

    def elements_of(
        self, family: int, table: str, set_name: str, keys: "Sequence[bytes]", until_missing: bool = False
    ) -> "list[Element | None]":
        """The elements with these keys, None where there is none; some dozen keys a request.

        ``until_missing`` ends the list with the first None.
        """
        found: list[Element | None] = []
        while len(found) < len(keys):
            asked = keys[len(found) : len(found) + _AT_ONCE]
            answers = self._asked(family, table, set_name, asked)
            found += answers
            if len(answers) < len(asked):  # the kernel stops at the first key that it does not find
                found.append(None)
                if until_missing:
                    break
        return found

    def _asked(self, family: int, table: str, set_name: str, keys: "Sequence[bytes]") -> list[Element]:
        message = _messages().nft_set_elem_list_msg()
        message["nfgen_family"] = family
        message["attrs"] = [
            ("NFTA_SET_ELEM_LIST_TABLE", table),
            ("NFTA_SET_ELEM_LIST_SET", set_name),
            (
                "NFTA_SET_ELEM_LIST_ELEMENTS",
                [{"attrs": [("NFTA_SET_ELEM_KEY", {"attrs": [("NFTA_DATA_VALUE", key)]})]} for key in keys],
            ),
        ]
        sequence = self.send(self.encode(message, _SUBSYSTEM << 8 | _GETSETELEM, F_ACK))
        found: list[Element] = []
        while True:
            for answer in self.receive():
                if answer.sequence != sequence:
                    continue
                if answer.kind == _NLMSG_ERROR:
                    error = answer.error
                    if error is not None and error.errno != ENOENT:
                        raise error
                    return found
                found += _elements(answer.decode(type(message)))

    def elements(self, family: int, table: str, set_name: str) -> list[Element]:
        """Every element of a set; for GC and for CHECK, never in ADD or DEL."""
        attributes = [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", set_name)]
        found: list[Element] = []
        for message in self._get(_messages().nft_set_elem_list_msg(), _GETSETELEM, family, attributes, F_DUMP):
            found += _elements(message)
        return found

    def holds_beside(self, family: int, table: str, set_name: str, keys: "Sequence[bytes]") -> bool:
        """Whether a set has an element with another key than these."""
        known = set(keys)
        return self.holds(family, table, set_name, lambda found: found.key not in known)

    def holds(self, family: int, table: str, set_name: str, wanted: "Callable[[Element], bool]") -> bool:
        """Whether a set has an element that is ``wanted``: the dump is read until one comes, and dropped then."""
        message = _messages().nft_set_elem_list_msg()
        message["nfgen_family"] = family
        message["attrs"] = [("NFTA_SET_ELEM_LIST_TABLE", table), ("NFTA_SET_ELEM_LIST_SET", set_name)]
        # a socket whose dump was given up answers no other; it stays open like that of ``here``
        dump = self._dump or Netlink(NETFILTER)
        self._dump = None
        sequence = dump.send(dump.encode(message, _SUBSYSTEM << 8 | _GETSETELEM, F_DUMP))
        while True:
            for answer in dump.receive():
                if answer.sequence != sequence:
                    continue
                if answer.kind in (2, 3):
                    self._dump = dump
                    return False
                if any(wanted(found) for found in _elements(answer.decode(type(message)))):
                    self._given_up.append(dump)
                    return True


def _elements(message: "Any") -> list[Element]:
    found = []
    for each in message.get_attr("NFTA_SET_ELEM_LIST_ELEMENTS") or ():
        key, data = each.get_attr("NFTA_SET_ELEM_KEY"), each.get_attr("NFTA_SET_ELEM_DATA")
        found.append(
            Element(
                bytes(key.get_attr("NFTA_DATA_VALUE")) if key else b"",
                bytes(data.get_attr("NFTA_DATA_VALUE") or b"") if data else b"",
                _comment(each.get_attr("NFTA_SET_ELEM_USERDATA")),
            )
        )
    return found
