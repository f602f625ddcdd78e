"""IPv6 by the daemon: each mode with Debian's dnsmasq and kea, renewals on the interface, and IPv4 beside it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.deadline import eventually
from node.dhcp import Client, Daemon, network
from node.dhcp6server import NAMESERVER, Link6
from node.dhcpsite import OURS_ALONE
from node.plugin import Object
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    OURS_ALONE,
    pytest.mark.skipif(not shutil.which("dnsmasq") or not shutil.which("kea-dhcp6"), reason="needs dnsmasq and kea"),
]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link6]:
    with Link6(tmp_path) as made:
        yield made


def client(node: Node, link: Link6, daemon: Daemon, **ipam: Any) -> Client:
    """The pod of a link as a client of a daemon."""
    pod: Any = link.pod
    pod.container = "c1"
    return Client(node, network(daemon, **ipam), pod, daemon=daemon)


def configured(each: Client) -> Object:
    """ADD, and its addresses on the interface as a main plugin adds them."""
    result: Object = each.add().result
    each.pod.ip(*(f"addr add {ip['address']} dev eth0 nodad" for ip in result["ips"]))
    return result


def lifetimes(each: Client) -> dict[str, int]:
    """How long each global address is still valid."""
    found = each.pod.address_objects("eth0")
    return {item["local"]: item["valid_life_time"] for item in found if item["scope"] == "global"}


FOREVER = 0xFFFFFFFF
# the mode, what dnsmasq does, and what the pod gets: an address of DHCPv6, one of SLAAC, search domains
MODES: dict[str, tuple[str, str, bool, bool, bool]] = {
    "auto: M": ("auto", "fd00:7::10,fd00:7::ff,64,2m", True, False, True),
    "auto: M and A": ("auto", "fd00:7::10,fd00:7::ff,slaac,64,2m", True, True, True),
    "auto: A": ("auto", "fd00:7::,ra-only,64,1h", False, True, True),
    "auto: O and A": ("auto", "fd00:7::,ra-stateless,64,1h", False, True, True),
    "slaac": ("slaac", "fd00:7::10,fd00:7::ff,slaac,64,2m", False, True, True),
    "dhcp": ("dhcp", "fd00:7::10,fd00:7::ff,64,2m", True, False, True),
    "stateless": ("stateless", "fd00:7::,ra-stateless,64,1h", False, True, True),
}


@pytest.mark.parametrize("case", MODES)
def test_each_mode_with_dnsmasq(node: Node, link: Link6, tmp_path: Path, case: str) -> None:
    """Result, CHECK, a restart of the daemon, lifetimes on the interface, and the release."""
    mode, served, given, formed, search = MODES[case]
    link.pod.sysctl("ipv6/conf/eth0/accept_ra", "1")
    server = link.dnsmasq(served)
    with Daemon(node, tmp_path) as daemon:
        each = client(node, link, daemon, ipv4=False, ipv6=mode)
        result = configured(each)
        own = next(item["local"] for item in each.pod.address_objects("eth0") if item["scope"] == "link")
        slaac = own.replace("fe80::", "fd00:7::")
        addresses = {ip["address"] for ip in result["ips"]}
        assert {ip["gateway"] for ip in result["ips"]} == {link.gateway}
        assert (f"{slaac}/64" in addresses) is formed and len(addresses) == given + formed
        assert result["routes"] == [{"dst": "::/0", "gw": link.gateway}]
        assert result["dns"]["nameservers"] == [NAMESERVER] and ("search" in result["dns"]) is search
        # the kernel has formed none beside ours
        assert lifetimes(each) == {text.split("/")[0]: FOREVER for text in addresses}
        assert each.pod.sysctl("ipv6/conf/eth0/accept_ra") == "0" and each.check().ok
        daemon.kill()
        daemon.start()
        assert eventually(lambda: FOREVER not in lifetimes(each).values()), daemon.said
        assert each.check().ok and {f"{text}/64" for text in lifetimes(each)} == addresses
        assert each.delete().ok and not daemon.kept()
        assert not given or eventually(lambda: "DHCPRELEASE" in server.said)


def test_a_lease_of_kea_is_renewed_and_expires(node: Node, link: Link6, tmp_path: Path) -> None:
    """Renewed: longer on the interface. Without the server: taken off the interface, CHECK says so; and back again."""
    brief = {"valid-lifetime": 4, "preferred-lifetime": 2, "renew-timer": 1, "rebind-timer": 2}
    server = link.kea(**brief)
    with Daemon(node, tmp_path) as daemon:
        each = client(node, link, daemon, ipv4=False, ipv6="dhcp")
        result = configured(each)
        (address,) = (ip["address"].split("/")[0] for ip in result["ips"])
        assert eventually(lambda: lifetimes(each)[address] < FOREVER)
        assert eventually(lambda: server.said.count("DHCP6_LEASE") > 1 or "Renew" in server.said.title()), server.said
        server.close()
        assert daemon.says(f"{address}/128 was removed from eth0")
        assert lifetimes(each) == {} and address in each.check().error["msg"]
        link.kea(**brief)
        assert daemon.says(f"{address}/128 from .* is on eth0 again") and address in lifetimes(each)
        assert each.check().ok and each.delete().ok


def test_beside_ipv4_no_router_is_no_error(node: Node, link: Link6, tmp_path: Path) -> None:
    """With "auto": the ADD goes on without IPv6, and the log says so. With another mode it fails, and names both."""
    from node.dhcpserver import Server

    link.router.ip("addr add 10.7.0.1/24 dev eth0")
    flags = ("-timeout", "1s", "-resendtimeout", "3s")
    with Server(link.router, "eth0"), Daemon(node, tmp_path, "ours", *flags) as daemon:
        each = client(node, link, daemon, ipv6="auto")
        result = configured(each)
        assert [ip["address"] for ip in result["ips"]] == ["10.7.0.50/24"] and daemon.says("without IPv6: ")
        assert each.check().ok
        daemon.kill()
        daemon.start()
        assert eventually(lambda: each.check().ok) and each.delete().ok
        error = client(node, link, daemon, ipv6="slaac").add().error
        assert error["msg"] == "error calling DHCP.Allocate: no more tries" and "router" in error["details"]
        assert not daemon.kept()


def test_an_address_of_slaac_that_another_host_has(node: Node, link: Link6, tmp_path: Path) -> None:
    """Another one is formed."""
    own = next(item["local"] for item in link.pod.address_objects("eth0") if item["scope"] == "link")
    taken = own.replace("fe80::", "fd00:7::")
    link.router.ip(f"addr add {taken}/64 dev eth0 nodad")
    link.dnsmasq("fd00:7::,ra-only,64,1h")
    with Daemon(node, tmp_path) as daemon:
        each = client(node, link, daemon, ipv4=False, ipv6="slaac")
        (address,) = (ip["address"] for ip in configured(each)["ips"])
        assert address.startswith("fd00:7:") and address != f"{taken}/64"
        assert each.delete().ok
