"""What the daemon wants of a DHCPv4 client: from the configuration and the daemon's flags."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cni_dhcp_daemon.v4 import options


@dataclass(frozen=True, slots=True)
class Wish:
    """Who asks, for what, and how often. The client's ``wish`` can be replaced, as when the link gets another MAC."""

    mac: bytes
    identifier: bytes
    """The value of option 61, from ``options.identifier``; ``provide`` may have another one."""
    request: tuple[int, ...] = options.ROUTERS, options.MASK
    """The options to ask for. The order matters: a server may prefer classless routes if they come before the routers."""
    provide: Mapping[int, bytes] = field(default_factory=dict)
    """Options to send. Those that the protocol itself sets are ignored."""
    broadcast: bool = False
    """Ask servers to broadcast their answers."""
    probe: bool = False
    """Find out, before an address is used, if another host has it."""
    timeout: float = 10.0
    """Seconds that the first packet of an exchange waits for an answer; the next ones wait twice and four times that."""
    longest: float = 62.0
    """``-resendmax``: the pause between two tries is doubled while it is less than this."""

    def wait(self, sent: int) -> float:
        """Seconds to wait for an answer to the packet of that number, from 1."""
        return self.timeout * 2.0 ** (sent - 1)

    def pause(self, failures: int, fuzz: float) -> float:
        """Seconds between the try of that number, from 1, which has failed, and the next, as Go's; ``fuzz``: 0 to 1."""
        if failures <= 4:
            return 1 + 2 * fuzz
        pause, doublings = 4.0, failures - 4
        while doublings and pause < self.longest:
            pause, doublings = pause * 2, doublings - 1
        return pause - 1 + 2 * fuzz
