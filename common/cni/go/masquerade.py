"""Masquerading of Go's bridge and ptp, or of ours if iptables is asked for: removed and collected.

In iptables, each container has a chain ``CNI-…``; POSTROUTING jumps to it by source address::

    -A POSTROUTING -s 10.1.2.2/32 -m comment --comment "name: \\"n1\\" id: \\"c1\\"" -j CNI-c189d8b6a7b4d184c9f70d4a
    -A CNI-c189d8b6a7b4d184c9f70d4a -d 10.1.2.0/24 … -j ACCEPT
    -A CNI-c189d8b6a7b4d184c9f70d4a ! -d 224.0.0.0/4 … -j MASQUERADE

The newer form is the nftables table ``inet cni_plugins_masquerade``, whose rules name their owner in a comment.
"""

from cni.address import Address
from cni.go import chains, names
from cni.go.chains import Part
from cni.go.names import MASQUERADE_RULES, MASQUERADE_TABLE
from cni.go.rules import Seen
from cni.kernel import iptables
from cni.kernel.transaction import INET
from cni.plan import Found, all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cni.attachment import Attachment
    from cni.go.chains import Other
    from cni.go.rules import Rule
    from cni.kernel.nftables import Nftables


def _divide(part: Part, jumps: "Sequence[Rule]", inside: "Sequence[Rule]") -> "tuple[Sequence[Rule], Sequence[Rule]]":
    """The jumps and the chain's rules to delete: all rules if no jump remains.

    A jump whose comment names no owner may belong to the attachment. If another owner remains and has no MASQUERADE of
    its own, the existing one stays.
    """
    of_container = [jump for jump in jumps if jump.comment == part.comment or names.owner_of(jump.comment) is None]
    deleted = [jump for jump in of_container if not part.other(jump.addresses)]
    if len(deleted) == len(jumps):
        return deleted, inside
    if len(deleted) < len(of_container):
        return deleted, []
    own = [rule for rule in inside if rule.comment == part.comment]
    if not any(rule.target == "MASQUERADE" for rule in inside if rule not in own):
        own = [rule for rule in own if rule.target != "MASQUERADE"]
    return deleted, own


def remove(kernel: "Nftables", attachment: "Attachment", other: "Other") -> None:
    """Remove what Go's plugins, or ours in iptables, made for this attachment; errors are raised together.

    ``other`` recognises addresses of the container's other interfaces, which share its chain.
    """
    part = Part(names.masquerade_chain(attachment), names.masquerade_comment(attachment), other)
    with iptables.lock(make=False):
        all_of((lambda: release(kernel, part), lambda: remove_newer(kernel, names.instance(attachment))))


def release(kernel: "Nftables", part: Part) -> None:
    """Remove one attachment's part of its container's chain, in every table; the caller holds ``iptables.lock``."""

    def step(table: chains.Table) -> None:
        table.change(lambda: chains.release(table, names.POSTROUTING, part, _divide), "masquerading")

    chains.each(chains.tables(kernel, part.chain), step)


def remove_newer(kernel: "Nftables", comment: str) -> None:
    """Remove the rules of the newer form whose comments begin with this text."""
    table = chains.Table(kernel, INET, MASQUERADE_TABLE)

    def plan() -> None:
        for rule in table.rules(MASQUERADE_RULES):
            if rule.comment.startswith(comment):
                table.delete(rule)

    if table.has(MASQUERADE_RULES):
        table.change(plan)


def collect(kernel: "Nftables", network: str, valid: "Sequence[Attachment]") -> list[Found]:
    """Remove both forms of the network's containers that are not valid; returns the names of what it removed."""
    gone: list[Found] = []
    with iptables.lock(make=False):
        for chain, comment in chains.stale(kernel, names.POSTROUTING, network, map(names.masquerade_chain, valid)):
            release(kernel, Part(chain, comment))
            gone.append(Found(chain))
    instances = {names.instance(attachment) for attachment in valid}
    for rule in kernel.rules(INET, MASQUERADE_TABLE, MASQUERADE_RULES):
        instance = rule.comment.split(",")[0]
        if instance.startswith(names.instances(network)) and instance not in instances:
            remove_newer(kernel, instance)
            gone.append(Found(instance))
    return gone


def addresses(kernel: "Nftables", chain: str) -> list[Address]:
    """The addresses that are masqueraded in a container's chain."""
    jumps = [rule for table in chains.tables(kernel, chain) for rule in table.rules(names.POSTROUTING)]
    return [Address(address) for rule in jumps if rule.target == chain for address in rule.addresses]


def listed(kernel: "Nftables") -> "list[Found]":
    """The containers' chains and, in the newer form, the attachments' hashes, with addresses; for the inventory."""
    addresses: dict[tuple[str, str, str], list[str]] = {}
    for table in chains.tables(kernel):
        for jump in table.rules(names.POSTROUTING):
            named = names.owner_of(jump.comment)
            if named is not None and jump.target.startswith(names.MASQUERADE):
                texts = addresses.setdefault((jump.target, f"{named[0]}/{named[1]}/", table.where), [])
                texts += [str(Address(address)) for address in jump.addresses]
    for rule in kernel.rules(INET, MASQUERADE_TABLE, MASQUERADE_RULES):
        instance = rule.comment.split(",")[0]
        owner = names.instance_owner(rule.comment)
        texts = addresses.setdefault((instance, owner, MASQUERADE_TABLE), [])
        texts += [str(Address(address)) for address in Seen(MASQUERADE_RULES, rule).addresses]
    return [
        Found(identity, owner, table=table, addresses=found) for (identity, owner, table), found in addresses.items()
    ]
