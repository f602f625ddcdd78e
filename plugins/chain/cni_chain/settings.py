"""chain's configuration: the members as a conflist holds them, and the configuration that each of them is sent."""

from cni import wire
from cni.config import Key, Table, anything, boolean, chosen, listing, mapping, member, string
from cni.errors import CNIError, InvalidConfig

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

    Object = dict[str, Any]

_EMPTY = "no plugins in list"
TABLE = Table(
    Key(
        "plugins",
        listing(anything),
        words="plugins as a conflist holds them, in the order of ADD",
        check=lambda plugins: "" if plugins else _EMPTY,
        required=_EMPTY,
    ),
    Key("capabilities", mapping(boolean), None, "what the members ask for together, so that the runtime sends it"),
)
_MEMBER = Table(Key("type", string, required="missing 'type'"), Key("capabilities", mapping(boolean), dict))
# What the runtime writes into each plugin's configuration of a conflist, beside ``runtimeConfig``.
_PASSED_ON = ("args",)
_RESERVED = "cni.dev/"


class Entry:
    """One member: its type, the capabilities that it asks for, and its own configuration."""

    __slots__ = ("capabilities", "config", "type")

    def __init__(self, value: "Any", where: str) -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig``."""
        self.config: Object = member(value, where)
        try:
            found = _MEMBER(self.config, where)
        except InvalidConfig as error:
            raise InvalidConfig(error.msg, f"in {where}") from None
        self.type: str = found["type"]
        if self.type == "chain":
            raise InvalidConfig("a chain cannot be a member of a chain", f"put what {where} holds in its place")
        self.capabilities = [name for name, wanted in found["capabilities"].items() if wanted]

    def request(self, call: "Call", previous: "Object | None") -> bytes:
        """The configuration that the member is sent, made as libcni makes it for a plugin of a conflist.

        ``previous`` is the prevResult; what the runtime wrote into the chain's configuration is passed on.
        """
        injected: Object = {"cniVersion": call.version, "name": call.network}
        arguments = _chosen_object(call, "runtimeConfig")
        granted = {name: arguments[name] for name in self.capabilities if name in arguments}
        if granted:
            injected["runtimeConfig"] = granted
        if previous is not None:
            injected["prevResult"] = previous
        for name, value in call.config.items():
            if wire.fold(name) in _PASSED_ON or name.startswith(_RESERVED):
                injected[name] = value
        hidden = {wire.fold(name) for name in injected}
        kept = {name: value for name, value in self.config.items() if wire.fold(name) not in hidden}
        return wire.encode({**kept, **injected}).encode()


def _chosen_object(call: "Call", name: str) -> "Object":
    value = chosen(call.config, name)
    return {} if value is None else member(value, name)


def read(call: "Call") -> list[Entry]:
    """All members, or the first fault: ``DecodingFailure``, ``InvalidConfig``."""
    found = TABLE(call.config, "")
    entries = [Entry(value, f"plugins[{place}]") for place, value in enumerate(found["plugins"])]
    _agree(call, found["capabilities"], entries)
    return entries


def _agree(call: "Call", declared: "dict[str, bool] | None", entries: list[Entry]) -> None:
    """What a member asks for and the chain does not would never arrive: refused, where that can be seen.

    A runtime may have taken ``capabilities`` away, as the specification has it; libcni leaves them.
    """
    if declared is None:
        asked = [name for entry in entries for name in entry.capabilities]
        if asked and not _chosen_object(call, "runtimeConfig"):
            call.say(f'chain: members ask for {", ".join(asked)}; key "capabilities" of the chain does not')
        return
    for place, entry in enumerate(entries):
        for name in entry.capabilities:
            if not declared.get(name):
                raise InvalidConfig(
                    f"plugins[{place}] ({entry.type}) asks for the capability {name}, which the chain does not",
                    f'set capabilities to {{"{name}": true}} beside "plugins" too, or the runtime does not send it',
                )


def readable(call: "Call") -> tuple[list[Entry], list[CNIError]]:
    """The members that can be read, and what is wrong with the others: for DEL and GC, which do what they can."""
    entries: list[Entry] = []
    errors: list[CNIError] = []
    for place, value in enumerate(TABLE({**call.config, "capabilities": None}, "")["plugins"]):
        try:
            entries.append(Entry(value, f"plugins[{place}]"))
        except CNIError as error:
            errors.append(error)
    return entries, errors


def ready(call: "Call", entries: list[Entry]) -> None:
    """STATUS of each member in order; the error of the first that is not ready is raised."""
    from cni.errors import NotAvailable
    from cni_chain.member import Latest, Member
    from cni_chain.wanted import find_all

    find_all(call, entries, NotAvailable)
    for entry in entries:
        Member(call, entry, Latest()).attempt("STATUS")
