"""The DHCP daemon and containers that mean harm: one cannot spend the daemon's time or memory, which the others need."""

import socket

import pytest

from node.deadline import eventually
from node.dhcp import Daemon, Site
from node.dhcpsite import OURS_ALONE
from node.dhcpsite import site as site

pytestmark = [pytest.mark.real, OURS_ALONE]


def test_a_container_with_very_many_routes(site: Site) -> None:
    """They go with a lost address. The daemon keeps few of them; the lease's own routes come back with it."""
    server = site.segment.server()
    server.t1, server.t2, server.lease = 1, 2, 600
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        many = [f"route add 10.128.{number >> 6}.{(number & 63) * 4}/30 via 10.7.0.1" for number in range(4000)]
        client.pod.ip("route add default via 10.7.0.1", *many)
        server.refuse = lambda request: True
        assert eventually(lambda: not client.pod.addresses("eth0")), daemon.said
        assert client.check().code != 0
        (kept,) = daemon.kept()
        assert kept.count("10.128.") <= 128 and len(kept) < 1 << 15
        daemon.kill()
        daemon.start()
        server.refuse = lambda request: False
        assert eventually(lambda: client.check().ok), daemon.said
        routes = [route["dst"] for route in client.pod.routes()]
        assert "default" in routes and len(routes) < 200
        assert client.delete().ok


def test_a_container_that_lets_no_packet_out(site: Site) -> None:
    """Its own routes, like its own filters, do not stop renewals; another socket at the client's port neither."""
    server = site.segment.server()
    server.t1, server.t2, server.lease = 1, 500, 600
    with Daemon(site.node, site.folder) as daemon:
        client = site.client(daemon).bind()
        client.pod.ip(f"route add prohibit {server.address}/32")
        with client.pod.socket(socket.AF_INET, socket.SOCK_DGRAM, 0) as own:
            own.bind(("", 68))
            packet = server.wait("REQUEST renewing", 2)
            assert packet.hosts == (client.address, server.address)
            assert server.wait_heard("REQUEST", 3).hosts[0] == client.address
            assert "REQUEST rebinding" not in server.kinds()
            assert client.check().ok and client.delete().ok
            server.wait_heard("RELEASE")
