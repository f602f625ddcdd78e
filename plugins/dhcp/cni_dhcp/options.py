"""The options of DHCPv4 that a configuration provides or requests: names and numbers, as in Go's plugin (pure)."""

from cni.errors import InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cni_dhcp.settings import Provided, Requested

# Go's, then those of other options that a result can have, with the names of dhcp-options(5).
NAMES = {
    "subnet-mask": 1, "routers": 3, "host-name": 12, "vendor-class-identifier": 60, "dhcp-client-identifier": 61,
    "user-class": 77,
    "domain-name-servers": 6, "domain-name": 15, "static-routes": 33, "domain-search": 119,
    "classless-static-routes": 121,
}  # fmt: skip
# What is requested besides the configuration's: routers, mask. Without any, more is requested.
_DEFAULTS, _INSTEAD = (3, 1), (1, 3, 15, 6)
_REMEDY = f"write a number from 0 to 255, or one of {', '.join(sorted(NAMES))}"


def number(option: str) -> int:
    """The number of an option; raises ``InvalidConfig`` with Go's text."""
    found = NAMES.get(option)
    if found is None:
        digits, reason = option.lstrip("0") or "0", "value out of range"
        if not (option.isascii() and option.isdigit()):
            reason = "invalid syntax"
        elif len(digits) < 4 and int(digits) < 256:
            return int(digits)
        reason = f'strconv.ParseUint: parsing "{option}": {reason}'
        raise InvalidConfig(f'Can not parse option "{option}": Can not parse option: {reason}', _REMEDY)
    return found


def arguments(text: str) -> "dict[str, str]":
    """CNI_ARGS as Go's plugin reads it: pieces without ``=`` are ignored, and a value may have ``=`` in it."""
    return dict(piece.partition("=")[::2] for piece in text.split(";") if "=" in piece)


def provided(entries: "Sequence[Provided]", args: "Mapping[str, str]") -> "dict[int, bytes]":
    """The values by the options' numbers; raises ``InvalidConfig``."""
    found: dict[int, bytes] = {}
    for entry in entries:
        which, value = number(entry.option), _encoded(entry.value)
        if len(value) > 255:
            raise InvalidConfig(f'value too long for option "{entry.option}": "{entry.value}"', "255 bytes are sent")
        given = args.get(entry.from_arg) if entry.from_arg else None
        if given:
            value = _encoded(given)
            if len(value) > 255:
                where = f'CNI_ARGS "{entry.from_arg}"'
                raise InvalidConfig(
                    f'value too long for option "{entry.option}" from {where}: "{given}"', "255 bytes are sent"
                )
        if value:
            found[which] = value
    return found


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def requested(entries: "Sequence[Requested]") -> "list[int]":
    """The numbers that the server is asked for, each once, in order; raises ``InvalidConfig``."""
    found = [number(entry.option) for entry in entries if entry.option]
    if not any(entry.skip_default for entry in entries):
        found += _DEFAULTS
    return list(dict.fromkeys(found)) or list(_INSTEAD)
