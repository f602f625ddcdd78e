"""firewall's configuration: its keys, and the choice of the backend."""

from cni.errors import NotAvailable
from cni.settings import Section, key, one_of, string

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.skel import Call

OPEN, SAME_BRIDGE, ISOLATED = "open", "same-bridge", "isolated"
# The names of chains that iptables accepts (XT_EXTENSION_MAXNAMELEN), without characters that need quotes.
_CHAIN_MAX = 28
_CHAIN = frozenset(map(chr, range(0x21, 0x7F))) - frozenset("\"'\\")
# What a name after -j means otherwise: iptables' targets (iptables-extensions(8)), and chains that exist or are Go's.
_TAKEN = (
    "ACCEPT DROP QUEUE RETURN INPUT FORWARD OUTPUT PREROUTING POSTROUTING CNI-FORWARD CNI-ISOLATION-STAGE-1"
    " CNI-ISOLATION-STAGE-2 AUDIT CHECKSUM CLASSIFY CLUSTERIP CONNMARK CONNSECMARK CT DNAT DNPT DSCP ECN HL HMARK IDLETIMER"
    " LED LOG MARK MASQUERADE NETMAP NFLOG NFQUEUE NOTRACK RATEEST REDIRECT REJECT SECMARK SET SNAT SNPT SYNPROXY TCPMSS"
    " TCPOPTSTRIP TEE TOS TPROXY TRACE TTL ULOG"
)


def _chain(name: str) -> str:
    if name in _TAKEN.split():
        return f"iptablesAdminChainName {name!r} is a target or another chain of iptables"
    if not _CHAIN.issuperset(name) or len(name) > _CHAIN_MAX or name[:1] in ("-", "!"):
        return f"iptablesAdminChainName {name!r} is no name of a chain: up to {_CHAIN_MAX} letters, no blanks"
    return ""


class Settings(Section):
    """The keys."""

    # fmt: off
    asked: str = key(
        "backend", string, "", "`iptables` (Go's chains), `firewalld`, or `nftables` (over netlink, no program needed); by"
        " default firewalld if it runs, otherwise iptables if the node has it, otherwise nftables")
    given_admin: str = key(
        "iptablesAdminChainName", string, "CNI-ADMIN", "chain of iptables for rules of the administrator, which come first",
        _chain)
    given_zone: str = key(
        "firewalldZone", string, "trusted", "zone of firewalld that gets the addresses",
        lambda name: "" if name.isprintable() else f"firewalldZone {name!r} is no name of a zone")
    policy: str = key(
        "ingressPolicy", string, OPEN, "`open`; `same-bridge`: other bridges with a policy do not reach the containers;"
        " `isolated`: neighbours on the bridge do not either",
        one_of(("", OPEN, SAME_BRIDGE, ISOLATED), 'unknown ingress policy: "%s"'))
    # fmt: on

    @property
    def admin(self) -> str:
        """The administrator's chain."""
        return self.given_admin or "CNI-ADMIN"

    @property
    def zone(self) -> str:
        """The zone of firewalld."""
        return self.given_zone or "trusted"

    @property
    def closed(self) -> bool:
        """Whether there is an ingress policy."""
        return self.policy in (SAME_BRIDGE, ISOLATED)


def read(call: "Call") -> Settings:
    """Raises ``DecodingFailure`` and ``InvalidConfig``, before anything is changed."""
    return Settings(call.config)


def ready(call: "Call", settings: Settings) -> None:
    """STATUS: the backend can be used. Raises ``NotAvailable``."""
    from cni.filtering import choice

    backend = choice.chosen(settings.asked)
    fault, remedy = choice.unusable(backend)
    if fault:
        raise NotAvailable(fault, remedy)
    for complaint in choice.complaints(backend):
        call.say(f"firewall: {complaint}")
