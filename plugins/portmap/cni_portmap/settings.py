"""portmap's configuration: its keys and checks (pure)."""

from cni.address import PROTOCOLS, Address
from cni.errors import CNIError, InvalidConfig, LimitedConnectivity, NotAvailable
from cni.kernel import backend
from cni.settings import Section, boolean, chosen, integer, key, listing, member, part, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cni.kernel.nftables import Nftables
    from cni.result import Result
    from cni.skel import Call

_PORT_MAX = 65535
MASQ_BIT = 13
# The table of host ports, and the parts of nftables that it needs.
_PARTS = (backend.NAT, backend.FIB, backend.CONNECTIONS, backend.MASQUERADE)
HOST_PORTS = backend.Needs(backend.INET, "pycni_hostports", _PARTS)
# The names of chains that iptables accepts (XT_EXTENSION_MAXNAMELEN), without characters that need quotes.
_CHAIN_MAX = 28
_CHAIN = frozenset(map(chr, range(0x21, 0x7F))) - frozenset("\"'\\")


class Port(Section):
    """An item of ``runtimeConfig.portMappings``."""

    # fmt: off
    host_port: int = key("hostPort", integer, 0, "port of the node, 1 to 65535")
    container_port: int = key("containerPort", integer, 0, "port of the container, 1 to 65535")
    protocol: str = key("protocol", string, "", "`tcp`, `udp`, `sctp` or `dccp`, in any case")
    host_ip: str = key(
        "hostIP", string, "", "address of the node; empty: all of both families, `0.0.0.0` or `::`: all of one")
    # fmt: on

    # None: all addresses of the node
    host: Address | None = None
    # the family of the mapping, 0 for both
    version = 0

    def checked(self, where: str) -> "Port":
        """The item; raises ``InvalidConfig`` naming it."""
        for name, given, port in (
            ("container", "containerPort", self.container_port),
            ("host", "hostPort", self.host_port),
        ):
            if not 0 < port <= _PORT_MAX:
                fault = f"Invalid {name} port number: {port}"
                raise InvalidConfig(fault, f"{given} in {where} must be 1 to {_PORT_MAX}")
        given, self.protocol = self.protocol, self.protocol.lower()
        if self.protocol not in PROTOCOLS:
            raise InvalidConfig(f'unknown protocol "{given}"', f"in {where}; known are {', '.join(PROTOCOLS)}")
        if self.host_ip:
            try:
                host = Address.parse(self.host_ip)
            except ValueError:
                raise InvalidConfig(
                    f'invalid hostIP "{self.host_ip}"', f"in {where}; it must be an IP address"
                ) from None
            self.host, self.version = host if any(host.packed) else None, host.version
        return self


class Settings(Section):
    """The keys of the configuration, checked."""

    # fmt: off
    asked_backend: str | None = key(
        "backend", string, None, "`nftables` (over netlink) or `iptables` (with Go's chains); by default nftables,"
        " unless externalSetMarkChain is set, a condition is in iptables' syntax, or the kernel lacks nftables")
    snat: bool = key(
        "snat", boolean, True,
        "masquerade connections whose replies would otherwise bypass the node: the container itself, neighbours,"
        " localhost")
    masq_all: bool = key(
        "masqAll", boolean, False, "with snat: masquerade every mapped connection, whatever its source")
    given_bit: int | None = key(
        "markMasqBit", integer, None,
        f"iptables: bit of the mark that asks for masquerading, 0 to 31, by default {MASQ_BIT}; nftables: the two bits"
        " below it mark packets that no rule of iptables decided about")
    set_mark_chain: str | None = key(
        "externalSetMarkChain", string, None,
        "iptables only: chain of nat that sets such a mark; not with markMasqBit")
    conditions_v4: list[str] = key(
        "conditionsV4", listing(string), list,
        "further match words for IPv4: iptables' arguments, or nft's expressions")
    conditions_v6: list[str] = key("conditionsV6", listing(string), list, "the same for IPv6")
    guard: bool = key(
        "guardLocalnet", boolean, True,
        "with snat: neighbours cannot reach the node's 127.0.0.0/8, which route_localnet would open")
    conflict: str = key(
        "conflict", string, "queue",
        "if another container has the port: `queue` waits and answers when that container is gone, `refuse` fails ADD")
    # fmt: on

    backend: str
    mappings: list[Port]

    def __init__(self, document: "Any") -> None:
        """Raises ``DecodingFailure`` and ``InvalidConfig`` with Go's texts, in Go's order."""
        super().__init__(document)
        chain, bit = self.set_mark_chain, self.given_bit
        if chain is not None and bit is not None:
            raise InvalidConfig("Cannot specify externalSetMarkChain and markMasqBit", "drop one of the two keys")
        if chain and (not _CHAIN.issuperset(chain) or len(chain) > _CHAIN_MAX or chain[0] in "-!"):
            fault = f"externalSetMarkChain {chain!r} is no name of a chain"
            raise InvalidConfig(fault, f"up to {_CHAIN_MAX} letters, no blanks")
        if bit is not None and not 0 <= bit <= 31:
            raise InvalidConfig("MasqMarkBit must be between 0 and 31", f"markMasqBit is {bit}")
        if self.conflict not in ("queue", "refuse"):
            raise InvalidConfig(f'unrecognized conflict "{self.conflict}"', "it is queue or refuse")
        self.backend = self._backend()
        where = "runtimeConfig.portMappings"
        entries = chosen(part(document, "runtimeConfig", member), "portMappings")
        # all types are checked first
        ports = [] if entries is None else listing(Port)(entries, where)
        self.mappings = [port.checked(f"{where}[{place}]") for place, port in enumerate(ports)]

    def _backend(self) -> str:
        """The backend that the configuration asks for: with its key, with other keys, or by the syntax of conditions."""
        foreign: dict[str, list[str]] = {
            "nftables": ["externalSetMarkChain"] if self.set_mark_chain is not None else [],
            "iptables": [],
        }
        for version, conditions in self.conditions.items():
            if conditions and conditions[0]:
                foreign["nftables" if conditions[0][0] in "-!" else "iptables"].append(f"conditionsV{version}")
        if self.asked_backend not in (None, "iptables", "nftables"):
            raise InvalidConfig(f'unrecognized backend "{self.asked_backend}"', "it is nftables or iptables")
        asked = self.asked_backend or ("iptables" if foreign["nftables"] else "nftables")
        if foreign[asked]:
            other = "nftables" if asked == "iptables" else "iptables"
            raise InvalidConfig(
                f"{asked} backend was requested but configuration contains {other}-specific options"
                f" [{' '.join(foreign[asked])}]",
                f"drop them, or set backend to {other}",
            )
        for version, conditions in self.conditions.items():
            for word in conditions:
                if any(ord(letter) < 32 or letter in ";#\x7f" for letter in word):
                    raise InvalidConfig(
                        f"conditionsV{version} holds a character that cannot be part of a match: {word!r}",
                        "write one match a word",
                    )
        return asked

    @property
    def mark_bit(self) -> int:
        """The bit of the packet mark that asks for masquerading."""
        return MASQ_BIT if self.given_bit is None else self.given_bit

    @property
    def conditions(self) -> dict[int, list[str]]:
        """Match words by family."""
        return {4: self.conditions_v4, 6: self.conditions_v6}

    @property
    def expressions(self) -> dict[int, str]:
        """nft's conditions by family; none for iptables."""
        conditions = self.conditions if self.backend == "nftables" else {}
        return {version: " ".join(words) for version, words in conditions.items()}

    def mappings_of(self, version: int) -> list[Port]:
        """The mappings of one family. A repeated mapping counts once. Raises ``InvalidConfig`` for too many."""
        found: dict[tuple[str, int, Address | None], Port] = {}
        for mapping in self.mappings:
            if mapping.version in (0, version):
                found.setdefault((mapping.protocol, mapping.host_port, mapping.host), mapping)
        if len(found) > _PORT_MAX:
            fault = f"{len(found)} host ports are more than {_PORT_MAX}"
            raise InvalidConfig(fault, f"of IPv{version}, in portMappings")
        return list(found.values())

    @property
    def refuse(self) -> bool:
        """Whether ADD fails for a port that another container has."""
        return self.conflict == "refuse"

    @property
    def free(self) -> bool:
        """Whether the backend depends on the node: the configuration does not fix it."""
        return self.backend == "nftables" and self.asked_backend is None and not any(self.conditions.values())

    def settle(self, kernel: "Nftables | None" = None) -> None:
        """Choose the backend. Raises ``CNIError`` if the kernel lacks a part that the configuration needs."""
        self.backend = backend.chosen(None if self.free else self.backend, HOST_PORTS, kernel)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call.config)


def previous_result(call: "Call") -> "Result":
    """prevResult. Raises ``CNIError`` if there is none: portmap must come after a plugin that gives addresses."""
    found = call.site.previous
    if found is None:
        text = "must be called as chained plugin" if call.verb == "ADD" else "Required prevResult missing"
        raise CNIError(text, "put portmap behind the plugin that attaches the container")
    return found


def _need_programs(settings: Settings) -> None:
    """Raise ``NotAvailable`` if the configuration needs a program or a part of the kernel that is missing."""
    from cni.kernel import program

    try:
        settings.settle()
        wanted = ["nft"] if any(settings.conditions.values()) else []
        if settings.backend == "iptables":
            from cni.kernel import iptables

            wanted = [f"{iptables.to_make(4)}{part}" for part in ("", "-save", "-restore")]
        for name in wanted:
            if not program.find(name):
                raise program.missing(name)
    except CNIError as fault:
        raise NotAvailable(fault.msg, fault.details) from None


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the programs exist, and no chain drops all packets to containers.

    Raises ``NotAvailable``, ``LimitedConnectivity``.
    """
    from cni.dropping import chains_that_drop, remedy

    _need_programs(settings)
    if settings.backend == "nftables":
        for name in backend.unmarkable():
            call.say(f"portmap: {backend.complaint(name)}")
    if settings.backend == "nftables" and any(settings.conditions.values()):
        from cni_portmap import hostports

        hostports.judge(settings.expressions)
    for where, command, rules in chains_that_drop():
        what = f"{where} drops what no rule accepts"
        if not rules:
            raise LimitedConnectivity(f"{what}, and has no rule: mapped ports cannot be reached", remedy(command))
        call.say(f"portmap: {what}: mapped ports are reached only if one of its rules accepts them; {remedy(command)}")
