"""Masquerading as the Go plugins lay it out: made where a configuration asks for iptables, found and removed always.

iptables' form is a chain ``CNI-…`` an attachment's container, reached from POSTROUTING by source address::

    -A POSTROUTING -s 10.1.2.2/32 -m comment --comment "name: \\"n1\\" id: \\"c1\\"" -j CNI-c189d8b6a7b4d184c9f70d4a
    -A CNI-c189d8b6a7b4d184c9f70d4a -d 10.1.2.0/24 … -j ACCEPT
    -A CNI-c189d8b6a7b4d184c9f70d4a ! -d 224.0.0.0/4 … -j MASQUERADE

The interface is no part of the name, so two interfaces of one container share it: what belongs to one is told by its
addresses, and the chain goes with the last jump. Nothing stands between network and container there, so two networks'
containers may share it too (``n1`` with ``1a``, ``n11`` with ``a``): what belongs to one is told by its comment, and
only where that cannot be read by addresses alone. Everything is asked for by its exact name, over netlink, and listed
only if that exists; iptables' own programs are needed to add, and for rules of iptables-legacy.

The newer form is the nftables table ``inet cni_plugins_masquerade``, whose rules tell their owner in a comment.
"""

from cni.address import MULTICAST, Address, Prefix
from cni.errors import CheckFailed, CNIError
from cni.kernel import iptables, program
from cni.kernel.nftables import Nftables
from cni.kernel.transaction import INET, IPV4, IPV6, Transaction
from cni.names import raw_sha512
from cni.plan import Found, all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from cni.attachment import Attachment
    from cni.kernel.nftables import Rule

_POSTROUTING = "POSTROUTING"
_NEWER_TABLE, _NEWER_BASE, _NEWER_CHAIN = "cni_plugins_masquerade", "postrouting", "masq_checks"


def chain_name(attachment: "Attachment") -> str:
    """``CNI-`` and 24 hexadecimal digits of network and container id, nothing between them."""
    return "CNI-" + raw_sha512(f"{attachment.network}{attachment.container}".encode()).hex()[:24]


def _names(attachment: "Attachment") -> tuple[str, str]:
    return attachment.network, attachment.container


def _comment(attachment: "Attachment") -> str:
    return f'name: "{attachment.network}" id: "{attachment.container}"'


def _owner(comment: str) -> tuple[str, str] | None:
    """Network and container that an iptables rule's comment tells."""
    parts = comment.split('"')
    if len(parts) == 5 and parts[0] == "name: " and parts[2] == " id: ":
        return parts[1], parts[3]
    return None


# making


def add(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """One iptables-restore a family; what the attachment had before is removed first. Raises ``CNIError``."""
    for version in sorted({prefix.version for prefix in prefixes}):
        name = f"{iptables.to_make(version)}-restore"
        if not program.find(name):
            raise program.missing(name)
    with iptables.alone():
        _release(kernel, attachment, [prefix.address for prefix in prefixes], set)
        for version in sorted({prefix.version for prefix in prefixes}):
            mine = [prefix for prefix in prefixes if prefix.version == version]
            name = iptables.to_make(version)
            missing, text = iptables.run(name, "-t", "nat", "-S", chain_name(attachment))
            script = _script(attachment, mine, None if missing else text.splitlines())
            fault = iptables.restore(name, script)
            if fault:
                raise CNIError(f"failed to set up masquerading with {name}: {fault}", f"the script was: {script}")


def _script(attachment: "Attachment", prefixes: "Sequence[Prefix]", there: "list[str] | None") -> list[str]:
    """For iptables-restore; ``there`` is the chain as it is, None where it is missing.

    Every ACCEPT stands before the MASQUERADE, also when another interface, or another's container, shares the chain.
    """
    from cni.kernel.rulespec import quoted

    chain = chain_name(attachment)
    comment = f"-m comment --comment {quoted(_comment(attachment))}"
    lines = [f":{chain} - [0:0]"] if there is None else []
    for subnet in dict.fromkeys(prefix.network for prefix in prefixes):
        lines.append(f"-{f'A {chain}' if there is None else f'I {chain} 1'} -d {subnet} {comment} -j ACCEPT")
    if not any(rule.masquerades and rule.owner == _names(attachment) for rule in _spelt(there or ())):
        lines.append(f"-A {chain} ! -d {MULTICAST[prefixes[0].version]} {comment} -j MASQUERADE")
    for prefix in prefixes:
        lines.append(f"-A {_POSTROUTING} -s {prefix.address} {comment} -j {chain}")
    return lines


def check(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address jumps to the chain, and the chain masquerades; raises ``CheckFailed``.

    iptables is only asked where there is something: iptables-legacy makes the tables that it is to list.
    """
    chain = chain_name(attachment)
    for prefix in prefixes:
        version = prefix.version
        there = kernel.chain(iptables.FAMILIES[version], "nat", chain) is not None
        names = (iptables.PROGRAMS[version] if there else "", iptables.legacy(version))
        faults = [_fault(name, attachment, prefix) for name in names if name]
        if all(faults):
            raise CheckFailed(faults[0] if faults else f"{iptables.PROGRAMS[version]}: there is no chain {chain}")


def _fault(name: str, attachment: "Attachment", prefix: Prefix) -> str:
    """What an address lacks in the tables of one iptables."""
    chain = chain_name(attachment)
    fault, rules = iptables.run(name, "-t", "nat", "-S", chain)
    if fault or "-j MASQUERADE" not in rules or f"-d {prefix.network} " not in rules:
        return f"{name}: chain {chain} does not masquerade for {prefix.network}"
    words = ("-s", str(prefix.address), "-m", "comment", "--comment", _comment(attachment), "-j", chain)
    fault, _ = iptables.run(name, "-t", "nat", "-C", _POSTROUTING, *words)
    return f"{name}: {prefix.address} does not jump to chain {chain}" if fault else ""


def check_newer(kernel: Nftables, attachment: "Attachment", prefixes: "Sequence[Prefix]") -> None:
    """Each address has its rule in the newer form's table; raises ``CheckFailed``."""
    from cni.kernel.compat import compared

    instance = _instance(attachment)
    base = kernel.chain(INET, _NEWER_TABLE, _NEWER_BASE)
    entered = base is not None and base.hook is not None
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
    kernel: Nftables,
    attachment: "Attachment",
    addresses: "Sequence[Address]" = (),
    living: "Callable[[], set[Address]]" = set,
) -> None:
    """Whatever the Go plugins, or ``add``, made for this attachment; errors are told together.

    Where no address is known, all of the container's but what is of ``living``, its other interfaces' addresses.
    """
    with iptables.alone(make=False):
        _release(kernel, attachment, addresses, living)


def _release(
    kernel: Nftables, attachment: "Attachment", addresses: "Sequence[Address]", living: "Callable[[], set[Address]]"
) -> None:
    part = _Part(chain_name(attachment), _names(attachment), addresses, living)
    all_of(
        (
            lambda: _chain_gone(kernel, IPV4, part),
            lambda: _chain_gone(kernel, IPV6, part),
            lambda: _newer_gone(kernel, _instance(attachment)),
            lambda: _remove_legacy(part),
        )
    )


class _Rule:
    """A rule of either iptables: by what it is deleted, whose it is by its comment, and what else is looked at."""

    __slots__ = ("deleted_by", "masquerades", "owner", "sources")

    def __init__(self, deleted_by: "Any", comment: str, masquerades: bool, sources: "set[bytes]") -> None:
        """``sources`` are addresses, among them the one that a jump is for."""
        self.deleted_by = deleted_by
        self.owner = _owner(comment)
        self.masquerades = masquerades
        self.sources = sources


def _listed(rules: "Iterable[Rule]") -> list[_Rule]:
    """Rules over netlink, deleted by their handles."""
    from cni.kernel.compat import comment_of, compared, target_of

    return [
        _Rule(
            rule.handle,
            comment_of(rule) or rule.comment,
            target_of(rule)[0] == "MASQUERADE" or bool(list(rule.expressions("masq"))),
            compared(rule),
        )
        for rule in rules
    ]


def _spelt(lines: "Iterable[str]") -> list[_Rule]:
    """Rules as iptables prints them (``-A CHAIN …``), deleted by the line."""
    from cni.kernel.rulespec import meaning

    found = []
    for line in lines:
        options = dict(meaning(line))
        masquerades = options.get("-j") == "MASQUERADE"
        found.append(_Rule(f"-D{line[2:]}", options.get("--comment", ""), masquerades, _packed(options.get("-s", ""))))
    return found


def _packed(source: str) -> "set[bytes]":
    try:
        return {Prefix.parse(source).address.packed}
    except ValueError:  # none, or a mask that is no prefix
        return set()


class _Part:
    """One attachment's part of a chain that others may share."""

    def __init__(
        self,
        chain: str,
        owner: tuple[str, str],
        addresses: "Sequence[Address]" = (),
        living: "Callable[[], set[Address]]" = set,
    ) -> None:
        """Where no address is known, all that the owner has but what is of ``living`` addresses."""
        self.chain = chain
        self._owner = owner
        self._wanted = {address.packed for address in addresses}
        self._living = living

    def going(self, jumps: "Sequence[_Rule]", inside: "Sequence[_Rule]") -> "tuple[list[_Rule], list[_Rule] | None]":
        """The jumps that go, and the chain's rules that go; None for these is the chain itself, nobody being left.

        Somebody who is left and has no MASQUERADE of his own keeps the one that is there.
        """
        kept = set() if self._wanted else {address.packed for address in self._living()}
        going = [jump for jump in jumps if self._may_go(jump) and not self._other_interface(jump, kept)]
        left = [jump for jump in jumps if jump not in going]
        if not left:
            return going, None
        if any(self._may_go(jump) for jump in left):
            return going, []
        mine = [rule for rule in inside if rule.owner == self._owner]
        if not any(rule.masquerades for rule in inside if rule not in mine):
            mine = [rule for rule in mine if not rule.masquerades]
        return going, mine

    def _may_go(self, jump: _Rule) -> bool:
        return jump.owner in (self._owner, None)

    def _other_interface(self, jump: _Rule, kept: "set[bytes]") -> bool:
        return bool(self._wanted and self._wanted.isdisjoint(jump.sources)) or not kept.isdisjoint(jump.sources)


def _chain_gone(kernel: Nftables, family: int, part: _Part) -> None:
    kernel.repeatedly(lambda: _remove_chain(kernel, family, part))


def _newer_gone(kernel: Nftables, beginning: str) -> None:
    kernel.repeatedly(lambda: _remove_newer(kernel, beginning))


def _remove_chain(kernel: Nftables, family: int, part: _Part) -> None:
    generation = kernel.generation()
    if kernel.chain(family, "nat", part.chain) is None:
        return
    transaction = Transaction(family, "nat")
    jumps = [rule for rule in kernel.rules(family, "nat", _POSTROUTING) if part.chain in rule.jumps_to()]
    there = _listed(kernel.rules(family, "nat", part.chain))
    going, inside = part.going(_listed(jumps), there)
    for jump in going:
        transaction.delete_rule(_POSTROUTING, jump.deleted_by)
    for rule in there if inside is None else inside:
        transaction.delete_rule(part.chain, rule.deleted_by)
    if inside is None:
        transaction.delete_chain(part.chain)
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


def _remove_legacy(part: _Part) -> None:
    for version in (4, 6):
        name, there = iptables.legacy(version), iptables.legacy_rules(version, [_POSTROUTING, part.chain])
        if part.chain not in there:
            continue
        jumps = [line for line in there.get(_POSTROUTING, ()) if line.endswith(f"-j {part.chain}")]
        going, inside = part.going(_spelt(jumps), _spelt(there[part.chain]))
        lines = [rule.deleted_by for rule in (*going, *(inside or ()))]
        if inside is None:
            lines += [f"-F {part.chain}", f"-X {part.chain}"]
        fault = iptables.restore(name, lines) if lines else ""
        if fault:
            raise CNIError(f"failed to remove masquerading with {name}: {fault}")


# collecting


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


def collect(kernel: Nftables, network: str, valid: "Sequence[Attachment]") -> list[Found]:
    """Remove what the network's forgotten containers have in either form: the names of what went."""
    containers = {attachment.container for attachment in valid}
    instances = {_instance(attachment) for attachment in valid}
    gone: list[Found] = []
    for comment, chain in set(_jumps(kernel)):
        owner = _owner(comment)
        if owner is None or not chain.startswith("CNI-") or owner[0] != network or owner[1] in containers:
            continue
        part = _Part(chain, owner)
        for family in (IPV4, IPV6):
            _chain_gone(kernel, family, part)
        _remove_legacy(part)
        gone.append(Found(chain))
    beginning = f"{_network_hash(network)}-"
    for rule in kernel.rules(INET, _NEWER_TABLE, _NEWER_CHAIN):
        instance = rule.comment.split(",")[0]
        if instance.startswith(beginning) and instance not in instances:
            _newer_gone(kernel, instance)
            gone.append(Found(instance))
    return gone
