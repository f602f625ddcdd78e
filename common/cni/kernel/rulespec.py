"""Rules as iptables prints and reads them: quoting, splitting, and comparing (pure)."""

from cni.address import Prefix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Options, and the form in which iptables prints them.
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


def quoted(word: str) -> str:
    """A word, quoted for iptables-restore if needed."""
    if word and not any(letter in " \t\"\\'" for letter in word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def split(line: str) -> list[str]:
    """The words of a line of iptables, which may have double quotes and backslashes."""
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
    """A rule's options with their values, without ``-m NAME``: equal for rules that differ only in order and spelling.

    A negated option has ``!`` before its name.
    """
    return frozenset(_options(split(line)))


def _options(words: "list[str]") -> "Iterator[tuple[str, str]]":
    """Each option with its values, which are all words up to the next option."""
    found: list[tuple[str, str, list[str]]] = []
    negated = ""
    for word in words:
        if word == "!":
            negated = word
        elif negated or word.startswith("-") or not found:
            found.append((negated, _SPELT.get(word, word), []))
            negated = ""
        else:
            found[-1][2].append(word)
    for negated, name, values in found:
        value = " ".join(values)
        if name in ("-s", "-d"):
            value = _network(value)
            if value in ("0.0.0.0/0", "::/0"):
                continue
        if name != "-m":
            yield negated + name, value


def _network(text: str) -> str:
    try:
        return str(Prefix.parse(text if "/" in text else f"{text}/{128 if ':' in text else 32}").network)
    except ValueError:
        return text
