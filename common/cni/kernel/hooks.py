"""All base chains of nftables, for STATUS (linux/netfilter/nf_tables.h).

STATUS runs every few seconds for each plugin of a list. So messages are packed and read here by hand: importing
pyroute2's classes would take longer than everything else.
"""

import struct
from errno import EINVAL, ENOENT, EOPNOTSUPP, EPROTONOSUPPORT

from cni.errors import KernelError
from cni.kernel.netlink import F_DUMP, NETFILTER, Netlink, attribute, attributes

_NEWCHAIN, _GETCHAIN, _NEWRULE, _GETRULE = (10 << 8 | kind for kind in (3, 4, 6, 7))
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _HOOK_NUMBER = 1, 3, 4, 5, 1
_RULE_TABLE, _RULE_CHAIN = 1, 2
# Errors of a kernel, or namespace, without nf_tables.
_NOTHING = (ENOENT, EINVAL, EOPNOTSUPP, EPROTONOSUPPORT)
_BODY, _HEADER = 16, 4
FORWARD = 2


class BaseChain:
    """A chain at a hook: the hook's number, and the policy (0 drop, 1 accept)."""

    __slots__ = ("family", "hook", "name", "policy", "table")

    def __init__(self, family: int, found: dict[int, bytes]) -> None:
        self.family = family
        self.table = _text(found[_CHAIN_TABLE])
        self.name = _text(found[_CHAIN_NAME])
        self.hook = _number(dict(attributes(found[_CHAIN_HOOK])).get(_HOOK_NUMBER, b""))
        self.policy = _number(found[_CHAIN_POLICY]) if _CHAIN_POLICY in found else 1


def _text(payload: bytes) -> str:
    return payload.rstrip(b"\0").decode("utf-8", "replace")


def _number(payload: bytes) -> int:
    return int.from_bytes(payload, "big")


class Hooks(Netlink):
    """A socket that reads nf_tables of the namespace in which it is made."""

    def __init__(self) -> None:
        super().__init__(NETFILTER)

    def base_chains(self) -> list[BaseChain]:
        """The chains with a hook, of all families."""
        found = []
        for data in self._dump(_GETCHAIN, _NEWCHAIN, 0, b""):
            parts = dict(attributes(data, _BODY + _HEADER))
            if _CHAIN_HOOK in parts:
                found.append(BaseChain(data[_BODY], parts))
        return found

    def rules(self, chain: BaseChain) -> int:
        """The number of a chain's rules."""
        names = {_RULE_TABLE: chain.table.encode() + b"\0", _RULE_CHAIN: chain.name.encode() + b"\0"}
        asked = b"".join(attribute(kind, name) for kind, name in names.items())
        answers = [
            dict(attributes(data, _BODY + _HEADER)) for data in self._dump(_GETRULE, _NEWRULE, chain.family, asked)
        ]
        return sum(all(found.get(kind) == name for kind, name in names.items()) for found in answers)

    def _dump(self, kind: int, answered: int, family: int, body: bytes) -> list[bytes]:
        """The messages of a dump, with their headers; none if the kernel has no nf_tables."""
        try:
            answers = self.request(struct.pack("=BBH", family, 0, 0) + body, kind, F_DUMP)
        except KernelError as error:
            if error.errno in _NOTHING:
                return []
            raise
        return [answer.data for answer in answers if answer.kind == answered]
