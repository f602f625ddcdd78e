"""Rules of iptables' table ``filter``: made with iptables' words for them, and read back as such words (pure).

The expressions are those of iptables-nft, so that ``iptables -S`` and ``iptables-save`` print the rules, and
``iptables -C`` and ``-D`` find them. The same words are the rule for iptables-restore.
"""

import struct
import sys

from cni.address import Address, Prefix
from cni.kernel import compat
from cni.kernel import expressions as nft
from cni.kernel.expressions import Expression
from cni.kernel.rulespec import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.nftables import Rule

# struct xt_conntrack_mtinfo3: its length, the places of the flags and of the states, and their values
_CONNTRACK, _FLAGS_AT, _STATES_AT = 168, 146, 150
_BY_STATE, _ESTABLISHED, _RELATED = 1, 2, 4
_STATES = {1: "INVALID", _ESTABLISHED: "ESTABLISHED", _RELATED: "RELATED", 8: "NEW", 64: "UNTRACKED"}
# iptables' words by pyroute2's names
_VERDICTS = {"NF_ACCEPT": "-j ACCEPT", "NF_DROP": "-j DROP", "NFT_RETURN": "-j RETURN"}
_JUMPS = {"NFT_JUMP": "-j", "NFT_GOTO": "-g"}
_LINKS = {"NFT_META_IIFNAME": "-i", "NFT_META_OIFNAME": "-o"}
_ADDRESSES = {(12, 4): "-s", (16, 4): "-d", (8, 16): "-s", (24, 16): "-d"}
# a word for what these rules do not have; no wanted rule has it
_UNKNOWN = "?"


def _worded(words: str, expression: Expression) -> Expression:
    return Expression(words, expression.encoded)


def source(address: Address) -> Expression:
    """Packets from an address."""
    return _worded(f"-s {address}/{address.bits}", nft.compare(nft.SOURCE[address.version], address.packed, ""))


def destination(address: Address) -> Expression:
    """Packets to an address."""
    return _worded(f"-d {address}/{address.bits}", nft.compare(nft.DESTINATION[address.version], address.packed, ""))


def incoming(link: str) -> Expression:
    """Packets that arrived by a link."""
    return _worded(f"-i {quoted(link)}", nft.compare(nft.INTERFACE_NAME, link.encode() + b"\0", ""))


def outgoing(link: str, same: bool = True) -> Expression:
    """Packets that leave by a link, or by another one."""
    field = nft.compare(nft.OUTGOING_NAME, link.encode() + b"\0", "", same)
    return _worded(f"{'' if same else '! '}-o {quoted(link)}", field)


def marked(bits: int) -> Expression:
    """Packets with a mark."""
    return _worded(f"-m mark --mark {bits:#x}/{bits:#x}", nft.marked(bits, True))


def _connected() -> Expression:
    info = bytearray(_CONNTRACK)
    struct.pack_into("=HH", info, _FLAGS_AT, _BY_STATE, 0)
    struct.pack_into("=H", info, _STATES_AT, _ESTABLISHED | _RELATED)
    words = "-m conntrack --ctstate RELATED,ESTABLISHED"
    parts = [("NFTA_MATCH_NAME", "conntrack"), ("NFTA_MATCH_REV", 3), ("NFTA_MATCH_INFO", bytes(info))]
    return Expression(words, [("match", parts)])


# packets of connections that exist
CONNECTED = _connected()
ACCEPT, DROP, RETURN = (_worded(f"-j {each.text.upper()}", each) for each in (nft.ACCEPT, nft.DROP, nft.RETURN))


def jump(chain: str) -> Expression:
    """Continue in another chain, and return."""
    return _worded(f"-j {chain}", nft.jump(chain))


def words(rule: "Rule") -> str:
    """The rule in iptables' words, without ``-A CHAIN``; parts that ``Wanted`` rules do not have are ``?``."""
    found: list[str] = []
    field, mask = _UNKNOWN, b""
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        name, data = expression.get_attr("NFTA_EXPR_NAME"), expression.get_attr("NFTA_EXPR_DATA")
        if name in ("payload", "meta"):
            field, mask = _field(name, data), b""
        elif name == "bitwise":
            mask = data.get_attr("NFTA_BITWISE_MASK").get_attr("NFTA_DATA_VALUE")
        elif name == "cmp":
            found.append(_compared(field, mask, data))
        elif name == "match":
            found.append(_match(data))
        elif name == "immediate":
            found.append(_verdict(data))
        elif name != "counter":
            found.append(_UNKNOWN)
    return " ".join(found)


def _field(name: str, data: "Any") -> str:
    if name == "meta":
        key = str(data.get_attr("NFTA_META_KEY"))
        return "mark" if key == "NFT_META_MARK" else _LINKS.get(key, _UNKNOWN)
    if str(data.get_attr("NFTA_PAYLOAD_BASE")) != "NFT_PAYLOAD_NETWORK_HEADER":
        return _UNKNOWN
    return _ADDRESSES.get((data.get_attr("NFTA_PAYLOAD_OFFSET"), data.get_attr("NFTA_PAYLOAD_LEN")), _UNKNOWN)


def _compared(field: str, mask: bytes, data: "Any") -> str:
    value = data.get_attr("NFTA_CMP_DATA").get_attr("NFTA_DATA_VALUE")
    operator = {"NFT_CMP_EQ": "", "NFT_CMP_NEQ": "! "}.get(str(data.get_attr("NFTA_CMP_OP")), _UNKNOWN)
    if field == "mark":
        number = int.from_bytes(value, sys.byteorder)
        return f"{operator}--mark {number:#x}/{number:#x}" if mask == value else _UNKNOWN
    if field in ("-i", "-o") and value.endswith(b"\0"):
        return f"{operator}{field} {quoted(value.rstrip(bytes(1)).decode('utf-8', 'replace'))}"
    if field in ("-s", "-d") and len(value) in (4, 16):
        length = sum(each.bit_count() for each in mask) if mask else len(value) * 8
        return f"{operator}{field} {Prefix(Address(value), length)}"
    return _UNKNOWN


def _match(data: "Any") -> str:
    name, info = data.get_attr("NFTA_MATCH_NAME"), compat.value(data.get_attr("NFTA_MATCH_INFO"))
    if name == "comment":
        return f"--comment {quoted(info.split(bytes(1))[0].decode('utf-8', 'replace'))}"
    if name == "conntrack" and len(info) >= _STATES_AT + 2:
        flags, inverted = struct.unpack_from("=HH", info, _FLAGS_AT)
        (bits,) = struct.unpack_from("=H", info, _STATES_AT)
        if (flags, inverted) == (_BY_STATE, 0):
            # in the order in which iptables prints them
            order = (1, 8, _RELATED, _ESTABLISHED, 64)
            return f"--ctstate {','.join(_STATES[bit] for bit in order if bits & bit)}"
    return _UNKNOWN


def _verdict(data: "Any") -> str:
    found = data.get_attr("NFTA_IMMEDIATE_DATA").get_attr("NFTA_DATA_VERDICT")
    code, chain = (str(found.get_attr(f"NFTA_VERDICT_{part}")) if found else "" for part in ("CODE", "CHAIN"))
    return f"{_JUMPS[code]} {chain}" if code in _JUMPS else _VERDICTS.get(code, _UNKNOWN)
