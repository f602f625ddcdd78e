"""The addresses that a DHCPv6 server has given, and what of its answer makes sense."""

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Any

from cni_dhcp_daemon.client import Names
from cni_dhcp_daemon.v6.message import Association, Leased, Message
from cni_dhcp_daemon.v6.wire import nameservers, unicast

SHORTEST = 3.0
"""A valid lifetime below this is refused: it would be a flood of renewals."""
MOST = 8
"""Offers and addresses that are remembered."""


@dataclass(slots=True)
class Binding:
    """The addresses of a server."""

    server: bytes
    source: str
    addresses: dict[str, tuple[float, float]]
    """Until when each is preferred and valid."""
    renew: float
    rebind: float

    @property
    def expires(self) -> float:
        """When the last address ends."""
        return max(valid for _, valid in self.addresses.values())

    @property
    def private(self) -> list[Any]:
        """As JSON values."""
        held = {text: list(times) for text, times in self.addresses.items()}
        return [self.server.hex(), self.source, held, self.renew, self.rebind]

    @classmethod
    def restored(cls, private: list[Any]) -> "Binding":
        """What ``private`` was made of."""
        server, source, held, renew, rebind = private
        addresses = {text: (preferred, valid) for text, (preferred, valid) in held.items()}
        return cls(bytes.fromhex(server), source, addresses, renew, rebind)


def named(message: Message) -> Names:
    """The DNS settings of an answer."""
    return Names(nameservers(message.dns_servers), "", message.domains)


def usable_in(ours: Association | None) -> list[Leased]:
    """The addresses of an association that make sense (S3 in servers.py)."""
    return [
        each
        for each in (ours.addresses[:MOST] if ours else ())
        if SHORTEST <= each.valid >= each.preferred and not each.status.code and unicast(IPv6Address(each.address))
    ]


def times_of(ours: Association, usable: list[Leased], now: float) -> tuple[float, float]:
    """T1 and T2. Where the server leaves them to the client, or they come too late: RFC 8415, 21.4 (S5)."""
    valid = min(each.valid for each in usable)
    shortest = min((each.preferred for each in usable if each.preferred), default=valid)
    renew = ours.renew if 0 < ours.renew < valid else shortest * 0.5
    rebind = ours.rebind if 0 < ours.rebind < valid else max(shortest * 0.8, renew)
    renew = max(min(renew, rebind), 1.0)
    return now + renew, now + max(rebind, renew)
