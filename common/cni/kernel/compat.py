"""iptables-nft's matches and targets, which are compat expressions: read from others' rules, made for our own (pure).

The few matches that are looked at here are known by name.
"""

import struct
import sys

from cni.kernel.expressions import Expression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.nftables import Rule

# XT_MAX_COMMENT_LEN
_COMMENT_ROOM = 256
_RTN_LOCAL = 2
# iptables' words for a rule have no counter
COUNTER = Expression("", [("counter", [("NFTA_COUNTER_BYTES", 0), ("NFTA_COUNTER_PACKETS", 0)])])


def _extension(text: str, name: str, revision: int, info: bytes) -> Expression:
    """A match or a target, with iptables' words for it."""
    kind = "match" if text.startswith("-m") else "target"
    word = kind.upper()
    parts = [(f"NFTA_{word}_NAME", name), (f"NFTA_{word}_REV", revision), (f"NFTA_{word}_INFO", info)]
    return Expression(text, [(kind, parts)])


def comment(text: str) -> Expression:
    """A rule's comment."""
    return _extension(f'-m comment --comment "{text}"', "comment", 0, text.encode().ljust(_COMMENT_ROOM, b"\0"))


def to_this_node() -> Expression:
    """The destination is an address of the node: struct xt_addrtype_info_v1."""
    info = struct.pack("=HHI", 0, 1 << _RTN_LOCAL, 0)
    return _extension("-m addrtype --dst-type LOCAL", "addrtype", 1, info)


def set_mark(mark: int) -> Expression:
    """Set these bits of the mark: struct xt_mark_tginfo2."""
    return _extension(f"-j MARK --set-xmark {mark:#x}/{mark:#x}", "MARK", 2, struct.pack("=II", mark, mark))


def _value(attribute: "object") -> bytes:
    """The bytes of an attribute; pyroute2 shows those of a kind it does not know as hexadecimal digits."""
    if isinstance(attribute, str):
        return bytes.fromhex(attribute.replace(":", ""))
    return bytes(attribute)  # type: ignore[call-overload, no-any-return]


def _match(rule: "Rule", name: str) -> bytes:
    """The information of a rule's compat match, empty where it has none of that name."""
    for match in rule.expressions("match"):
        if match.get_attr("NFTA_MATCH_NAME") == name:
            return _value(match.get_attr("NFTA_MATCH_INFO"))
    return b""


def comment_of(rule: "Rule") -> str:
    """The text of a rule's comment match, the empty text where it has none."""
    return _match(rule, "comment").split(b"\0")[0].decode("utf-8", "replace")


def _values(rule: "Rule", name: str, attribute: str) -> "set[bytes]":
    """The values that expressions of one name hold in an attribute."""
    found = set()
    for expression in rule.expressions(name):
        data = expression.get_attr(attribute)
        value = data.get_attr("NFTA_DATA_VALUE") if data else None
        if value:
            found.add(_value(value))
    return found


def compared(rule: "Rule") -> "set[bytes]":
    """The values that a rule compares with: its source address is one of them."""
    return _values(rule, "cmp", "NFTA_CMP_DATA")


def loaded(rule: "Rule") -> "set[bytes]":
    """The values that a rule loads: where a native translation leads to is one of them."""
    return _values(rule, "immediate", "NFTA_IMMEDIATE_DATA")


def target_of(rule: "Rule") -> "tuple[str, bytes]":
    """Name and information of a rule's compat target (``DNAT``), empty where it has none."""
    for target in rule.expressions("target"):
        return str(target.get_attr("NFTA_TARGET_NAME")), _value(target.get_attr("NFTA_TARGET_INFO") or b"")
    return "", b""


def ports_of(rule: "Rule") -> "set[int]":
    """The destination ports that a rule is for by compat matches: multiport, and those that iptables has for a protocol.

    struct xt_multiport_v1: flags, count, 15 ports; struct xt_tcp and xt_udp: first and last source port, then
    destination port, xt_sctp_info and xt_dccp_info the other way round; all in the host's order.
    """
    listed = _match(rule, "multiport")
    count = listed[1] if len(listed) > 1 else 0
    found = {int.from_bytes(listed[at : at + 2], sys.byteorder) for at in range(2, 2 + 2 * count, 2)}
    for name, at in (("tcp", 4), ("udp", 4), ("sctp", 0), ("dccp", 0)):
        single = _match(rule, name)
        if len(single) >= 8 and single[at : at + 2] == single[at + 2 : at + 4]:
            found.add(int.from_bytes(single[at : at + 2], sys.byteorder))
    return found
