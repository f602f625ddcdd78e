"""chain's configuration: the members, as in a conflist, and the configuration that each member gets."""

from cni import wire
from cni.errors import CNIError, InvalidConfig
from cni.settings import Required, Section, anything, boolean, key, listing, mapping, member, part, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.skel import Call

    Object = dict[str, Any]

_EMPTY = "no plugins in list"
# Keys, besides ``runtimeConfig``, that the runtime adds to the configuration of each plugin of a conflist.
_PASSED_ON = ("args",)
_RESERVED = "cni.dev/"


class Settings(Section):
    """The keys of the chain itself."""

    # fmt: off
    plugins: "list[Any]" = key(
        "plugins", listing(anything), Required(_EMPTY), "the plugins, as in a conflist, in the order of ADD",
        lambda plugins: "" if plugins else _EMPTY)
    capabilities: dict[str, bool] | None = key(
        "capabilities", mapping(boolean), None, "all capabilities that members ask for, so that the runtime sends them")
    # fmt: on


class Entry(Section):
    """One member: its type, the capabilities that it asks for, and its own configuration."""

    type: str = key("type", string, Required("missing 'type'"))
    declared: dict[str, bool] = key("capabilities", mapping(boolean), dict)

    def __init__(self, value: "Any", where: str) -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig``."""
        super().__init__(value, where)
        self.config: Object = value
        if self.type == "chain":
            raise InvalidConfig("a chain cannot be a member of a chain", f"replace {where} by its plugins")
        self.capabilities = [name for name, wanted in self.declared.items() if wanted]

    def request(self, call: "Call", previous: "Object | None") -> bytes:
        """The configuration for the member, made as libcni makes it for a plugin of a conflist.

        ``previous`` is the prevResult. Keys that the runtime added to the chain's configuration are passed on.
        """
        injected: Object = {"cniVersion": call.version, "name": call.network}
        arguments = part(call.config, "runtimeConfig", member)
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


def read(call: "Call") -> list[Entry]:
    """All members. Raises the first fault: ``DecodingFailure``, ``InvalidConfig``."""
    settings = Settings(call.config)
    entries = [Entry(value, f"plugins[{place}]") for place, value in enumerate(settings.plugins)]
    _agree(call, settings.capabilities, entries)
    return entries


def _agree(call: "Call", declared: "dict[str, bool] | None", entries: list[Entry]) -> None:
    """Refuse a capability that a member asks for and the chain does not: the runtime would not send it.

    The specification lets a runtime remove ``capabilities``, though libcni keeps them. Then there is only a message.
    """
    if declared is None:
        asked = [name for entry in entries for name in entry.capabilities]
        if asked and not part(call.config, "runtimeConfig", member):
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
    """The members that can be read, and the errors of the others: for DEL and GC, which go on after errors."""
    entries: list[Entry] = []
    errors: list[CNIError] = []
    for place, value in enumerate(Settings({**call.config, "capabilities": None}).plugins):
        try:
            entries.append(Entry(value, f"plugins[{place}]"))
        except CNIError as error:
            errors.append(error)
    return entries, errors


def ready(call: "Call", entries: list[Entry]) -> None:
    """STATUS of each member in order. Raises the error of the first member that is not ready."""
    from cni.errors import NotAvailable
    from cni_chain.member import Latest, Member, find_all

    find_all(call, entries, NotAvailable)
    for entry in entries:
        Member(call, entry, Latest()).attempt("STATUS")
