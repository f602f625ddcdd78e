"""Host ports that Go's portmap (1.6 and later) made in nftables: found and removed, never made.

Tables ``ip cni_hostport`` and ``ip6 cni_hostport``; each rule bears the container's id as its comment, and nothing of
network and interface. So what leads to another interface of a container that lives is another attachment's, and stays.
"""

from cni.kernel.compat import compared, loaded
from cni.kernel.nftables import Nftables, Rule
from cni.kernel.transaction import IPV4, IPV6, Transaction
from cni.plan import Kind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cni.address import Address
    from cni.attachment import Attachment
    from cni.site import Site

TABLE = "cni_hostport"
# Chains with rules a container; the first two of the versions 1.6 to 1.8 too.
CHAINS = ("hostports", "hostip_hostports", "masquerading")


class GoTables(Kind):
    """The rules of one container. GC cannot tell whose network they are of, so it leaves them to DEL."""

    __slots__ = ("known",)
    noun = "host ports of Go's portmap"

    def __init__(self, site: "Site", known: "Callable[[], Sequence[Address]]" = tuple) -> None:
        """``known`` returns the attachment's addresses, if any: used where the container's namespace is gone."""
        super().__init__(site)
        self.known = known

    def identify(self, attachment: "Attachment") -> str:
        """The comment that the rules bear."""
        return attachment.container

    def remove(self) -> None:
        """The rules, and a table with its last one: Go's plugin makes it whole again in each ADD."""
        kernel = self.site.nftables
        for family in (IPV4, IPV6):
            if kernel.has_table(family, TABLE):
                kernel.repeatedly(lambda family=family: self._remove(kernel, family))  # type: ignore[misc]

    def _remove(self, kernel: Nftables, family: int) -> None:
        generation, transaction = kernel.generation(), Transaction(family, TABLE)
        version = 4 if family == IPV4 else 6
        left, is_mine = 0, self._judge(version)
        for chain in CHAINS:
            if kernel.chain(family, TABLE, chain) is None:
                continue
            for rule in kernel.rules(family, TABLE, chain):
                if rule.comment == self.identity and is_mine(values(rule)):
                    transaction.delete_rule(chain, rule.handle)
                else:
                    left += 1
        # without a generation Go's plugin may be adding a rule just now
        if transaction and not left and generation:
            transaction = Transaction(family, TABLE)
            transaction.delete_table()
        kernel.commit(transaction, generation)

    def _judge(self, version: int) -> "Callable[[set[bytes]], bool]":
        """Whether a rule with these values is the attachment's, not another interface's of its container."""
        namespace = self.site.remaining
        if namespace is not None:
            living = {address.packed for address in namespace.addresses_beside(self.attachment.ifname)}
            return living.isdisjoint
        known = {address.packed for address in self.known() if address.version == version}
        return lambda found: not known or not known.isdisjoint(found)


def values(rule: Rule) -> "set[bytes]":
    """What a rule compares with, and where it leads to."""
    return compared(rule) | loaded(rule)
