"""Matches and targets of iptables-nft, which are compat expressions: read from rules, and made for our own (pure)."""

import struct
import sys

from cni.kernel.expressions import Expression

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.kernel.nftables import Rule

# XT_MAX_COMMENT_LEN
_COMMENT_ROOM = 256
_RTN_LOCAL = 2
# a rule as iptables prints it has no word for its counter
COUNTER = Expression("", [("counter", [("NFTA_COUNTER_BYTES", 0), ("NFTA_COUNTER_PACKETS", 0)])])


def _extension(text: str, name: str, revision: int, info: bytes) -> Expression:
    """A match or a target; ``text`` is iptables' for it."""
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


def value(attribute: "object") -> bytes:
    """The bytes of an attribute; pyroute2 gives hexadecimal digits for a type that it does not know."""
    if isinstance(attribute, str):
        return bytes.fromhex(attribute.replace(":", ""))
    return bytes(attribute)  # type: ignore[call-overload, no-any-return]


def _match(rule: "Rule", name: str) -> bytes:
    """The data of a rule's match with this name, empty if it has none."""
    for match in rule.expressions("match"):
        if match.get_attr("NFTA_MATCH_NAME") == name:
            return value(match.get_attr("NFTA_MATCH_INFO"))
    return b""


def comment_of(rule: "Rule") -> str:
    """The text of a rule's comment match, empty if it has none."""
    return _match(rule, "comment").split(b"\0")[0].decode("utf-8", "replace")


def _values(rule: "Rule", name: str, attribute: str) -> "set[bytes]":
    """The values in an attribute of the rule's expressions with this name."""
    found = set()
    for expression in rule.expressions(name):
        data = expression.get_attr(attribute)
        seen = data.get_attr("NFTA_DATA_VALUE") if data else None
        if seen:
            found.add(value(seen))
    return found


def compared(rule: "Rule") -> "set[bytes]":
    """The values that a rule compares with, such as a source address."""
    return _values(rule, "cmp", "NFTA_CMP_DATA")


def loaded(rule: "Rule") -> "set[bytes]":
    """The values that a rule loads, such as the target of a native translation."""
    return _values(rule, "immediate", "NFTA_IMMEDIATE_DATA")


def target_of(rule: "Rule") -> "tuple[str, bytes]":
    """Name and data of a rule's target (such as ``DNAT``), empty if it has none."""
    for target in rule.expressions("target"):
        return str(target.get_attr("NFTA_TARGET_NAME")), value(target.get_attr("NFTA_TARGET_INFO") or b"")
    return "", b""


def ports_of(rule: "Rule") -> "set[int]":
    """The destination ports in a rule's matches: multiport, tcp, udp, sctp and dccp.

    struct xt_multiport_v1: flags, count, 15 ports. struct xt_tcp and xt_udp: first and last source port, then
    destination ports; xt_sctp_info and xt_dccp_info: destination ports first. All are in the host's byte order.
    """
    listed = _match(rule, "multiport")
    count = listed[1] if len(listed) > 1 else 0
    found = {int.from_bytes(listed[at : at + 2], sys.byteorder) for at in range(2, 2 + 2 * count, 2)}
    for name, at in (("tcp", 4), ("udp", 4), ("sctp", 0), ("dccp", 0)):
        single = _match(rule, name)
        if len(single) >= 8 and single[at : at + 2] == single[at + 2 : at + 4]:
            found.add(int.from_bytes(single[at : at + 2], sys.byteorder))
    return found
