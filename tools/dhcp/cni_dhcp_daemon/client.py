"""What a client of one protocol (DHCPv4, DHCPv6, router advertisements) is to the daemon. There is no input or output here.

A client holds at most one lease, for one interface. The daemon calls it with packets and times; the client answers with
packets to send and with events. Times are seconds of CLOCK_BOOTTIME, which continues when the daemon starts again and
while the node sleeps.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

BROADCAST = "255.255.255.255"
UNSPECIFIED = "0.0.0.0"  # noqa: S104  # an address in a packet
UDP = "udp"
ICMPV6 = "icmpv6"


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a lease."""

    text: str
    """Without the prefix's length."""
    length: int
    """Of the prefix, in bits."""
    preferred: float
    """Until then it is used for new connections; ``math.inf``: for ever. In IPv4 the same as ``expires``."""
    expires: float
    """Until then it is valid; ``math.inf``: for ever."""


@dataclass(frozen=True, slots=True)
class Route:
    """A route that the server or router gave."""

    destination: str
    """A prefix, as in ``10.1.0.0/16``."""
    gateway: str
    """Empty: the destination is on the link."""


@dataclass(frozen=True, slots=True)
class Names:
    """The DNS settings that the server or router gave."""

    servers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """What an interface has got, and until when."""

    addresses: tuple[Address, ...]
    """Empty with stateless DHCPv6."""
    gateway: str
    """The first router; empty if there is none."""
    routes: tuple[Route, ...]
    names: Names
    renew: float
    """T1: when the client asks its server to extend the lease."""
    rebind: float
    """T2: when it asks any server."""
    expires: float
    """When the last address is no longer valid."""
    mtu: int = 0
    """0: not stated."""
    server: str = ""
    """The server's address or identifier, for people."""
    private: dict[str, Any] = field(default_factory=dict)
    """What only the client of the protocol knows (JSON values), so that it can go on after a restart."""


@dataclass(frozen=True, slots=True)
class Datagram:
    """A packet to send: the payload of UDP, or of ICMPv6."""

    payload: bytes
    source: str
    """The address to send from: 0.0.0.0, the lease's, or empty for the link-local address."""
    destination: str
    """The address to send to: a broadcast or multicast address goes to everyone on the link."""
    protocol: str = UDP
    """UDP: from DHCP's client port to its server port. ICMPV6: with hop limit 255; the kernel fills in the checksum."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A lease was acquired, confirmed, renewed or changed: it replaces the one before."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt has failed, and the client goes on. The reason is for people; the last one ends up in ADD's error."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The lease has ended, so its addresses must be removed now. The client goes on, and asks for the same address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """Find out if another host has this address (ARP, neighbour discovery), then call ``probed``. Before ``Bound``."""

    address: str


Event = Bound | Failed | Lost | Probe


class Client(Protocol):
    """A client of one protocol on one interface.

    After each call, the daemon takes ``datagrams`` and ``events``, and looks at ``deadline`` and ``listening``.
    """

    @property
    def deadline(self) -> float | None:
        """When ``advance`` wants to be called; None: never."""

    @property
    def listening(self) -> bool:
        """Whether packets are expected. If not, the daemon has no socket open for this client."""

    def start(self, now: float) -> None:
        """Begin. With a lease that is still valid (of a daemon before) it is confirmed (INIT-REBOOT), else acquired."""

    def received(self, payload: bytes, source: str, now: float) -> None:
        """A packet arrived. Packets of others, late, wrong or hostile ones change nothing."""

    def advance(self, now: float) -> None:
        """The deadline has come (or the node has slept past it)."""

    def probed(self, address: str, in_use: bool, now: float) -> None:
        """The answer to ``Probe``."""

    def release(self, now: float) -> None:
        """Give the lease back: at most some datagrams, then no deadline. Without a lease nothing is sent."""

    def take_datagrams(self) -> list[Datagram]:
        """The packets to send now; each is returned once."""

    def take_events(self) -> list[Event]:
        """What has happened, in order; each event is returned once."""


class Client6(Client, Protocol):
    """A client of IPv6, which hears two protocols. While it listens, the daemon has a socket open for each of them.

    ``received`` gets what comes to UDP port 546. Several probes can be under way at once. Before ``start``, the link-local
    address must be past duplicate address detection; the kernel must not act on advertisements itself (``accept_ra`` is 0).
    """

    def advertised(self, payload: bytes, source: str, now: float) -> None:
        """A router advertisement (ICMPv6 type 134) arrived with hop limit 255; the daemon ignores any other hop limit."""
