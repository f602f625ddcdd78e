"""What a server's offer or acknowledgement gives, as a lease."""

import math
from ipaddress import IPv4Address

from cni_dhcp_daemon.client import UNSPECIFIED, Address, Lease, Names, Route
from cni_dhcp_daemon.v4 import options
from cni_dhcp_daemon.v4.packet import Message

_FOREVER = 0xFFFFFFFF
_DEFAULT = 3600
_SMALLEST_MTU = 68
_FUZZ = 0.05


class Unusable(Exception):
    """The offer or acknowledgement cannot be used; the text says why, as in ``refused: no subnet mask``."""


def lease_of(answer: Message, since: float, fuzz: float = 0.0, before: Lease | None = None) -> Lease:
    """The lease that runs from ``since``, the time at which it was asked for, or raise ``Unusable``.

    ``before`` is the offer, or the lease that is renewed: the server and the mask are taken from it where the answer
    lacks them. ``fuzz`` (0 to 1) makes T1 earlier by up to a twentieth, so that the clients of a node that started
    together do not renew together.
    """
    given = answer.options
    server = options.address(given.get(options.SERVER)) or (before.server if before else "")
    if not server:
        raise Unusable("no server identifier")
    duration, renew, rebind = _times(given)
    renew *= 1 - _FUZZ * fuzz
    expires = since + duration
    address = Address(_address(answer.yiaddr), _length(given, before), expires, expires)
    routers = options.addresses(given.get(options.ROUTERS))
    mtu = options.number(given.get(options.MTU), 2) or 0
    return Lease(
        addresses=(address,),
        gateway=next(iter(routers), ""),
        routes=_routes(given, routers),
        names=Names(
            options.addresses(given.get(options.SERVERS)),
            options.domain(given.get(options.DOMAIN, b"")),
            options.domains(given.get(options.SEARCH, b"")),
        ),
        renew=since + renew,
        rebind=since + rebind,
        expires=expires,
        mtu=mtu if mtu >= _SMALLEST_MTU else 0,
        server=server,
    )


def _address(text: str) -> str:
    """The address, if a host can have it."""
    address = IPv4Address(text)
    if text == UNSPECIFIED:
        raise Unusable("no address")
    if address.is_multicast or address.is_loopback or address.is_reserved or not address.packed[0]:
        raise Unusable(f"{text} is no address of a host")
    return text


def _length(given: dict[int, bytes], before: Lease | None) -> int:
    mask = given.get(options.MASK)
    if mask is None:
        if before is None:
            raise Unusable("no subnet mask")
        return before.addresses[0].length
    length = options.mask_length(mask)
    if length is None:
        raise Unusable(f"{'.'.join(map(str, mask[:8]))} is no subnet mask")
    return length


def _times(given: dict[int, bytes]) -> tuple[float, float, float]:
    """The duration, T1 and T2 in seconds. T1 and T2 are Go's defaults unless T1 < T2 < duration. Infinite: no T1, no T2."""
    duration = options.number(given.get(options.LEASE_TIME))
    if duration is None:
        duration = _DEFAULT
    if duration == 0:
        raise Unusable("a lease time of 0")
    if duration == _FOREVER:
        return math.inf, math.inf, math.inf
    renew = options.number(given.get(options.RENEW)) or duration / 2
    rebind = options.number(given.get(options.REBIND)) or duration * 0.85
    if not renew < rebind < duration:
        renew, rebind = duration / 2, duration * 0.85
    return duration, renew, rebind


def _routes(given: dict[int, bytes], routers: tuple[str, ...]) -> tuple[Route, ...]:
    """The classless routes alone if there are some (RFC 3442), else the static routes and the default route."""
    classless = options.classless_routes(given.get(options.CLASSLESS, b""))
    if classless:
        return classless
    default = (Route("0.0.0.0/0", routers[0]),) if routers else ()
    return (*options.static_routes(given.get(options.ROUTES, b"")), *default)
