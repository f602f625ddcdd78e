"""What firewall makes for one attachment: written into a note, and read back from it (pure)."""

from cni.address import Address
from cni.settings import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


# in place of a bridge, for an attachment without a note: it may have the policy of any
UNKNOWN = "?"


class Pod(Value):
    """The addresses of an attachment, the backend, and the bridge that an ingress policy closes."""

    __slots__ = ("addresses", "admin", "backend", "bridge", "policy", "ports", "zone")

    def __init__(
        self,
        addresses: "Sequence[Address]" = (),
        backend: str = "",
        bridge: str = "",
        policy: str = "",
        ports: "Sequence[str]" = (),
        **keys: str,
    ) -> None:
        """``keys`` are the administrator's chain (``admin``) and firewalld's ``zone``.

        ``ports`` are the attachment's links on the node, if there is a policy.
        """
        self.ports = list(dict.fromkeys(ports))
        self.addresses = list(dict.fromkeys(addresses))
        self.backend = backend
        self.bridge = bridge
        self.policy = policy
        self.admin, self.zone = keys.get("admin", ""), keys.get("zone", "")

    def document(self) -> "dict[str, Any]":
        """The note."""
        return {**self._members(), "addresses": [str(address) for address in self.addresses]}

    @classmethod
    def parse(cls, note: "dict[str, Any]") -> "Pod":
        """From a note; a part that cannot be read counts as absent."""
        texts = {name: str(note.get(name) or "") for name in ("admin", "backend", "bridge", "policy", "zone")}
        found = []
        for text in _texts(note, "addresses"):
            try:
                found.append(Address.parse(text))
            except ValueError:
                pass
        return cls(found, ports=_texts(note, "ports"), **texts)


def _texts(note: "dict[str, Any]", name: str) -> list[str]:
    value = note.get(name)
    return list(map(str, value)) if isinstance(value, list) else []
