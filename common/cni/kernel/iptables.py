"""iptables, for those who ask for it and for what others made with it: rules listed, one restore a family, the lock.

What iptables-nft made is also read and removed over netlink, without the program; a rule's matches are then compat
expressions, of which the few that are looked at here are told apart by name.
"""

import sys

from cni.address import Prefix
from cni.errors import CNIError
from cni.kernel import program
from cni.kernel.exclusive import Exclusive
from cni.kernel.nftables import Rule
from cni.kernel.transaction import IPV4, IPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = {4: IPV4, 6: IPV6}
PROGRAMS = {4: "iptables", 6: "ip6tables"}
# Seconds that iptables itself waits for its own lock.
_WAIT = "5"
# The spellings that iptables prints otherwise.
_SPELT = {
    "--destination-ports": "--dports",
    "--destination-port": "--dport",
    "--source": "-s",
    "--src": "-s",
    "--destination": "-d",
    "--dst": "-d",
    "--protocol": "-p",
    "--jump": "-j",
}


def alone(make: bool = True) -> Exclusive:
    """Our own calls of iptables one after the other: two that both make a shared chain would fail or double its jumps.

    Who only removes what may be there waits where any of ours has been at iptables (``make`` false).
    """
    return Exclusive("iptables", make)


def run(name: str, *arguments: str) -> tuple[str, str]:
    """iptables with a bounded wait for its lock: how it failed, and what it printed."""
    return program.run(name, "--wait", _WAIT, *arguments)


def restore(name: str, lines: "list[str]") -> str:
    """Apply lines of the nat table as one change (``NAME-restore --noflush``): how it failed, empty if it did not."""
    for line in lines:
        if "\n" in line or "\0" in line:
            raise CNIError(f"{line!r} is no rule: it holds more than one line", "look at what the configuration gives")
    script = "\n".join(["*nat", *lines, "COMMIT", ""])
    return program.run(f"{name}-restore", "--noflush", "--wait", _WAIT, stdin=script)[0]


def rules(name: str, wanted: "list[str]") -> "dict[str, list[str]]":
    """The nat table's chains with their rules as ``-A CHAIN …``; those of ``wanted`` at least, where they exist.

    iptables-save passes over a table in which it meets a foreign rule; then the chains are asked for one by one.
    """
    fault, text = program.run(f"{name}-save", "-t", "nat")
    found: dict[str, list[str]] = {}
    if not fault and "*nat\n" in text:
        for line in text.splitlines():
            if line.startswith(":"):
                found.setdefault(line[1:].split()[0], [])
            elif line.startswith("-A "):
                found.setdefault(line.split()[1], []).append(line)
        return found
    for chain in wanted:
        fault, text = run(name, "-t", "nat", "-S", chain)
        if not fault:
            found[chain] = [line for line in text.splitlines() if line.startswith("-A ")]
    return found


def quoted(word: str) -> str:
    """A word as iptables-restore reads it."""
    if word and not any(letter in " \t\"\\'" for letter in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def split(line: str) -> list[str]:
    """The words of a line as iptables prints it: double quotes around, backslashes inside."""
    words: list[str] = []
    word, quoting, escaped, begun = "", False, False, False
    for letter in line:
        if escaped:
            word, escaped = word + letter, False
        elif letter == "\\":
            escaped = begun = True
        elif letter == '"':
            quoting, begun = not quoting, True
        elif letter == " " and not quoting:
            if begun or word:
                words.append(word)
            word, begun = "", False
        else:
            word += letter
    if begun or word:
        words.append(word)
    return words


def meaning(line: str) -> "frozenset[tuple[str, str]]":
    """What a rule says, whatever the order and the spelling: its options with their values, without ``-m NAME``.

    A negated option has ``!`` before its name.
    """
    return frozenset(_options(split(line)))


def _options(words: "list[str]") -> "Iterator[tuple[str, str]]":
    """Each option with its values, of which it may have none or several: all words up to the next option."""
    place, negated = 0, ""
    while place < len(words):
        word = words[place]
        place += 1
        if word == "!":
            negated = "!"
            continue
        values = []
        while place < len(words) and words[place] != "!" and not words[place].startswith("-"):
            values.append(words[place])
            place += 1
        name, value = _SPELT.get(word, word), " ".join(values)
        if name == "-m":
            continue
        if name in ("-s", "-d"):
            value = _network(value)
        if (name, value) not in (("-s", "0.0.0.0/0"), ("-s", "::/0"), ("-d", "0.0.0.0/0"), ("-d", "::/0")):
            yield negated + name, value
        negated = ""


def _network(text: str) -> str:
    try:
        return str(Prefix.parse(text if "/" in text else f"{text}/{128 if ':' in text else 32}").network)
    except ValueError:
        return text


# over netlink


def value_of(expression: "object") -> bytes:
    """The bytes of an attribute; pyroute2 shows those of a kind it does not know as hexadecimal digits."""
    if isinstance(expression, str):
        return bytes.fromhex(expression.replace(":", ""))
    return bytes(expression)  # type: ignore[call-overload, no-any-return]


def match_of(rule: Rule, name: str) -> bytes:
    """The information of a rule's compat match, empty where it has none of that name."""
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "match":
            match = expression.get_attr("NFTA_EXPR_DATA")
            if match.get_attr("NFTA_MATCH_NAME") == name:
                return value_of(match.get_attr("NFTA_MATCH_INFO"))
    return b""


def comment_of(rule: Rule) -> str:
    """The text of a rule's comment match, the empty text where it has none."""
    return match_of(rule, "comment").split(b"\0")[0].decode("utf-8", "replace")


def _data(rule: Rule, name: str, attribute: str) -> "set[bytes]":
    """The values that expressions of one name hold in an attribute."""
    found = set()
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == name:
            data = expression.get_attr("NFTA_EXPR_DATA").get_attr(attribute)
            value = data.get_attr("NFTA_DATA_VALUE") if data else None
            if value:
                found.add(value_of(value))
    return found


def compared(rule: Rule) -> "set[bytes]":
    """The values that a rule compares with: its source address is one of them."""
    return _data(rule, "cmp", "NFTA_CMP_DATA")


def loaded(rule: Rule) -> "set[bytes]":
    """The values that a rule loads: where a native translation leads to is one of them."""
    return _data(rule, "immediate", "NFTA_IMMEDIATE_DATA")


def target_of(rule: Rule) -> "tuple[str, bytes]":
    """Name and information of a rule's compat target (``DNAT``), empty where it has none."""
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "target":
            data = expression.get_attr("NFTA_EXPR_DATA")
            return str(data.get_attr("NFTA_TARGET_NAME")), value_of(data.get_attr("NFTA_TARGET_INFO") or b"")
    return "", b""


def ports_of(rule: Rule) -> "set[int]":
    """The destination ports that a rule is for by compat matches: multiport, and tcp and udp as older iptables write them.

    struct xt_multiport_v1: flags, count, 15 ports; struct xt_tcp and xt_udp: first and last source port, then
    destination port; all in the host's order.
    """
    listed = match_of(rule, "multiport")
    count = listed[1] if len(listed) > 1 else 0
    found = {int.from_bytes(listed[at : at + 2], sys.byteorder) for at in range(2, 2 + 2 * count, 2)}
    for name in ("tcp", "udp"):
        single = match_of(rule, name)
        if len(single) >= 8 and single[4:6] == single[6:8]:
            found.add(int.from_bytes(single[4:6], sys.byteorder))
    return found


LEGACY = {4: "iptables-legacy", 6: "ip6tables-legacy"}


def legacy(version: int, table: str = "nat") -> str:
    """The program for iptables-legacy, if the kernel has that table of it, which netlink does not show; else nothing.

    A node without the programs cannot have rules there that a plugin on it made.
    """
    kind = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{kind}", "rb") as file:
            if table.encode() not in file.read().split():
                return ""
    except OSError:
        return ""
    name = LEGACY[version]
    return name if all(program.find(f"{name}{part}") for part in ("", "-save", "-restore")) else ""
