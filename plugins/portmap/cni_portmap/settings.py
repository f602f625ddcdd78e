"""portmap's configuration: the table of its keys, and what is made of them (pure)."""

from cni.address import Address, Prefix
from cni.config import Key, Table, boolean, chosen, integer, listing, member, string
from cni.errors import CNIError, InvalidConfig, LimitedConnectivity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.result import IPConfig, Result
    from cni.skel import Call

_PORT_MAX = 65535
MASQ_BIT = 13
# What iptables takes for a chain's name (XT_EXTENSION_MAXNAMELEN), less what would need quotes.
_CHAIN_MAX = 28
_CHAIN = frozenset(map(chr, range(0x21, 0x7F))) - frozenset("\"'\\")
PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132}
NAMES = {number: name for name, number in PROTOCOLS.items()}
TABLE = Table(
    Key(
        "backend",
        string,
        None,
        "`nftables` (over netlink) or `iptables` (with Go's chains); by default nftables,"
        " unless externalSetMarkChain is there, the words of a condition are iptables', or the kernel lacks nftables",
    ),
    Key(
        "snat",
        boolean,
        True,
        "masquerade connections whose replies would otherwise bypass the node: the container itself, neighbours, localhost",
    ),
    Key("masqAll", boolean, False, "with snat: masquerade every mapped connection, whatever its source"),
    Key(
        "markMasqBit",
        integer,
        None,
        f"iptables: bit of the mark that asks for masquerading, 0 to 31, else {MASQ_BIT}; nftables: the two bits below it"
        " mark what iptables' own rules leave undecided",
    ),
    Key(
        "externalSetMarkChain", string, None, "iptables only: chain of nat that sets such a mark; not with markMasqBit"
    ),
    Key(
        "conditionsV4", listing(string), list, "further match words for IPv4: iptables' arguments, or nft's expressions"
    ),
    Key("conditionsV6", listing(string), list, "the same for IPv6"),
    Key(
        "guardLocalnet", boolean, True, "with snat: keep neighbours from the 127.0.0.0/8 that route_localnet would open"
    ),
    Key(
        "conflict",
        string,
        "queue",
        "a port that another container has: `queue` gets in line and answers when that one goes, `refuse` fails ADD",
    ),
)
MAPPING = Table(
    Key("hostPort", integer, 0, "port of the node, 1 to 65535"),
    Key("containerPort", integer, 0, "port of the container, 1 to 65535"),
    Key("protocol", string, "", "`tcp`, `udp`, `sctp` or `dccp`, in any case"),
    Key("hostIP", string, "", "address of the node; empty: all of both families, `0.0.0.0` or `::`: all of one"),
)


class Mapping:
    """One port of the node that leads to a port of the container; ``host`` None stands for all addresses."""

    __slots__ = ("host", "host_port", "port", "protocol", "version")

    def __init__(self, protocol: str, host_port: int, port: int, host: Address | None = None, version: int = 0) -> None:
        """``version`` is the only family that it is for, 0 for both."""
        self.protocol = protocol
        self.host_port = host_port
        self.port = port
        self.host = host
        self.version = version

    def __str__(self) -> str:
        host = "" if self.host is None else f" on {self.host}"
        return f"{self.protocol} port {self.host_port}{host}"


class Target:
    """The container's address of one family, with its subnet, and the mappings that lead there."""

    __slots__ = ("mappings", "prefix")

    def __init__(self, prefix: Prefix, mappings: list[Mapping]) -> None:
        self.prefix = prefix
        self.mappings = mappings

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.prefix.version


class Settings:
    """What the user said, checked; attributes have the names of the keys."""

    __slots__ = (
        "backend",
        "conditions",
        "free",
        "guard",
        "mappings",
        "mark_bit",
        "masq_all",
        "refuse",
        "set_mark_chain",
        "snat",
    )

    def __init__(self, found: "dict[str, Any]", backend: str, mappings: list[Mapping]) -> None:
        self.backend = backend
        self.snat: bool = found["snat"]
        self.masq_all: bool = found["masqAll"]
        self.mark_bit: int = MASQ_BIT if found["markMasqBit"] is None else found["markMasqBit"]
        self.set_mark_chain: str | None = found["externalSetMarkChain"]
        self.conditions: dict[int, list[str]] = {4: found["conditionsV4"], 6: found["conditionsV6"]}
        self.guard: bool = found["guardLocalnet"]
        self.refuse: bool = found["conflict"] == "refuse"
        self.mappings = mappings
        # whether the node may choose another backend
        self.free = backend == "nftables" and found["backend"] is None and not any(self.conditions.values())

    def settle(self) -> None:
        """Choose the backend that the configuration leaves to the node; raises ``CNIError`` if the kernel lacks parts."""
        from cni_portmap import capable

        capable.settle(self)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig`` with Go's texts, in Go's order; nothing was touched then."""
    found = TABLE(call.config, "")
    if found["externalSetMarkChain"] is not None and found["markMasqBit"] is not None:
        raise InvalidConfig("Cannot specify externalSetMarkChain and markMasqBit", "drop one of the two keys")
    chain = found["externalSetMarkChain"]
    if (chain and not _CHAIN.issuperset(chain)) or (chain and (len(chain) > _CHAIN_MAX or chain[0] in "-!")):
        raise InvalidConfig(
            f"externalSetMarkChain {chain!r} is no name of a chain", f"up to {_CHAIN_MAX} letters, no blanks"
        )
    if found["markMasqBit"] is not None and not 0 <= found["markMasqBit"] <= 31:
        raise InvalidConfig("MasqMarkBit must be between 0 and 31", f"markMasqBit is {found['markMasqBit']}")
    if found["conflict"] not in ("queue", "refuse"):
        raise InvalidConfig(f'unrecognized conflict "{found["conflict"]}"', "it is queue or refuse")
    return Settings(found, _backend(found), mappings(call))


def _words(conditions: list[str]) -> str:
    """The backend whose language conditions are written in; the empty text for none."""
    if not conditions or not conditions[0]:
        return ""
    return "iptables" if conditions[0][0] in "-!" else "nftables"


def _backend(found: "dict[str, Any]") -> str:
    spoken = {name: _words(found[name]) for name in ("conditionsV4", "conditionsV6")}
    foreign: dict[str, list[str]] = {
        "nftables": ["externalSetMarkChain"] if found["externalSetMarkChain"] is not None else [],
        "iptables": [],
    }
    for name, language in spoken.items():
        if language:
            foreign["nftables" if language == "iptables" else "iptables"].append(name)
    backend = found["backend"]
    if backend not in (None, "iptables", "nftables"):
        raise InvalidConfig(f'unrecognized backend "{backend}"', "it is nftables or iptables")
    asked = backend or ("iptables" if foreign["nftables"] else "nftables")
    if foreign[asked]:
        other = "nftables" if asked == "iptables" else "iptables"
        raise InvalidConfig(
            f"{asked} backend was requested but configuration contains {other}-specific options [{' '.join(foreign[asked])}]",
            f"drop them, or set backend to {other}",
        )
    for name, conditions in ("conditionsV4", found["conditionsV4"]), ("conditionsV6", found["conditionsV6"]):
        _refuse_more_than_matches(name, conditions)
    return str(asked)


def _refuse_more_than_matches(name: str, conditions: list[str]) -> None:
    """Conditions are match words: what would end the rule and begin another statement is none."""
    for word in conditions:
        if any(ord(letter) < 32 or letter in ";#\x7f" for letter in word):
            raise InvalidConfig(
                f"{name} holds a character that cannot be part of a match: {word!r}", "write one match a word"
            )


def mappings(call: "Call") -> list[Mapping]:
    """``runtimeConfig.portMappings``, checked; raises ``DecodingFailure`` and ``InvalidConfig`` naming the entry."""
    runtime = chosen(call.config, "runtimeConfig")
    if runtime is None:
        return []
    where = "runtimeConfig.portMappings"
    entries = chosen(member(runtime, "runtimeConfig"), "portMappings")
    if entries is None:
        return []
    return [_mapping(entry, f"{where}[{place}]") for place, entry in enumerate(listing(MAPPING)(entries, where))]


def _mapping(entry: "dict[str, Any]", where: str) -> Mapping:
    for name, key in (("container", "containerPort"), ("host", "hostPort")):
        if not 0 < entry[key] <= _PORT_MAX:
            raise InvalidConfig(
                f"Invalid {name} port number: {entry[key]}", f"{key} in {where} is to be 1 to {_PORT_MAX}"
            )
    protocol = entry["protocol"].lower()
    if protocol not in PROTOCOLS:
        raise InvalidConfig(f'unknown protocol "{entry["protocol"]}"', f"in {where}; known are {', '.join(PROTOCOLS)}")
    if not entry["hostIP"]:
        return Mapping(protocol, entry["hostPort"], entry["containerPort"])
    try:
        host = Address.parse(entry["hostIP"])
    except ValueError:
        raise InvalidConfig(f'invalid hostIP "{entry["hostIP"]}"', f"in {where}; it is to be an IP address") from None
    specific = host if any(host.packed) else None
    return Mapping(protocol, entry["hostPort"], entry["containerPort"], specific, host.version)


def targets(said: Settings, previous: "Result", ifname: str) -> list[Target]:
    """The container's first address of each family that has mappings; a mapping that comes twice counts once."""
    found = []
    for version in (4, 6):
        prefix = _first(previous.ips, previous, ifname, version)
        mine: dict[tuple[str, int, Address | None], Mapping] = {}
        for mapping in said.mappings:
            if mapping.version in (0, version):
                mine.setdefault((mapping.protocol, mapping.host_port, mapping.host), mapping)
        if len(mine) > _PORT_MAX:
            raise InvalidConfig(
                f"{len(mine)} host ports are more than {_PORT_MAX}", f"of IPv{version}, in portMappings"
            )
        if prefix is not None and mine:
            found.append(Target(prefix, list(mine.values())))
    return found


def _first(ips: "list[IPConfig]", previous: "Result", ifname: str, version: int) -> Prefix | None:
    return next((ip.address for ip in ips if ip.version == version and _is_of(ip, previous, ifname)), None)


def _is_of(ip: "IPConfig", previous: "Result", ifname: str) -> bool:
    """Whether an address is of the container's interface of that name, or may be."""
    if ip.interface is None or not 0 <= ip.interface < len(previous.interfaces):
        return True
    interface = previous.interfaces[ip.interface]
    return bool(interface.name == ifname and interface.sandbox)


def previous(call: "Call") -> "Result":
    """prevResult; raises ``CNIError`` where there is none: the plugin has to come after one that gives addresses."""
    found = call.site.previous
    if found is None:
        text = "must be called as chained plugin" if call.verb == "ADD" else "Required prevResult missing"
        raise CNIError(text, "put portmap behind the plugin that attaches the container")
    return found


def ready(call: "Call", said: Settings) -> None:
    """STATUS: the programs are there, and packets for containers are not all thrown away.

    Raises ``NotAvailable``, ``LimitedConnectivity``.
    """
    from cni.kernel import legacy
    from cni_portmap import forwarding

    forwarding.need_programs(said)
    if said.backend == "nftables":
        for name in legacy.unmarkable():
            call.say(f"portmap: {legacy.complaint(name)}")
    if said.backend == "nftables" and any(said.conditions.values()):
        from cni_portmap import hostports

        hostports.judge(said.conditions)
    for chain in forwarding.chains_that_drop():
        what = f"{chain.where} drops what no rule accepts"
        if not chain.rules:
            raise LimitedConnectivity(f"{what}, and has no rule: mapped ports cannot be reached", chain.remedy)
        call.say(f"portmap: {what}: mapped ports are reached only if one of its rules accepts them; {chain.remedy}")
