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
