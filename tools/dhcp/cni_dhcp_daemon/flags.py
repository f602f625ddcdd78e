"""The flags of ``dhcp daemon``, as Go's ``flag`` package reads them: one or two dashes, ``-name value`` or ``-name=value``."""

import re
from dataclasses import dataclass

from cni_dhcp import SOCKET

# Nanoseconds of the units of a duration.
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
_LONGEST = 2**63 - 1

USAGE = f"""\
Usage of dhcp daemon:
  -broadcast
    \task the DHCPv4 servers to answer by broadcast
  -hostprefix string
    \tprefix of the paths of the socket, of the namespaces and of the leases' files, for a daemon in a container
  -pidfile string
    \tabsolute path of a file for the process id
  -resendmax duration
    \tlongest pause between two attempts (default 1m2s)
  -resendtimeout duration
    \ttime in which a lease must be acquired (default 3m28s)
  -socketpath string
    \tsocket for the plugin (default "{SOCKET}")
  -timeout duration
    \ttime to wait for the first answer of a server (default 10s)
"""


class WrongFlag(Exception):
    """A flag cannot be read. The text says why."""


class HelpWanted(Exception):
    """The usage is to be printed."""


@dataclass(slots=True)
class Flags:
    """The values; durations are in seconds."""

    socketpath: str = SOCKET
    pidfile: str = ""
    hostprefix: str = ""
    timeout: float = 10.0
    resendmax: float = 62.0
    resendtimeout: float = 208.0
    broadcast: bool = False


def duration(text: str) -> float:
    """Seconds of a duration such as ``1m30s``; raises ``ValueError``."""
    sign, rest = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    for part in _PART.finditer(rest):
        if part.start() != at:
            break
        total, at = total + float(part[1]) * _UNITS[part[2]], part.end()
    if not rest or at != len(rest) or total > _LONGEST:
        raise ValueError("parse error")
    return sign * total / 1e9


def read(words: list[str]) -> Flags:
    """The flags; as in Go, reading ends at the first word that is no flag. Raises ``WrongFlag`` and ``HelpWanted``."""
    flags, words = Flags(), list(words)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name[0] in "-=":
            raise WrongFlag(f"bad flag syntax: {word}")
        if name in ("h", "help"):
            raise HelpWanted
        if name not in Flags.__slots__:
            raise WrongFlag(f"flag provided but not defined: -{name}")
        _set(flags, name, value if equals else None, words)
    return flags


def _set(flags: Flags, name: str, value: str | None, words: list[str]) -> None:
    kind = type(getattr(flags, name))
    if value is None:
        if kind is bool:
            value = "true"
        elif words:
            value = words.pop(0)
        else:
            raise WrongFlag(f"flag needs an argument: -{name}")
    try:
        if kind is bool:
            setattr(flags, name, _BOOLEANS[value])
        elif kind is float:
            setattr(flags, name, duration(value))
        else:
            setattr(flags, name, value)
    except (KeyError, ValueError):
        word = "boolean value" if kind is bool else "value"
        raise WrongFlag(f'invalid {word} "{value}" for flag -{name}: parse error') from None
    if kind is float and not getattr(flags, name) > 0:
        raise WrongFlag(f'invalid value "{value}" for flag -{name}: it must be longer than 0')
