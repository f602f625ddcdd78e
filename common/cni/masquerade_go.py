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
from cni.kernel.nftables import Nftables
from cni.kernel.transaction import INET, IPV4, IPV6, Transaction
from cni.names import raw_sha512
from cni.plan import raise_together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cni.names import Attachment

_POSTROUTING = "POSTROUTING"
_NEWER_TABLE, _NEWER_BASE, _NEWER_CHAIN = "cni_plugins_masquerade", "postrouting", "masq_checks"


def chain_name(attachment: "Attachment") -> str:
    """``CNI-`` and 24 hexadecimal digits of network and container id, nothing between them."""
    return "CNI-" + raw_sha512(f"{attachment.network}{attachment.container}".encode()).hex()[:24]


def _comment(attachment: "Attachment") -> str:
    return f'name: "{attachment.network}" id: "{attachment.container}"'


def _program(version: int) -> str:
    """The iptables to make rules with: the legacy one where the kernel has no nf_tables, which the other may need."""
    legacy = iptables.LEGACY[version]
    return legacy if nftables.here().absent and program.find(f"{legacy}-restore") else iptables.PROGRAMS[version]


# making


def add(attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """One iptables-restore a family; what the attachment had before is removed first. Raises ``CNIError``."""
    for version in sorted({prefix.version for prefix in prefixes}):
        name = f"{_program(version)}-restore"
        if not program.find(name):
            raise program.missing(name)
    with iptables.alone():
        _release(attachment, [prefix.address for prefix in prefixes], set)
        for version in sorted({prefix.version for prefix in prefixes}):
            mine = [prefix for prefix in prefixes if prefix.version == version]
            name = _program(version)
            missing, _ = iptables.run(name, "-t", "nat", "-S", chain_name(attachment))
            script = _script(attachment, mine, shared=not missing)
            fault = iptables.restore(name, script)
            if fault:
                raise CNIError(f"failed to set up masquerading with {name}: {fault}", f"the script was: {script}")


def _script(attachment: "Attachment", prefixes: "Sequence[Prefix]", shared: bool) -> list[str]:
    """For iptables-restore: every ACCEPT stands before the MASQUERADE, also when another interface shares the chain."""
    from cni.kernel.rulespec import quoted

    chain = chain_name(attachment)
    comment = f"-m comment --comment {quoted(_comment(attachment))}"
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
    for prefix in prefixes:
        fault = _fault(iptables.PROGRAMS[prefix.version], attachment, prefix)
        legacy = iptables.legacy(prefix.version) if fault else ""
        if fault and (not legacy or _fault(legacy, attachment, prefix)):
            raise CheckFailed(fault)


def _fault(name: str, attachment: "Attachment", prefix: Prefix) -> str:
    """What an address lacks in the tables of one iptables."""
    chain = chain_name(attachment)
    fault, rules = iptables.run(name, "-t", "nat", "-S", chain)
    if fault or "-j MASQUERADE" not in rules or f"-d {prefix.network} " not in rules:
        return f"{name}: chain {chain} does not masquerade for {prefix.network}"
    words = ("-s", str(prefix.address), "-m", "comment", "--comment", _comment(attachment), "-j", chain)
    fault, _ = iptables.run(name, "-t", "nat", "-C", _POSTROUTING, *words)
    return f"{name}: {prefix.address} does not jump to chain {chain}" if fault else ""


def check_newer(attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address has its rule in the newer form's table; raises ``CheckFailed``."""
    from cni.kernel.compat import compared

    kernel, instance = nftables.here(), _instance(attachment)
    base = kernel.chain(INET, _NEWER_TABLE, _NEWER_BASE)
    entered = base is not None and base.get_attr("NFTA_CHAIN_HOOK") is not None
    if not entered or not any(_NEWER_CHAIN in r.jumps_to() for r in kernel.rules(INET, _NEWER_TABLE, _NEWER_BASE)):
        raise CheckFailed(f"nftables table inet {_NEWER_TABLE}: nothing goes to its chain {_NEWER_CHAIN}")
    found: set[bytes] = set()
    for rule in kernel.rules(INET, _NEWER_TABLE, _NEWER_CHAIN):
        if rule.comment.split(",")[0] == instance and list(rule.expressions("masq")):
            found |= compared(rule)
    for prefix in prefixes:
        if prefix.address.packed not in found:
            raise CheckFailed(f"nftables table inet {_NEWER_TABLE}: {prefix.address} is not masqueraded")


# removing


def remove(
    attachment: "Attachment", addresses: "Sequence[Address]" = (), living: "Callable[[], set[Address]]" = set
) -> None:
    """Whatever the Go plugins, or ``add``, made for this attachment; errors are told together.

    Where no address is known, all of the container's but what is of ``living``, its other interfaces' addresses.
    """
    with iptables.alone(make=False):
        _release(attachment, addresses, living)


def _release(attachment: "Attachment", addresses: "Sequence[Address]", living: "Callable[[], set[Address]]") -> None:
    kernel, chain = nftables.here(), chain_name(attachment)
    steps: list[Callable[[], None]] = [
        *(lambda family=family: _chain_gone(kernel, family, chain, addresses, living) for family in (IPV4, IPV6)),
        lambda: _newer_gone(kernel, _instance(attachment)),
        lambda: _remove_legacy(chain, addresses, living),
    ]
    errors: list[Exception] = []
    for step in steps:
        try:
            step()
        except Exception as error:
            errors.append(error)
    raise_together(errors)


def _chain_gone(
    kernel: Nftables,
    family: int,
    chain: str,
    addresses: "Sequence[Address]" = (),
    living: "Callable[[], set[Address]]" = set,
) -> None:
    kernel.repeatedly(lambda: _remove_chain(kernel, family, chain, addresses, living))


def _newer_gone(kernel: Nftables, beginning: str) -> None:
    kernel.repeatedly(lambda: _remove_newer(kernel, beginning))


def _remove_chain(
    kernel: Nftables, family: int, chain: str, addresses: "Sequence[Address]", living: "Callable[[], set[Address]]"
) -> None:
    generation = kernel.generation()
    if kernel.chain(family, "nat", chain) is None:
        return
    from cni.kernel.compat import compared

    transaction = Transaction(family, "nat")
    left = 0
    wanted = {address.packed for address in addresses}
    kept = set() if addresses else {address.packed for address in living()}
    for rule in kernel.rules(family, "nat", _POSTROUTING):
        if chain not in rule.jumps_to():
            continue
        values = compared(rule)
        if (addresses and wanted.isdisjoint(values)) or not kept.isdisjoint(values):
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


def _remove_legacy(chain: str, addresses: "Sequence[Address]", living: "Callable[[], set[Address]]") -> None:
    for version in (4, 6):
        name, there = iptables.LEGACY[version], iptables.legacy_rules(version, [_POSTROUTING, chain])
        if chain not in there:
            continue
        jumps = [line for line in there.get(_POSTROUTING, ()) if line.endswith(f"-j {chain}")]
        kept = set() if addresses else living()
        mine = [line for line in jumps if not addresses or any(f"-s {a}/" in line for a in addresses)]
        mine = [line for line in mine if not any(f"-s {a}/" in line for a in kept)]
        lines = [f"-D{line[2:]}" for line in mine]
        if len(mine) == len(jumps):
            lines += [f"-F {chain}", f"-X {chain}"]
        fault = iptables.restore(name, lines) if lines else ""
        if fault:
            raise CNIError(f"failed to remove masquerading with {name}: {fault}")


# collecting


def _owner(comment: str) -> tuple[str, str] | None:
    """Network and container that an iptables rule's comment tells."""
    parts = comment.split('"')
    if len(parts) == 5 and parts[0] == "name: " and parts[2] == " id: ":
        return parts[1], parts[3]
    return None


def _jumps(kernel: Nftables) -> "Iterator[tuple[str, str]]":
    """Comment and chain of every jump to a container's chain, in iptables-nft and in iptables-legacy."""
    from cni.kernel.compat import comment_of
    from cni.kernel.rulespec import meaning

    for family in (IPV4, IPV6):
        for rule in kernel.rules(family, "nat", _POSTROUTING):
            for chain in rule.jumps_to():
                yield comment_of(rule), chain
    for version in (4, 6):
        for line in iptables.legacy_rules(version, [_POSTROUTING]).get(_POSTROUTING, ()):
            options = dict(meaning(line))
            yield options.get("--comment", ""), options.get("-j", "")


def collect(network: str, valid: "Sequence[Attachment]") -> list[str]:
    """Remove what the network's forgotten containers have in either form: the names of what went."""
    containers = {attachment.container for attachment in valid}
    instances = {_instance(attachment) for attachment in valid}
    kernel = nftables.here()
    gone: list[str] = []
    for comment, chain in set(_jumps(kernel)):
        owner = _owner(comment)
        if owner is None or not chain.startswith("CNI-") or owner[0] != network or owner[1] in containers:
            continue
        for family in (IPV4, IPV6):
            _chain_gone(kernel, family, chain)
        _remove_legacy(chain, (), set)
        gone.append(chain)
    beginning = f"{_network_hash(network)}-"
    for rule in kernel.rules(INET, _NEWER_TABLE, _NEWER_CHAIN):
        instance = rule.comment.split(",")[0]
        if instance.startswith(beginning) and instance not in instances:
            _newer_gone(kernel, instance)
            gone.append(instance)
    return gone
