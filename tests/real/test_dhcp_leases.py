"""The life of a DHCP lease, in seconds: renewed, moved to another server, refused, expired, given back, orphaned."""

import json
import subprocess

import pytest

from node.deadline import eventually
from node.dhcp import HASTY, Client, Daemon, Site
from node.dhcpmessage import (
    CLIENT_ID,
    HOST_NAME,
    LEASE_TIME,
    REQUEST_LIST,
    REQUESTED_ADDRESS,
    SERVER_ID,
    T1,
    T2,
    Message,
    Packet,
    seconds,
)
from node.dhcpserver import Server
from node.dhcpsite import OURS_ALONE
from node.dhcpsite import site as site
from node.plugin import environment

pytestmark = [pytest.mark.real, OURS_ALONE]

# Seconds until T1, T2 and the end: what is to happen happens soon, what is not to happen late.
RENEWED, REBOUND, EXPIRED = (1, 500, 600), (1, 2, 600), (1, 2, 3)


def lasting(server: Server, times: tuple[int, int, int]) -> Server:
    """A server whose leases have these times."""
    server.t1, server.t2, server.lease = times
    return server


def lost(client: Client) -> bool:
    """Whether CHECK says that the lease is lost, and the address is off the interface."""
    return bool(eventually(lambda: not client.pod.addresses("eth0"))) and client.check().code != 0


def test_renewal(site: Site) -> None:
    """From the address to the server, with what the RFC wants and no more, again and again."""
    server = lasting(site.segment.server(), RENEWED)
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon, provide=[{"option": "12", "value": "web"}]).bind()
        first = server.wait("REQUEST selecting")
        for number in (1, 2):
            packet = server.wait("REQUEST renewing", number)
            message = packet.message
            assert packet.hosts == (client.address, server.address)
            assert packet.macs == (client.mac, server.mac)
            assert message.ciaddr == client.address and message.chaddr == client.hardware
            assert message.get(REQUESTED_ADDRESS) is None and message.get(SERVER_ID) is None
            for code in (HOST_NAME, CLIENT_ID, REQUEST_LIST):
                assert message.get(code) == first.message.get(code)
            assert server.wait_heard("REQUEST", number + 1).hosts[0] == client.address
        assert "REQUEST rebinding" not in server.kinds() and server.kinds().count("DISCOVER") == 1
        assert client.check().ok
        assert client.delete().ok
        server.wait_heard("RELEASE")


def test_another_server_takes_over(site: Site) -> None:
    """The first is silent: from T2 on everyone is asked, and whoever answers is the server from then on."""
    first = lasting(site.segment.server(), REBOUND)
    second = site.segment.server("10.7.0.2/24", first=150, count=9)
    second.silent = True
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        second.take_over(first)
        second.options = first.options
        first.silent, second.silent = True, False
        lasting(second, RENEWED)
        packet = second.wait("REQUEST rebinding")
        assert packet.hosts == (client.address, "255.255.255.255")
        assert packet.message.ciaddr == client.address
        assert packet.message.get(REQUESTED_ADDRESS) is None and packet.message.get(SERVER_ID) is None
        assert second.wait("REQUEST renewing").hosts == (client.address, second.address)
        assert client.pod.addresses("eth0") == {f"{client.address}/24"} and client.check().ok
        assert client.delete().ok
        assert second.wait_heard("RELEASE").message.address(SERVER_ID) == second.address
        assert "RELEASE" not in first.kinds()


def test_expiry(site: Site) -> None:
    """Nobody answers any more: the address goes off the interface, CHECK and the log say so, nothing is asked by CHECK.

    When the server is back, so is the address. DEL works at any time.
    """
    server = lasting(site.segment.server(), EXPIRED)
    with Daemon(site.node, site.folder, "ours", *HASTY) as daemon:
        client, other = site.client(daemon).bind(), site.client(daemon).bind()
        client.pod.ip("route add 10.9.0.0/16 via 10.7.0.1", "route add default via 10.7.0.1")
        server.silent = True
        assert lost(client) and lost(other)
        assert daemon.says(f"{client.pod.container}/net1/eth0: .*{client.address}/24 was removed from eth0")
        assert "UP" in client.pod.link("eth0")["flags"]
        for _ in range(2):
            error = client.check().error
            assert "expired" in error["msg"] and error["msg"].startswith("error calling DHCP.Check: ")
        assert other.delete().ok and other.delete().ok
        server.silent = False
        lasting(server, RENEWED)
        assert eventually(lambda: client.pod.addresses("eth0") == {f"{client.address}/24"})
        assert eventually(lambda: {route["dst"] for route in client.pod.routes()} >= {"default", "10.9.0.0/16"})
        assert eventually(lambda: client.check().ok)
        assert client.delete().ok
        server.wait_heard("RELEASE")


def test_a_refused_renewal(site: Site) -> None:
    """A NAK ends the lease at once, and CHECK says so. A pod keeps the address of its result: no other one is taken.

    As soon as the server gives that one again, the pod has it back.
    """
    server = lasting(site.segment.server(), RENEWED)
    with Daemon(site.node, site.folder, "ours", *HASTY) as daemon:
        client = site.client(daemon).bind()
        server.declined.add(client.address)
        server.leases.clear()
        assert lost(client), daemon.said
        assert "REQUEST renewing" in server.kinds() and "REQUEST rebinding" not in server.kinds()
        assert "Nak" in client.check().error["msg"]
        server.wait("DISCOVER", 3)
        assert client.pod.addresses("eth0") == set()
        server.declined.clear()
        server.leases.clear()
        assert eventually(lambda: client.pod.addresses("eth0") == {f"{client.address}/24"}), daemon.said
        assert eventually(lambda: client.check().ok)


def test_an_address_that_another_host_has(site: Site) -> None:
    """It is declined, and another one is taken."""
    server = site.segment.server()
    site.segment.host("10.7.0.50/24")
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon, probe=True)
        assert client.add().result["ips"][0]["address"] == "10.7.0.51/24"
        declined = server.wait("DECLINE").message
        assert (declined.address(REQUESTED_ADDRESS), declined.address(SERVER_ID)) == ("10.7.0.50", server.address)
        assert declined.get(CLIENT_ID) == server.seen[0].message.get(CLIENT_ID)
        assert server.declined == {"10.7.0.50"}


# Times that contradict each other: T1, T2 and lease
STRANGE = [(0, 0, 4), (100, 200, 4), (2, 1, 4), (4, 3, 5), (1, None, 4), (None, 1, 4)]


def test_times_that_contradict_each_other(site: Site) -> None:
    """A lease ends when it ends, whatever T1 and T2 are, and the server is not flooded until then."""
    server = site.segment.server()
    times: dict[bytes, tuple[int | None, ...]] = {}

    def strange(request: Packet, answer: Message) -> Message:
        for code, number in zip((T1, T2, LEASE_TIME), times[request.message.chaddr], strict=True):
            answer.set(code, None if number is None else seconds(number))
        return answer

    server.edit = strange
    with Daemon(site.node, site.folder) as daemon:
        clients = [site.client(daemon) for _ in STRANGE]
        times.update({client.hardware: case for client, case in zip(clients, STRANGE, strict=True)})
        for client in clients:
            client.bind()
        server.silent = True
        server.seen.clear()
        for client, case in zip(clients, STRANGE, strict=True):
            assert lost(client), case
            asked = [
                kind for kind in server.kinds(client.hardware) if kind in ("REQUEST renewing", "REQUEST rebinding")
            ]
            assert len(asked) <= 12, (case, asked)


def test_a_lease_of_no_time(site: Site) -> None:
    """It is refused; the server is not flooded."""
    server = site.segment.server()
    server.lease = 0
    with Daemon(
        site.node, site.folder, "ours", "-timeout", "200ms", "-resendmax", "400ms", "-resendtimeout", "1s"
    ) as daemon:
        assert site.client(daemon).add().code
        assert len(server.kinds()) <= 24


def test_a_lease_for_ever(site: Site) -> None:
    """It is never renewed, and outlives the daemon."""
    server = site.segment.server()
    server.lease = 0xFFFFFFFF
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        daemon.kill()
        daemon.start()
        server.wait("REQUEST init-reboot")
        assert eventually(lambda: client.check().ok)
        assert "REQUEST renewing" not in server.kinds()


def test_a_mac_that_changes(site: Site) -> None:
    """By tuning, for instance: renewals go on with the new one, and their answers are understood."""
    server = lasting(site.segment.server(), (1, 500, 600))
    answered: list[Packet] = []

    def once(request: Packet, answer: Message) -> Message:
        if request.what == "REQUEST renewing":
            answered.append(request)
            answer.set(T1, seconds(300)).set(LEASE_TIME, seconds(601))
        return answer

    server.edit = once
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        before = daemon.kept()
        assert len(before) == 1
        client.pod.ip("link set eth0 address 02:00:00:00:00:07")
        assert eventually(lambda: daemon.kept() not in ([], before))
        assert answered[-1].macs[0] == "02:00:00:00:00:07" and answered[-1].hosts[0] == client.address
        assert client.check().ok and client.delete().ok
        server.wait_heard("RELEASE")


def test_a_namespace_that_goes_without_del(site: Site) -> None:
    """The daemon does not keep it alive; a DEL afterwards succeeds, and so does an ADD of the same name."""
    server = lasting(site.segment.server(), RENEWED)
    with Daemon(site.node, site.folder) as daemon:
        before = site.segment.forwarding()
        client = site.client(daemon).bind()
        server.wait("REQUEST renewing")
        (port,) = site.segment.forwarding() - before
        pod = client.pod
        pod.close()
        assert eventually(lambda: port not in site.segment.links())
        assert eventually(lambda: not daemon.kept())
        again = site.client(daemon)
        again.pod.container = pod.container
        assert again.bind().address == client.address
        assert client.delete(netns="").ok and client.delete().ok
        server.wait_heard("RELEASE")


def test_an_interface_that_goes_without_del(site: Site) -> None:
    """CHECK says so, as often as it is called; DEL succeeds."""
    server = lasting(site.segment.server(), RENEWED)
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        client.pod.ip("link del eth0")
        for _ in range(3):
            assert "eth0" in client.check().error["msg"]
        assert client.delete().ok
        assert "RELEASE" not in server.kinds()


def begun(client: Client, verb: str = "ADD") -> "subprocess.Popen[str]":
    """A call that runs."""
    variables = environment(verb, client.binaries, CNI_IFNAME=client.ifname)
    variables |= {"CNI_CONTAINERID": client.pod.container, "CNI_NETNS": client.pod.path}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [f"{client.binaries}/dhcp"], env=variables, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(client.conf))
    process.stdin.close()
    process.stdin = None
    return process


@pytest.mark.parametrize("what", ["DISCOVER", "REQUEST selecting"])
def test_a_plugin_that_dies_leaves_nothing(site: Site, what: str) -> None:
    """Nobody waits for the lease any more: it is not acquired, or given back."""
    server = site.segment.server()
    plugins: list[subprocess.Popen[str]] = []

    def killing(request: Packet, answer: Message) -> Message | None:
        if request.what != what or not plugins:
            return answer
        plugins[0].kill()
        plugins[0].wait()
        # a server has given the address away when it answers a REQUEST, whether the ACK is heard or not
        return answer if what != "DISCOVER" else None

    with Daemon(site.node, site.folder) as daemon:
        assert site.client(daemon).add().ok  # so that the daemon has opened all that it keeps open
        before, client = daemon.descriptors, site.client(daemon)
        server.edit = killing
        plugins.append(begun(client))
        plugins[0].communicate()
        assert eventually(lambda: daemon.descriptors <= before), daemon.said
        assert len(daemon.kept()) == 1
        if what == "DISCOVER":
            assert set(server.kinds(client.hardware)) == {"DISCOVER"}
        else:
            server.wait_heard("RELEASE")
            assert len(server.leases) == 1


def test_del_during_add(site: Site) -> None:
    """It ends the ADD, which says so. Nothing stays."""
    server = site.segment.server()
    server.silent = True
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon)
        process = begun(client)
        server.wait("DISCOVER")
        assert client.delete().ok
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 1 and "DEL has ended the ADD" in json.loads(output)["msg"]
        assert not daemon.kept()
