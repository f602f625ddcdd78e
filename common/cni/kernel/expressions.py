"""What the rules of nftables are made of: expressions that load into registers, compare, look up, and decide.

Each is a name and attributes of linux/netfilter/nf_tables.h, in pyroute2's words, with the registers that nft uses.
pyroute2 models some enumerations as sets of flags and the other way round; numbers are given to it there. (pure)
"""

import struct

from cni.kernel.transaction import IPV4, IPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.transaction import Expression

REG_VERDICT, REG_1 = 0, 1
REG32_00 = 8
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
_ACCEPT, _DROP, _JUMP, _RETURN = 1, 0, -3, -5
META_IIF, META_IIFNAME, META_NFPROTO, META_L4PROTO = 4, 6, 15, 16
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
