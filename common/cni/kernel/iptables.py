"""iptables, for those who ask for it and for what others made with it: rules listed, one restore a family, the lock.

What iptables-nft made is also read and removed over netlink, without the program; a rule's matches are then compat
expressions, of which the few that are looked at here are told apart by name.
"""

import os

from cni.address import Prefix
from cni.errors import TryAgainLater
from cni.kernel import program
from cni.kernel.nftables import Rule
from cni.kernel.transaction import IPV4, IPV6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FAMILIES = {4: IPV4, 6: IPV6}
PROGRAMS = {4: "iptables", 6: "ip6tables"}
# Seconds that iptables itself waits for its lock, and that we wait for ours.
_WAIT, _LOCK_WAIT = "5", 20.0
_LOCK = "/run/cni/pycni/iptables.lock"
# Options that take no value, and the spellings that iptables prints otherwise.
_ALONE = frozenset({"!", "--physdev-is-bridged", "--syn", "--random", "--random-fully", "--persistent"})
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


class Lock:
    """Our own calls of iptables one after the other: two that both make a shared chain would fail or double its jumps."""

    def __init__(self) -> None:
        self._fd = -1

    def __enter__(self) -> "Lock":
        import fcntl
        from time import monotonic, sleep

        os.makedirs(os.path.dirname(_LOCK), 0o755, exist_ok=True)
        self._fd = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline, pause = monotonic() + _LOCK_WAIT, 0.002
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if monotonic() >= deadline:
                    os.close(self._fd)
                    raise TryAgainLater(
                        f"{_LOCK} was held for {_LOCK_WAIT:g} s", "another plugin is at iptables; see fuser"
                    ) from None
                sleep(pause)
                pause = min(pause * 2, 0.05)
            else:
                return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._fd)


def run(name: str, *arguments: str) -> tuple[str, str]:
    """iptables with a bounded wait for its lock: how it failed, and what it printed."""
    return program.run(name, "--wait", _WAIT, *arguments)


def restore(name: str, lines: "list[str]") -> str:
    """Apply lines of the nat table as one change (``NAME-restore --noflush``): how it failed, empty if it did not."""
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
    place, negated = 0, ""
    while place < len(words):
        word = words[place]
        place += 1
        if word == "!":
            negated = "!"
            continue
        value = ""
        if word not in _ALONE and place < len(words):
            value = words[place]
            place += 1
        name = _SPELT.get(word, word)
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


def compared(rule: Rule) -> "set[bytes]":
    """The values that a rule compares with: its source address is one of them."""
    found = set()
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "cmp":
            data = expression.get_attr("NFTA_EXPR_DATA").get_attr("NFTA_CMP_DATA")
            value = data.get_attr("NFTA_DATA_VALUE") if data else None
            if value:
                found.add(value_of(value))
    return found


def target_of(rule: Rule) -> "tuple[str, bytes]":
    """Name and information of a rule's compat target (``DNAT``), empty where it has none."""
    for expression in rule.message.get_attr("NFTA_RULE_EXPRESSIONS") or ():
        if expression.get_attr("NFTA_EXPR_NAME") == "target":
            data = expression.get_attr("NFTA_EXPR_DATA")
            return str(data.get_attr("NFTA_TARGET_NAME")), value_of(data.get_attr("NFTA_TARGET_INFO") or b"")
    return "", b""


def legacy_in_use(version: int, table: str = "nat") -> bool:
    """Whether the kernel has that table of iptables-legacy, which netlink does not show."""
    name = "ip_tables_names" if version == 4 else "ip6_tables_names"
    try:
        with open(f"/proc/net/{name}", encoding="ascii") as file:
            return table in file.read().split()
    except OSError:
        return False
