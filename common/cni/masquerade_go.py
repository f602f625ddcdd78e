"""Masquerading as the Go plugins lay it out: made where a configuration asks for iptables, found and removed always.

iptables' form is a chain ``CNI-…`` an attachment's container, reached from POSTROUTING by source address::

    -A POSTROUTING -s 10.1.2.2/32 -m comment --comment "name: \\"n1\\" id: \\"c1\\"" -j CNI-c189d8b6a7b4d184c9f70d4a
    -A CNI-c189d8b6a7b4d184c9f70d4a -d 10.1.2.0/24 … -j ACCEPT
    -A CNI-c189d8b6a7b4d184c9f70d4a ! -d 224.0.0.0/4 … -j MASQUERADE

The interface is no part of the name, so two interfaces of one container share it: what belongs to one is told by its
addresses, and the chain goes with the last jump. Everything is asked for by its exact name, over netlink, and listed
only if that exists; iptables' own programs are needed to add, and for rules of iptables-legacy.

The newer form is the nftables table ``inet cni_plugins_masquerade``, whose rules tell their owner in a comment.
"""

from cni.address import MULTICAST, Address, Prefix
from cni.errors import CheckFailed, CNIError
from cni.kernel import iptables, nftables, program
from cni.kernel.nftables import Nftables, Rule
from cni.kernel.transaction import INET, IPV4, IPV6, Transaction
from cni.names import raw_sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.names import Attachment

_POSTROUTING = "POSTROUTING"
_NEWER_TABLE, _NEWER_CHAIN = "cni_plugins_masquerade", "masq_checks"


def chain_name(attachment: "Attachment") -> str:
    """``CNI-`` and 24 hexadecimal digits of network and container id, nothing between them."""
    return "CNI-" + raw_sha512(f"{attachment.network}{attachment.container}".encode()).hex()[:24]


def _comment(attachment: "Attachment") -> str:
    return f'name: "{attachment.network}" id: "{attachment.container}"'


# making


def add(attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """One iptables-restore a family; what the attachment had before is removed first. Raises ``CNIError``."""
    for version in sorted({prefix.version for prefix in prefixes}):
        name = f"{iptables.PROGRAMS[version]}-restore"
        if not program.find(name):
            raise program.missing(name)
    remove(attachment, [prefix.address for prefix in prefixes])
    for version in sorted({prefix.version for prefix in prefixes}):
        mine = [prefix for prefix in prefixes if prefix.version == version]
        name = iptables.PROGRAMS[version]
        missing, _ = iptables.run(name, "-t", "nat", "-S", chain_name(attachment))
        script = _script(attachment, mine, shared=not missing)
        fault = iptables.restore(name, script)
        if fault:
            raise CNIError(f"failed to set up masquerading with {name}: {fault}", f"the script was: {script}")


def _script(attachment: "Attachment", prefixes: "Sequence[Prefix]", shared: bool) -> list[str]:
    """For iptables-restore: every ACCEPT stands before the MASQUERADE, also when another interface shares the chain."""
    chain = chain_name(attachment)
    comment = f"-m comment --comment {iptables.quoted(_comment(attachment))}"
    lines = [] if shared else [f":{chain} - [0:0]"]
    for subnet in dict.fromkeys(prefix.network for prefix in prefixes):
        lines.append(f"-{f'I {chain} 1' if shared else f'A {chain}'} -d {subnet} {comment} -j ACCEPT")
    if not shared:
        lines.append(f"-A {chain} ! -d {MULTICAST[prefixes[0].version]} {comment} -j MASQUERADE")
    for prefix in prefixes:
        lines.append(f"-A {_POSTROUTING} -s {prefix.address} {comment} -j {chain}")
    return lines


def check(attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address jumps to the chain, and the chain masquerades; raises ``CheckFailed``."""
    chain = chain_name(attachment)
    for prefix in prefixes:
        name = iptables.PROGRAMS[prefix.version]
        fault, rules = iptables.run(name, "-t", "nat", "-S", chain)
        if fault or "-j MASQUERADE" not in rules or f"-d {prefix.network} " not in rules:
            raise CheckFailed(f"{name}: chain {chain} does not masquerade for {prefix.network}")
        words = ("-s", str(prefix.address), "-m", "comment", "--comment", _comment(attachment), "-j", chain)
        fault, _ = iptables.run(name, "-t", "nat", "-C", _POSTROUTING, *words)
        if fault:
            raise CheckFailed(f"{name}: {prefix.address} does not jump to chain {chain}")


# removing


def remove(attachment: "Attachment", addresses: "Sequence[Address]" = ()) -> None:
    """Whatever the Go plugins, or ``add``, made for this attachment; all of the container's where no address is known."""
    kernel = nftables.here()
    for family in (IPV4, IPV6):
        _chain_gone(kernel, family, chain_name(attachment), addresses)
    _newer_gone(kernel, _instance(attachment))
    _remove_legacy(attachment, addresses)


def _chain_gone(kernel: Nftables, family: int, chain: str, addresses: "Sequence[Address]") -> None:
    kernel.repeatedly(lambda: _remove_chain(kernel, family, chain, addresses))


def _newer_gone(kernel: Nftables, beginning: str) -> None:
    kernel.repeatedly(lambda: _remove_newer(kernel, beginning))


def _remove_chain(kernel: Nftables, family: int, chain: str, addresses: "Sequence[Address]") -> None:
    generation = kernel.generation()
    if kernel.chain(family, "nat", chain) is None:
        return
    transaction = Transaction(family, "nat")
    left = 0
    wanted = {address.packed for address in addresses}
    for rule in kernel.rules(family, "nat", _POSTROUTING):
        if chain not in rule.jumps_to():
            continue
        if addresses and wanted.isdisjoint(iptables.compared(rule)):
            left += 1
        else:
            transaction.delete_rule(_POSTROUTING, rule.handle)
    if not left:
        transaction.flush_chain(chain)
        transaction.delete_chain(chain)
    kernel.commit(transaction, generation)


def _network_hash(network: str) -> str:
    return raw_sha512(network.encode()).hex()[:16]


def _instance(attachment: "Attachment") -> str:
    """What the newer form's comments begin with."""
    digest = raw_sha512(f"{attachment.ifname}:{attachment.container}".encode()).hex()[:16]
    return f"{_network_hash(attachment.network)}-{digest}"


def _remove_newer(kernel: Nftables, beginning: str) -> None:
    generation = kernel.generation()
    if kernel.chain(INET, _NEWER_TABLE, _NEWER_CHAIN) is None:
        return
    transaction = Transaction(INET, _NEWER_TABLE)
    for rule in kernel.rules(INET, _NEWER_TABLE, _NEWER_CHAIN):
        if rule.comment.startswith(beginning):
            transaction.delete_rule(_NEWER_CHAIN, rule.handle)
    kernel.commit(transaction, generation)


def _remove_legacy(attachment: "Attachment", addresses: "Sequence[Address]") -> None:
    chain = chain_name(attachment)
    for version, name in ((4, "iptables-legacy"), (6, "ip6tables-legacy")):
        if not iptables.legacy_in_use(version):
            continue
        fault, rules = iptables.run(name, "-t", "nat", "-S", _POSTROUTING)
        jumps = [line for line in rules.splitlines() if line.endswith(f"-j {chain}")]
        mine = [line for line in jumps if not addresses or any(f"-s {a}/" in line for a in addresses)]
        lines = [f"-D{line[2:]}" for line in mine]
        known = not iptables.run(name, "-t", "nat", "-S", chain)[0]
        if known and len(mine) == len(jumps):
            lines += [f"-F {chain}", f"-X {chain}"]
        if lines:
            fault = iptables.restore(name, lines)
            if fault:
                raise CNIError(f"failed to remove masquerading with {name}: {fault}")


# collecting


def _owner(rule: Rule) -> tuple[str, str] | None:
    """Network and container that an iptables rule's comment tells."""
    parts = iptables.comment_of(rule).split('"')
    if len(parts) == 5 and parts[0] == "name: " and parts[2] == " id: ":
        return parts[1], parts[3]
    return None


def collect(network: str, valid: "Sequence[Attachment]") -> list[str]:
    """Remove what the network's forgotten containers have in either form: the names of what went."""
    containers = {attachment.container for attachment in valid}
    instances = {_instance(attachment) for attachment in valid}
    kernel = nftables.here()
    gone: list[str] = []
    for family in (IPV4, IPV6):
        for rule in kernel.rules(family, "nat", _POSTROUTING):
            owner, chains = _owner(rule), [name for name in rule.jumps_to() if name.startswith("CNI-")]
            if owner is not None and chains and owner[0] == network and owner[1] not in containers:
                _chain_gone(kernel, family, chains[0], ())
                gone += chains
    beginning = f"{_network_hash(network)}-"
    for rule in kernel.rules(INET, _NEWER_TABLE, _NEWER_CHAIN):
        instance = rule.comment.split(",")[0]
        if instance.startswith(beginning) and instance not in instances:
            _newer_gone(kernel, instance)
            gone.append(instance)
    return gone
