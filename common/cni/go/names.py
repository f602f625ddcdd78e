"""What Go's plugins call their chains and tables, and what their comments say: written, and parsed back."""

from cni.kernel.backend import has_legacy
from cni.kernel.transaction import BRIDGE, INET, IPV4, IPV6
from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cni.attachment import Attachment
    from cni.kernel.nftables import Nftables

POSTROUTING = "POSTROUTING"
BASE = ("PREROUTING", "OUTPUT", POSTROUTING)
# The chains of host ports that all containers share. The last one is of versions before 0.7: removed, never made.
DNAT, SETMARK, MASQ, OLD_SNAT = "CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ", "CNI-HOSTPORT-SNAT"
# What the names of a container's own chains begin with: for masquerading, and for host ports.
MASQUERADE, PORTS = "CNI-", "CNI-DN-"
# The newer forms: nftables tables.
MASQUERADE_TABLE, PORTS_TABLE = "cni_plugins_masquerade", "cni_hostport"
MASQUERADE_RULES = "masq_checks"
# What the names of an interface's chains begin with, and the longest name, for the MAC spoof check.
SPOOF, SPOOF_NAME_MAX = "cni-br-iface-", 120
_CHAIN_MAX, _COMMENT_MAX = 28, 255
# of a comment in the table for masquerading
_INSTANCE_MAX = 128
_PORTS_WORD = "dnat "


def chain_name(beginning: str, network: str, container: str) -> str:
    """A container's own chain: 28 characters, of a hash of network and container id with nothing between them."""
    return f"{beginning}{raw_sha512(f'{network}{container}'.encode()).hex()}"[:_CHAIN_MAX]


def masquerade_chain(attachment: "Attachment") -> str:
    """The container's chain for masquerading."""
    return chain_name(MASQUERADE, attachment.network, attachment.container)


def ports_chain(attachment: "Attachment") -> str:
    """The container's chain for host ports."""
    return chain_name(PORTS, attachment.network, attachment.container)


def old_ports_chain(chain: str) -> str:
    """The chain that versions before 0.7 made beside a container's own."""
    return chain.replace(PORTS, "CNI-SN-", 1)


def masquerade_comment(attachment: "Attachment") -> str:
    """The comment of a container's rules for masquerading."""
    return f'{_of_network(attachment.network)}{attachment.container}"'


def ports_comment(network: str, container: str) -> str:
    """The comment of a container's entry rules: of a long one what the kernel keeps of Go's, which is a byte more."""
    text = f'{_PORTS_WORD}{_of_network(network)}{container}"'
    return text if len(text) <= _COMMENT_MAX else f"{text[: _COMMENT_MAX - 2]}.."


def _of_network(network: str) -> str:
    return f'name: "{network}" id: "'


def owner_of(comment: str) -> "tuple[str, str] | None":
    """Network and container id in a comment of either kind; None for another comment, or one that was cut."""
    parts = comment.removeprefix(_PORTS_WORD).split('"')
    if len(parts) == 5 and parts[0] == "name: " and parts[2] == " id: " and not parts[4]:
        return parts[1], parts[3]
    return None


def is_of_network(comment: str, network: str) -> bool:
    """Whether a comment is that of a container of the network, be it one whose id was too long for it."""
    owner = owner_of(comment)
    if owner is not None:
        return owner[0] == network
    return len(comment) == _COMMENT_MAX and comment.startswith(f"{_PORTS_WORD}{_of_network(network)}")


def instances(network: str) -> str:
    """The beginning of the comments of a network's attachments in the table for masquerading."""
    return f"{raw_sha512(network.encode()).hex()[:16]}-"


def instance(attachment: "Attachment") -> str:
    """The same for one attachment."""
    digest = raw_sha512(f"{attachment.ifname}:{attachment.container}".encode()).hex()[:16]
    return f"{instances(attachment.network)}{digest}"


def instance_owner(comment: str) -> str:
    """The attachment that such a comment names behind its hash; empty if it was cut."""
    parts = comment.split(", ")
    words = dict(part.partition(": ")[::2] for part in parts[1:])
    whole = len(comment.encode()) < _INSTANCE_MAX and set(words) == {"net", "if", "id"}
    return f"{words['net']}/{words['id']}/{words['if']}" if whole else ""


def spoof_chain(attachment: "Attachment") -> str:
    """The first of an interface's two chains for the MAC spoof check; the other one has ``-mac`` behind it."""
    return f"{SPOOF}{attachment.container}-{attachment.ifname}"


def has_spoof_chain(kernel: "Nftables", attachment: "Attachment") -> bool:
    """Whether that chain exists. nft takes no longer names, and cuts none, so a long container id has no such chain."""
    name = spoof_chain(attachment)
    return len(name) <= SPOOF_NAME_MAX and kernel.chain(BRIDGE, "nat", name) is not None


def may_exist(kernel: "Nftables", *chains: str) -> bool:
    """Whether a nat table has one of these chains, as far as netlink shows: it does not show iptables-legacy's."""
    listed = (kernel.chain(family, "nat", chain) for family in (IPV4, IPV6) for chain in chains)
    return any(chain is not None for chain in listed) or has_legacy(4) or has_legacy(6)


def may_be_masqueraded(kernel: "Nftables", chain: str) -> bool:
    """Whether anything may be masqueraded in one of Go's forms: by this chain of iptables, or by the newer table."""
    return kernel.chain(INET, MASQUERADE_TABLE, MASQUERADE_RULES) is not None or may_exist(kernel, chain)


def may_have_ports(kernel: "Nftables") -> bool:
    """Whether any container may have host ports in one of Go's forms."""
    tables = kernel.tables()
    return any((family, PORTS_TABLE) in tables for family in (IPV4, IPV6)) or may_exist(kernel, DNAT)
