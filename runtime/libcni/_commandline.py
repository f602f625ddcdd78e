"""The command line of cnitool: the verbs, arguments and flags of the Go tool, and some more.

``argparse`` takes 14 ms at each start and has other rules: the Go tool ignores extra arguments, and accepts flags
anywhere.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from libcni._errors import LibcniError
from libcni._quoting import quote

VERBS = {
    "add": "attach the namespace to the network, and print the result",
    "check": "check that the attachment is as add made it",
    "del": "remove the attachment",
    "gc": "remove every cached attachment of the network, including those of other runtimes",
    "status": "check whether an add would work",
}
# Flag, its short form, the name of its value in the help, what it does.
_FLAGS = (
    ("ifname", "i", "NAME", "the interface's name in the container (CNI_IFNAME, else eth0)"),
    ("json", "", "", "print one JSON object, for errors too"),
    ("timeout", "", "SECONDS", "kill the plugins after this time (default: no limit)"),
    ("undo", "", "", "remove what an add made if it fails"),
    ("undo-timeout", "", "SECONDS", "stop undoing after this time (default: 10)"),
    ("all", "", "", "del: remove all cached attachments of NETNS; give no NETWORK"),
    ("leftovers", "", "", "gc: remove only attachments whose namespace is gone"),
    ("container", "", "ID", "the container id (default: made from NETNS); del --all then needs no NETNS"),
    ("cache", "", "FOLDER", "the folder of the cache (default: /var/lib/cni)"),
    ("help", "h", "", "print this help"),
)
_ENVIRONMENT = """
Environment:
  CNI_PATH     the folders of the plugins, separated by colons; required
  NETCONFPATH  the folders of the configurations, separated by colons (/etc/cni/net.d)
  CNI_IFNAME   the interface's name in the container (eth0)
  CNI_ARGS     arguments for the plugins, K=V;K=V
  CAP_ARGS     capabilities, a JSON object such as
               {"portMappings": [{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}]}
"""


class UsageError(LibcniError):
    """The arguments or the environment variables are wrong."""


class Arguments:
    """The parsed command line. ``verb`` is empty if the help of the whole tool is wanted. Times are in seconds."""

    __slots__ = (
        "all",
        "cache",
        "container",
        "help",
        "ifname",
        "json",
        "leftovers",
        "netns",
        "network",
        "timeout",
        "undo",
        "undo_timeout",
        "verb",
    )

    def __init__(self) -> None:
        self.verb = self.network = self.netns = self.ifname = self.cache = self.container = ""
        self.json = self.undo = self.help = self.all = self.leftovers = False
        self.timeout: float | None = None
        self.undo_timeout: float | None = None


def usage(verb: str = "") -> str:
    """The help of a verb, or of the whole tool."""
    head = f"{VERBS[verb]}\n" if verb else "Attach a network namespace to a CNI network.\n"
    lines = [head, "Usage:", f"  cnitool {verb or 'VERB'} NETWORK NETNS [flags]"]
    if not verb:
        lines += ["", "Verbs:", *(f"  {name:<8}{words}" for name, words in VERBS.items())]
    lines += ["", "Flags:"]
    for name, short, value, words in _FLAGS:
        flag = f"{f'-{short}, ' if short else '    '}--{name}{f' {value}' if value else ''}"
        lines.append(f"  {flag:<28}{words}")
    return "\n".join(lines) + "\n" + _ENVIRONMENT


def wants_json(argv: Sequence[str]) -> bool:
    """Whether ``--json`` is in a command line that cannot be parsed."""
    return "--json" in argv


def parse(argv: Sequence[str]) -> Arguments:
    """Parse the command line. Raises ``UsageError``, with the Go tool's texts."""
    found = Arguments()
    words = []
    for name, value in _split(argv):
        if name:
            setattr(found, name.replace("-", "_"), _seconds(name, value) if "timeout" in name else value)
        else:
            words.append(value)
    if words[:1] == ["help"]:
        words, found.help = words[1:], True
    if not words:
        found.help = True
        return found
    if words[0] not in VERBS:
        raise UsageError(f'unknown command {quote(words[0])} for "cnitool"')
    found.verb, *rest = words
    if found.help:
        return found
    _check_flags(found)
    if found.all:
        if not (rest or found.container):
            raise UsageError("del --all requires NETNS, or --container ID")
        found.netns = rest[0] if rest else ""
        return found
    if len(rest) < 2:
        raise UsageError(f"requires at least 2 arg(s), only received {len(rest)}")
    found.network, found.netns = rest[:2]
    return found


def _check_flags(found: Arguments) -> None:
    """Raise ``UsageError`` for a flag of another verb, which would have no effect."""
    for name, verb in (("all", "del"), ("leftovers", "gc")):
        if getattr(found, name) and found.verb != verb:
            raise UsageError(f"--{name} is a flag of {verb}, not of {found.verb}")
    if found.undo_timeout is not None and not found.undo:
        raise UsageError("--undo-timeout needs --undo")


def _split(argv: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yield each flag with its value, and each other word with an empty name."""
    words = iter(argv)
    for word in words:
        if word == "--":
            yield from (("", rest) for rest in words)
        elif word.startswith("--"):
            name, given, value = word[2:].partition("=")
            flag = next((flag for flag in _FLAGS if flag[0] == name), None)
            if flag is None:
                raise UsageError(f"unknown flag: --{name}")
            yield name, _value(flag, word, given, value, words)
        elif word.startswith("-") and len(word) > 1:
            flag = next((flag for flag in _FLAGS if flag[1] == word[1]), None)
            if flag is None:
                raise UsageError(f"unknown shorthand flag: '{word[1]}' in {word}")
            yield flag[0], _value(flag, word, word[2:], word[2:].removeprefix("="), words)
        else:
            yield "", word


def _value(flag: tuple[str, str, str, str], word: str, given: str, value: str, words: Iterator[str]) -> Any:
    """The value of a flag: part of its word, or the next word. True if the flag takes no value."""
    if not flag[2]:
        if given:
            raise UsageError(f"invalid argument {quote(value)} for {quote(word)} flag: it takes none")
        return True
    following = value if given else next(words, None)
    if following is None:
        raise UsageError(f"flag needs an argument: {word}")
    return following


def _seconds(name: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f'invalid argument {quote(text)} for "--{name}" flag: it must be a number of seconds')
    return seconds
