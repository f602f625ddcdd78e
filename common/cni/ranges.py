"""netaddr's ranges, without its ``__init__`` (which loads OUI tables) and without ``pprint`` and ``re``.

36 ms become 4. Only numbers go in and out: reading and printing addresses is ``cni.address``'s, with Go's rules.
"""

from cni.address import Address
from cni.lean import Library, Quiet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _placeholders() -> "dict[str, dict[str, Any]]":
    import _socket

    socket = {name: value for name, value in vars(_socket).items() if not name.startswith("__")}
    return {"pprint": {}, "re": {"compile": Quiet()}, "socket": socket}


# netaddr 1.x; its modules state no version of their own, the project's metadata and lock file pin it
_LIBRARY = Library("netaddr", _placeholders, lambda: True)


def between(first: Address, last: Address) -> "Any":
    """A ``netaddr.IPRange`` from ``first`` to ``last``, both included; raises ``netaddr.AddrFormatError`` out of order."""
    ip = _LIBRARY.load("netaddr.ip")
    version = first.version
    return ip.IPRange(ip.IPAddress(int(first), version), ip.IPAddress(int(last), version))


def address(value: int, version: int) -> Address:
    """The address with this number."""
    return Address(value.to_bytes(4 if version == 4 else 16, "big"))
