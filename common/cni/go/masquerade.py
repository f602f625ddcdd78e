"""Masquerading by Go's bridge and ptp, or by ours where iptables is asked for: removed and collected.

iptables' form is a chain ``CNI-…`` a container, reached from POSTROUTING by source address::

    -A POSTROUTING -s 10.1.2.2/32 -m comment --comment "name: \\"n1\\" id: \\"c1\\"" -j CNI-c189d8b6a7b4d184c9f70d4a
    -A CNI-c189d8b6a7b4d184c9f70d4a -d 10.1.2.0/24 … -j ACCEPT
    -A CNI-c189d8b6a7b4d184c9f70d4a ! -d 224.0.0.0/4 … -j MASQUERADE

The newer form is the nftables table ``inet cni_plugins_masquerade``, whose rules name their owner in a comment.
"""

from cni.address import Address
from cni.go import chains, names
from cni.go.names import MASQUERADE_RULES, MASQUERADE_TABLE
from cni.go.rules import Seen
from cni.kernel import iptables
from cni.kernel.transaction import INET, Transaction
from cni.plan import Found, all_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.attachment import Attachment
    from cni.go.chains import Nat
    from cni.go.rules import Rule
    from cni.kernel.nftables import Nftables


class Part:
    """One attachment's part of the chain that its container has."""

    def __init__(
        self,
        chain: str,
        comment: str,
        addresses: "Sequence[Address]" = (),
        living: "Callable[[], set[Address]]" = set,
    ) -> None:
        """Where no address is known, all that the container has but what is of ``living`` addresses."""
        self.chain = chain
        self._comment = comment
        self._wanted = {address.packed for address in addresses}
        self._living = living

    def divide(self, jumps: "Sequence[Rule]", inside: "Sequence[Rule]") -> "tuple[Sequence[Rule], Sequence[Rule]]":
        """The jumps and the chain's rules that go: all if no jump is left.

        An owner that stays without a MASQUERADE of its own keeps the one that is there.
        """
        kept = set() if self._wanted else {address.packed for address in self._living()}
        going = [jump for jump in jumps if self._may_go(jump) and not self._is_another(jump, kept)]
        left = [jump for jump in jumps if jump not in going]
        if not left:
            return going, inside
        if any(self._may_go(jump) for jump in left):
            return going, []
        mine = [rule for rule in inside if rule.comment == self._comment]
        if not any(rule.target == "MASQUERADE" for rule in inside if rule not in mine):
            mine = [rule for rule in mine if rule.target != "MASQUERADE"]
        return going, mine

    def _may_go(self, jump: "Rule") -> bool:
        """Whether it is the container's, or one whose comment names nobody."""
        return jump.comment == self._comment or names.owner_of(jump.comment) is None

    def _is_another(self, jump: "Rule", kept: "set[bytes]") -> bool:
        """Whether it is for another interface of the container."""
        return bool(self._wanted and self._wanted.isdisjoint(jump.addresses)) or not kept.isdisjoint(jump.addresses)


def remove(
    kernel: "Nftables",
    attachment: "Attachment",
    addresses: "Sequence[Address]" = (),
    living: "Callable[[], set[Address]]" = set,
) -> None:
    """Remove what the Go plugins, or ours in iptables, made for this attachment; errors are raised together.

    Where no address is known, all of the container's but what is of ``living``, its other interfaces' addresses.
    """
    part = Part(names.masquerade_chain(attachment), names.masquerade_comment(attachment), addresses, living)
    with iptables.alone(make=False):
        all_of((lambda: release(kernel, part), lambda: remove_newer(kernel, names.instance(attachment))))


def release(kernel: "Nftables", part: Part) -> None:
    """Remove one attachment's part of its container's chain, in every table; under the lock of ``iptables.alone``."""

    def step(table: "Nat") -> None:
        table.change(lambda: chains.release(table, names.POSTROUTING, part.chain, part.divide), "masquerading")

    chains.each(chains.tables(kernel, part.chain), step)


def remove_newer(kernel: "Nftables", comment: str) -> None:
    """The rules whose comment begins like this."""

    def change() -> None:
        generation, transaction = kernel.generation(), Transaction(INET, MASQUERADE_TABLE)
        for rule in kernel.rules(INET, MASQUERADE_TABLE, MASQUERADE_RULES):
            if rule.comment.startswith(comment):
                transaction.delete_rule(MASQUERADE_RULES, rule.handle)
        kernel.commit(transaction, generation)

    if kernel.chain(INET, MASQUERADE_TABLE, MASQUERADE_RULES) is not None:
        kernel.repeatedly(change)


def collect(kernel: "Nftables", network: str, valid: "Sequence[Attachment]") -> list[Found]:
    """Remove what the network's forgotten containers have in either form: the names of what went."""
    gone: list[Found] = []
    with iptables.alone(make=False):
        for chain, comment in chains.forgotten(kernel, names.POSTROUTING, network, map(names.masquerade_chain, valid)):
            release(kernel, Part(chain, comment))
            gone.append(Found(chain))
    instances = {names.instance(attachment) for attachment in valid}
    for rule in kernel.rules(INET, MASQUERADE_TABLE, MASQUERADE_RULES):
        instance = rule.comment.split(",")[0]
        if instance.startswith(names.instances(network)) and instance not in instances:
            remove_newer(kernel, instance)
            gone.append(Found(instance))
    return gone


def listed(kernel: "Nftables") -> "list[Found]":
    """What exists in both forms: a container's chains by its comments, and an attachment's rules by their hash."""
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
