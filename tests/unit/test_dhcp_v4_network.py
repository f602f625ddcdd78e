"""The DHCPv4 client with servers on a network that is only simulated: days pass in milliseconds (pure).

``Network.check`` holds after every step whatever happens: see there. The servers answer as RFC 2131 wants, or do not.
"""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from cni_dhcp_daemon.client import UNSPECIFIED, Bound, Datagram, Failed, Lease, Lost, Probe
from cni_dhcp_daemon.v4 import options
from cni_dhcp_daemon.v4.machine import DHCPv4, State
from cni_dhcp_daemon.v4.packet import Kind, Message, packed, text
from cni_dhcp_daemon.v4.wish import Wish

WISH = Wish(bytes.fromhex("0a580a010005"), options.identifier("c1/net/eth0"), probe=True)
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
# The most packets in a minute that any server can make the client send: three for each lease of one second, whose T1
# comes after less than half a second.
MOST = 400


@dataclass
class Server:
    """A server with leases in memory. Changing an attribute changes how it behaves."""

    name: str = "10.1.0.1"
    pool: tuple[str, ...] = ("10.1.0.5", "10.1.0.6")
    duration: int = 600
    delay: float = 0.01
    up: bool = True
    authoritative: bool = True
    """Rejects what it does not know; else it is silent then."""
    given: dict[int, bytes] = field(default_factory=lambda: {options.MASK: packed("255.255.255.0")})
    leases: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    declined: set[str] = field(default_factory=set)
    heard: list[Kind] = field(default_factory=list)

    def answer(self, asked: Message, now: float) -> Message | None:
        self.heard.append(asked.kind)
        who = asked.options[options.CLIENT]
        wanted = text(asked.options.get(options.ADDRESS, bytes(4)))
        chosen = asked.options.get(options.SERVER)
        if chosen not in (None, packed(self.name)):
            return None
        held, until = self.leases.get(who, ("", 0.0))
        if asked.kind is Kind.DISCOVER:
            free = [address for address in (wanted, held, *self.pool) if self._free(address, who, now)]
            return self._reply(Kind.OFFER, asked, free[0]) if free else None
        if asked.kind is Kind.REQUEST:
            address = asked.ciaddr if asked.ciaddr != UNSPECIFIED else wanted
            if (address == held and now < until) or (chosen and self._free(address, who, now)):
                self.leases[who] = (address, now + self.duration)
                return self._reply(Kind.ACK, asked, address)
            return self._reply(Kind.NAK, asked, UNSPECIFIED) if self.authoritative else None
        if asked.kind is Kind.DECLINE:
            self.declined.add(wanted)
        self.leases.pop(who, None)
        return None

    def _free(self, address: str, who: bytes, now: float) -> bool:
        taken = any(address == held and now < until for other, (held, until) in self.leases.items() if other != who)
        return address in self.pool and address not in self.declined and not taken

    def _reply(self, kind: Kind, asked: Message, address: str) -> Message:
        given = {options.SERVER: packed(self.name)}
        if kind is not Kind.NAK:
            given |= self.given | {options.LEASE_TIME: self.duration.to_bytes(4)}
        return Message(kind, asked.xid, asked.mac, given, asked.ciaddr, address, reply=True)


class Network:
    """One client, some servers, and the time."""

    def __init__(self, *servers: Server, wish: Wish = WISH, loss: float = 0.0, seed: int = 1) -> None:
        self.servers, self.wish, self.loss = servers, wish, loss
        self.random = random.Random(seed)
        self.now = 0.0
        self.order = 0
        self.under_way: list[tuple[float, int, Callable[[], None]]] = []
        self.sent: list[tuple[float, Datagram]] = []
        self.minute: deque[float] = deque()
        self.lease: Lease | None = None
        self.address = ""
        self.failures: list[str] = []
        self.lost: list[str] = []
        self.in_use: set[str] = set()
        self.seconds_without = 0.0
        self.restart()

    def restart(self) -> None:
        """As the daemon does: with the lease that it has stored."""
        self.under_way.clear()
        self.client = DHCPv4(self.wish, self.lease, self.random.random)
        self.client.start(self.now)
        self.take()

    def take(self) -> None:
        for datagram in self.client.take_datagrams():
            self.sent.append((self.now, datagram))
            self.minute.append(self.now)
            for server in self.servers:
                self._deliver(server, datagram)
        for event in self.client.take_events():
            match event:
                case Bound(lease):
                    assert self.address in ("", lease.addresses[0].text), "the pod's address has changed"
                    self.lease, self.address = lease, lease.addresses[0].text
                case Lost(reason):
                    assert self.lease, "nothing could be lost"
                    self.lease = None
                    self.lost.append(reason)
                case Failed(reason):
                    assert reason
                    self.failures.append(reason)
                case Probe(address):
                    self.later(3, self._probed(address))
        self.check()

    def check(self) -> None:
        """What always holds: laws 5, 8 and 10, and that the deadline comes before the lease's end."""
        deadline, lease = self.client.deadline, self.lease
        if lease:
            assert self.now < lease.expires
            assert deadline is None or deadline <= lease.expires
        if self.client.state in (State.BOUND, State.INIT, State.PROBING, State.RELEASED):
            assert not self.client.listening
        while self.minute and self.minute[0] < self.now - MINUTE:
            self.minute.popleft()
        assert len(self.minute) <= MOST

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.under_way, (self.now + seconds, self.order, action))

    def run(self, seconds: float) -> "Network":
        """Let the time pass."""
        end = self.now + seconds
        while True:
            deadline = self.client.deadline
            times = [time for time in (deadline, self.under_way[0][0] if self.under_way else None) if time is not None]
            time = min([*times, end])
            self.seconds_without += 0 if self.lease else time - self.now
            self.now = max(self.now, time)
            if deadline is not None and deadline <= time:
                self.client.advance(self.now)
                assert self.client.deadline is None or self.client.deadline > self.now
            elif self.under_way and self.under_way[0][0] <= time:
                heapq.heappop(self.under_way)[2]()
            else:
                return self
            self.take()

    def packets(self, since: float = 0.0) -> int:
        return sum(time >= since for time, _ in self.sent)

    def _deliver(self, server: Server, datagram: Datagram) -> None:
        asked = Message.decode(datagram.payload)
        if (
            not server.up
            or self.random.random() < self.loss
            or datagram.destination not in ("255.255.255.255", server.name)
        ):
            return
        reply = server.answer(asked, self.now)
        if reply and self.random.random() >= self.loss:
            self.later(server.delay, lambda: self.client.received(reply.encode(), server.name, self.now))

    def _probed(self, address: str) -> Callable[[], None]:
        return lambda: self.client.probed(address, address in self.in_use, self.now)


def test_a_week_with_a_server() -> None:
    """One REQUEST for each half of a lease; the address stays."""
    network = Network(Server(duration=3600)).run(7 * DAY)
    assert (network.lost, network.failures, network.address) == ([], [], "10.1.0.5")
    assert 7 * 48 <= network.packets() <= 7 * 48 * 1.06


def test_a_lease_of_seconds() -> None:
    network = Network(Server(duration=4)).run(HOUR)
    assert network.lost == []
    assert network.packets() <= HOUR / 4 * 2 * 1.06


def test_a_network_that_loses_every_fifth_packet() -> None:
    """The lease is lost rarely, and always the same address comes back."""
    network = Network(Server(), loss=0.2).run(7 * DAY)
    assert len(network.lost) < 10
    assert network.seconds_without < 0.001 * 7 * DAY


def test_a_server_that_is_down_for_a_night() -> None:
    """The lease is used to its end; then the server is asked every two minutes, not more often, and the address is back."""
    server = Server()
    network = Network(server).run(HOUR)
    server.up = False
    network.run(8 * HOUR)
    assert network.lost == ["the lease of 10.1.0.5 has expired"]
    assert network.packets(HOUR) < 8 * HOUR / 40
    assert network.failures[-1].startswith("no answer to DISCOVER (")
    server.up = True
    network.run(3 * MINUTE)
    assert network.lease
    assert server.heard[-2:] == [Kind.DISCOVER, Kind.REQUEST]


def test_a_server_that_is_replaced_by_its_twin() -> None:
    """From T2 on the other one extends the lease: the pod notices nothing."""
    first = Server()
    second = Server("10.1.0.2", leases=first.leases, up=False)
    network = Network(first, second).run(HOUR)
    first.up, second.up = False, True
    network.run(HOUR)
    assert network.lost == []
    assert network.lease
    assert network.lease.server == "10.1.0.2"
    assert second.heard[0] is Kind.REQUEST, "no DISCOVER"


def test_a_server_that_has_forgotten() -> None:
    """It rejects the lease, and gives the same address again a moment later."""
    server = Server()
    network = Network(server).run(HOUR)
    server.leases.clear()
    network.run(HOUR)
    assert network.lost == ["the lease of 10.1.0.5 has ended: 10.1.0.1 rejected request with Nak"]
    assert network.lease
    assert network.seconds_without < 10


def test_a_server_that_gives_the_address_to_somebody_else() -> None:
    """Another one is offered, which the pod cannot take: the reason is said, and the server is asked with pauses."""
    server = Server()
    network = Network(server).run(HOUR)
    server.leases = {b"other": ("10.1.0.5", 5 * HOUR)}
    network.run(HOUR)
    assert not network.lease
    refused = "an offer of 10.1.0.1 was refused: 10.1.0.6 is another address than 10.1.0.5, which the pod has and cannot change"
    assert refused in network.failures[-1]
    assert network.packets(HOUR) < 100
    network.run(4 * HOUR)
    assert network.lease


def test_a_server_that_rejects_whatever_it_gives() -> None:
    """Law 8: the pauses get longer."""
    server = Server(leases={})
    server.answer = (  # type: ignore[method-assign]
        lambda asked, now: server._reply(Kind.OFFER if asked.kind is Kind.DISCOVER else Kind.NAK, asked, "10.1.0.5")
    )
    network = Network(server).run(HOUR)
    assert network.packets() < 150
    assert "10.1.0.1 rejected request with Nak (" in network.failures[-1]


def test_two_servers_of_which_one_is_wrong() -> None:
    """The wrong one is quicker."""
    network = Network(Server("10.1.0.2", given={}, delay=0), Server()).run(MINUTE)
    assert network.lease
    assert network.lease.server == "10.1.0.1"
    assert network.failures == ["an offer of 10.1.0.2 was refused: no subnet mask"]


def test_slow_servers() -> None:
    """Slower than the first wait: answers to an earlier packet count. Slower than the whole exchange: never."""
    assert Network(Server(delay=25)).run(2 * MINUTE).lease
    network = Network(Server(delay=75)).run(HOUR)
    assert not network.lease
    assert network.packets() < 150


def test_an_address_that_somebody_uses() -> None:
    """It is declined, and the next one is free."""
    network = Network(server := Server())
    network.in_use.add("10.1.0.5")
    network.run(MINUTE)
    assert network.address == "10.1.0.6"
    assert server.declined == {"10.1.0.5"}


def test_a_network_where_every_address_is_used() -> None:
    network = Network(server := Server())
    network.in_use |= set(server.pool)
    network.run(HOUR)
    assert not network.lease
    assert network.packets() < 200


def test_a_daemon_that_starts_again_and_again() -> None:
    """Law 7: the lease goes on, with the server up or down."""
    server = Server()
    network = Network(server).run(MINUTE)
    for number in range(200):
        server.up = number % 4 != 0
        network.restart()
        network.run(100)
    assert network.lost == []
    network.client.release(network.now)
    network.take()
    assert (server.leases, server.heard[-1]) == ({}, Kind.RELEASE)
    sent = network.packets()
    network.run(DAY)
    assert network.packets() == sent


def test_a_node_that_sleeps() -> None:
    """Past T2 and past the expiry: the first step after it is the right one."""
    network = Network(Server()).run(MINUTE)
    network.now += 500
    network.run(MINUTE)
    assert network.lost == []
    network.now += 5000
    network.client.advance(network.now)
    network.take()
    assert network.lost == ["the lease of 10.1.0.5 has expired"]
    assert network.run(MINUTE).lease


SECONDS = st.sampled_from([0, 1, 2, 5, 60, 3600, 0xFFFFFFFF])
GIVEN = st.fixed_dictionaries(
    {},
    optional={
        1: st.sampled_from([packed("255.255.255.0"), packed("255.0.255.0"), b""]),
        51: SECONDS.map(lambda seconds: seconds.to_bytes(4)),
        54: st.sampled_from([packed("10.1.0.1"), packed("10.1.0.2"), bytes(4), b"\1"]),
        58: SECONDS.map(lambda seconds: seconds.to_bytes(4)),
        59: SECONDS.map(lambda seconds: seconds.to_bytes(4)),
        121: st.binary(max_size=12),
    },
)
GOOD = {1: packed("255.255.255.0"), 54: packed("10.1.0.1")}
ANSWERS = st.builds(
    Message,
    kind=st.sampled_from([Kind.OFFER, Kind.ACK, Kind.NAK]),
    xid=st.just(0),
    mac=st.just(WISH.mac),
    options=GIVEN | GIVEN.map(lambda given: GOOD | given),
    yiaddr=st.sampled_from(["10.1.0.5"] * 5 + ["10.1.0.6", UNSPECIFIED]),
    reply=st.just(True),
)
PASSING = st.sampled_from(["deadline"] * 4 + [0, 0.1, 1, 10, 100, 1000, 10000])
STEPS = st.lists(st.tuples(PASSING, ANSWERS | st.sampled_from(["step", "free", "used", "restart", "mac"])), max_size=60)


def hostile(steps: Iterable[tuple[object, object]], network: Network) -> Iterator[None]:
    """Do what the steps say: time passes, packets come (with the right transaction), the daemon starts again."""
    for passing, action in steps:
        client = network.client
        if isinstance(passing, int | float):
            network.now += passing
        elif client.deadline is not None:
            network.now = max(network.now, client.deadline)
        match action:
            case Message():
                asked = Message.decode(network.sent[-1][1].payload)
                answer = replace(action, xid=asked.xid, mac=asked.mac)
                client.received(answer.encode(), "10.1.0.9", network.now)
            case "step":
                client.advance(network.now)
            case "free" | "used":
                client.probed("10.1.0.5", action == "used", network.now)
            case "mac":
                client.wish = replace(client.wish, mac=network.random.randbytes(6))
            case "restart":
                network.take()
                network.restart()
        yield


@settings(max_examples=150)
@given(STEPS, st.integers(0, 99))
def test_whatever_comes_the_laws_hold(steps: list[tuple[object, object]], seed: int) -> None:
    """After each step, and when the time is looked at. Then a good server gives the pod its address, and release ends all."""
    network = Network(seed=seed)
    for _ in hostile(steps, network):
        sent = len(network.sent)
        network.client.advance(network.now)
        assert network.client.deadline is None or network.client.deadline > network.now
        network.take()
        assert len(network.sent) - sent <= 3
    network.run(5)  # the last probe is answered, so that the pod's address is known
    network.servers = (Server(pool=(network.address or "10.1.0.7",)),)
    network.run(HOUR)
    assert network.lease
    network.client.release(network.now)
    network.take()
    assert (network.client.deadline, network.client.listening) == (None, False)
    assert Message.decode(network.sent[-1][1].payload).kind is Kind.RELEASE
