"""All base chains of nftables, for STATUS (linux/netfilter/nf_tables.h).

STATUS runs every few seconds for each plugin of a list. So messages are packed and read here by hand: importing
pyroute2's classes would take longer than everything else.
"""

from errno import EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT

from cni.kernel.netlink import F_DUMP, NETFILTER, Netlink, attribute, attributes, text

_GETCHAIN, _GETRULE = 10 << 8 | 4, 10 << 8 | 7
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _HOOK_NUMBER = 1, 3, 4, 5, 1
_RULE_TABLE, _RULE_CHAIN = 1, 2
# Errors of a kernel, or namespace, without nf_tables.
_NOTHING = (ENOENT, EINVAL, EOPNOTSUPP, EPROTONOSUPPORT)
# The lengths of the two headers before the attributes.
_NETLINK, _NFNETLINK = 16, 4
FORWARD = 2


class BaseChain:
    """A chain at a hook: the hook's number, and the policy (0 drop, 1 accept)."""

    __slots__ = ("family", "hook", "name", "policy", "table")

    def __init__(self, family: int, found: dict[int, bytes]) -> None:
        self.family = family
        self.table = text(found[_CHAIN_TABLE], "replace")
        self.name = text(found[_CHAIN_NAME], "replace")
        self.hook = int.from_bytes(dict(attributes(found[_CHAIN_HOOK])).get(_HOOK_NUMBER, b""), "big")
        self.policy = int.from_bytes(found.get(_CHAIN_POLICY, b"\1"), "big")


class Hooks(Netlink):
    """A socket that reads nf_tables of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(NETFILTER)

    def base_chains(self) -> list[BaseChain]:
        """The chains with a hook, of all families."""
        return [BaseChain(family, found) for family, found in self._dump(_GETCHAIN) if _CHAIN_HOOK in found]

    def rules(self, chain: BaseChain) -> int:
        """The number of a chain's rules."""
        names = {_RULE_TABLE: chain.table.encode() + b"\0", _RULE_CHAIN: chain.name.encode() + b"\0"}
        asked = b"".join(attribute(kind, name) for kind, name in names.items())
        answers = self._dump(_GETRULE, chain.family, asked)
        return sum(all(found.get(kind) == name for kind, name in names.items()) for _, found in answers)

    def _dump(self, kind: int, family: int = 0, asked: bytes = b"") -> "list[tuple[int, dict[int, bytes]]]":
        """Family and attributes of each message of a dump; none if the kernel has no nf_tables."""
        answers = self.request(bytes((family, 0, 0, 0)) + asked, kind, F_DUMP, absent=_NOTHING)
        return [(answer.data[_NETLINK], dict(attributes(answer.data, _NETLINK + _NFNETLINK))) for answer in answers]
