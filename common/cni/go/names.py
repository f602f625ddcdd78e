"""The names of chains and tables of Go's plugins, and the texts of their comments, which can be parsed back."""

from cni.kernel.backend import has_legacy
from cni.kernel.transaction import BRIDGE, INET, IPV4, IPV6
from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.nftables import Nftables

POSTROUTING = "POSTROUTING"
BASE = ("PREROUTING", "OUTPUT", POSTROUTING)
# The common chains for host ports. Versions before 0.7 made the last one; we only remove it.
DNAT, SETMARK, MASQ, OLD_SNAT = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SNAT"
# The beginnings of the names of a container's chains, for masquerading and for host ports.
MASQUERADE, PORTS = "CNI-", "CNI-DN-"
# The newer forms: nftables tables.
MASQUERADE_TABLE, PORTS_TABLE = "cni_plugins_masquerade", "cni_hostport"
MASQUERADE_RULES = "masq_checks"
# The MAC spoof check: the beginning of the names of an interface's chains, and the longest name.
SPOOF, SPOOF_NAME_MAX = "cni-br-iface-", 120
# The chains of firewall in ``filter``, and the beginning of the comments of its rules.
FORWARD, FIREWALL, ADMIN = "FORWARD", "CNI-FORWARD", "CNI-ADMIN"
STAGES = ("CNI-ISOLATION-STAGE-1", "CNI-ISOLATION-STAGE-2")
FIREWALL_COMMENT = "CNI firewall plugin "
_CHAIN_MAX, _COMMENT_MAX = 28, 255
# The longest comment in the table for masquerading.
_INSTANCE_MAX = 128
_PORTS_WORD = "dnat "


def chain_name(beginning: str, network: str, container: str) -> str:
    """The name of a container's chain: 28 characters, with a hash of network and container id, concatenated."""
    return f"{beginning}{raw_sha512(f'{network}{container}'.encode()).hex()}"[:_CHAIN_MAX]


def masquerade_chain(attachment: "Attachment") -> str:
    """The container's chain for masquerading."""
    return chain_name(MASQUERADE, attachment.network, attachment.container)


def ports_chain(attachment: "Attachment") -> str:
    """The container's chain for host ports."""
    return chain_name(PORTS, attachment.network, attachment.container)


def old_ports_chain(chain: str) -> str:
    """The second chain of a container, which versions before 0.7 made."""
    return chain.replace(PORTS, "CNI-SN-", 1)


def masquerade_comment(attachment: "Attachment") -> str:
    """The comment of a container's rules for masquerading."""
    return f'{_of_network(attachment.network)}{attachment.container}"'


def ports_comment(network: str, container: str) -> str:
    """The comment of a container's entry rules. Go's may be a byte too long: the result is what the kernel keeps of it."""
    text = f'{_PORTS_WORD}{_of_network(network)}{container}"'
    return text if len(text) <= _COMMENT_MAX else f"{text[: _COMMENT_MAX - 2]}.."


def _of_network(network: str) -> str:
    return f'name: "{network}" id: "'


def owner_of(comment: str) -> "tuple[str, str] | None":
    """Network and container id in a comment of either kind; None for another comment, or a cut one."""
    parts = comment.removeprefix(_PORTS_WORD).split('"')
    if len(parts) == 5 and parts[0] == "name: " and parts[2] == " id: " and not parts[4]:
        return parts[1], parts[3]
    return None


def is_of_network(comment: str, network: str) -> bool:
    """Whether a comment names a container of the network; its id may be cut."""
    owner = owner_of(comment)
    if owner is not None:
        return owner[0] == network
    return len(comment) == _COMMENT_MAX and comment.startswith(f"{_PORTS_WORD}{_of_network(network)}")


def instances(network: str) -> str:
    """The beginning of the comments of a network's rules in the table for masquerading."""
    return f"{raw_sha512(network.encode()).hex()[:16]}-"


def instance(attachment: "Attachment") -> str:
    """The beginning of the comments of an attachment's rules in the table for masquerading."""
    digest = raw_sha512(f"{attachment.ifname}:{attachment.container}".encode()).hex()[:16]
    return f"{instances(attachment.network)}{digest}"


def instance_owner(comment: str) -> str:
    """The attachment that such a comment names behind the hash; empty if it was cut."""
    parts = comment.split(", ")
    words = dict(part.partition(": ")[::2] for part in parts[1:])
    whole = len(comment.encode()) < _INSTANCE_MAX and set(words) == {"net", "if", "id"}
    return f"{words['net']}/{words['id']}/{words['if']}" if whole else ""


def spoof_chain(attachment: "Attachment") -> str:
    """The first of an interface's two chains for the MAC spoof check; the other one's name ends in ``-mac``."""
    return f"{SPOOF}{attachment.container}-{attachment.ifname}"


def has_spoof_chain(kernel: "Nftables", attachment: "Attachment") -> bool:
    """Whether that chain exists. It cannot for a long container id, because nft refuses longer names."""
    name = spoof_chain(attachment)
    return len(name) <= SPOOF_NAME_MAX and kernel.chain(BRIDGE, "nat", name) is not None


def may_exist(kernel: "Nftables", *chains: str, table: str = "nat") -> bool:
    """Whether a table of iptables may have one of these chains: netlink does not show iptables-legacy's."""
    listed = (kernel.chain(family, table, chain) for family in (IPV4, IPV6) for chain in chains)
    return any(chain is not None for chain in listed) or has_legacy(4, table) or has_legacy(6, table)


def may_be_masqueraded(kernel: "Nftables", chain: str) -> bool:
    """Whether masquerading in one of Go's forms may exist: this chain of iptables, or the newer table."""
    return kernel.chain(INET, MASQUERADE_TABLE, MASQUERADE_RULES) is not None or may_exist(kernel, chain)


def may_have_ports(kernel: "Nftables") -> bool:
    """Whether host ports in one of Go's forms may exist."""
    tables = kernel.tables()
    return any((family, PORTS_TABLE) in tables for family in (IPV4, IPV6)) or may_exist(kernel, DNAT)
