"""The IPv6 client against Debian's dnsmasq and kea, over real sockets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cni_dhcp_daemon.client import Lost, Probe
from cni_dhcp_daemon.v6.wish import Mode
from node.deadline import eventually
from node.dhcp6server import NAMESERVER, Link6

pytestmark = [pytest.mark.real, pytest.mark.root]


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link6]:
    with Link6(tmp_path) as made:
        yield made


def formed(link: Link6) -> str:
    """The address of SLAAC in the router's prefix: the last half of the pod's own link-local address."""
    own = next(each for each in link.pod.address_objects("eth0") if each["scope"] == "link")
    return own["local"].replace("fe80::", "fd00:7::") + "/64"


def test_addresses_from_dnsmasq(link: Link6) -> None:
    """M: DHCPv6, in the mode auto; a restart confirms the address, a release frees it."""
    served = link.dnsmasq("fd00:7::10,fd00:7::ff,64,2m")
    driver = link.client()
    lease = driver.bound()
    (address,) = driver.addresses
    assert address.startswith("fd00:7::") and address.endswith("/64")
    assert (lease.gateway, lease.names.servers, lease.names.search) == (link.gateway, (NAMESERVER,), ("dhcp.example",))
    assert 118 < lease.expires - driver.now <= 120
    driver.close()
    again = link.client(lease=lease)
    again.until(lambda: "DHCPREPLY" in served.said and "DHCPCONFIRM" in served.said and again.lease)
    assert again.addresses == [address]
    assert not [event for event in again.events if isinstance(event, Lost)]
    again.release()
    assert eventually(lambda: "DHCPRELEASE" in served.said)


def test_an_address_in_use_is_declined(link: Link6) -> None:
    """dnsmasq gives another one, and not the declined one again."""
    served = link.dnsmasq("fd00:7::10,fd00:7::11,64,2m")
    driver = link.client(conflicts=1)
    driver.bound()
    assert "DHCPDECLINE" in served.said
    first, second = [event.address for event in driver.events if isinstance(event, Probe)]
    assert first != second
    assert driver.addresses == [f"{second}/64"]


def test_prefixes_from_dnsmasq(link: Link6) -> None:
    """A alone; the kernel forms the same identifier for its link-local address."""
    link.dnsmasq("fd00:7::,ra-only,64,1h")
    driver = link.client()
    lease = driver.bound()
    assert driver.addresses == [formed(link)]
    assert (lease.gateway, lease.names.servers) == (link.gateway, (NAMESERVER,))
    assert 3590 < lease.expires - driver.now <= 3600


def test_settings_from_dnsmasq(link: Link6) -> None:
    """O and A."""
    served = link.dnsmasq("fd00:7::,ra-stateless,64,1h")
    driver = link.client()
    lease = driver.bound()
    assert driver.addresses == [formed(link)]
    assert "DHCPINFORMATION-REQUEST" in served.said
    assert lease.names.search == ("dhcp.example",)


def test_both_from_dnsmasq(link: Link6) -> None:
    link.dnsmasq("fd00:7::10,fd00:7::ff,slaac,64,2m")
    driver = link.client()
    driver.bound()
    given, own = driver.addresses
    assert own == formed(link)
    assert given.startswith("fd00:7::")
    driver.close()
    slaac = link.client(Mode.SLAAC)
    slaac.bound()
    assert slaac.addresses == [own]


def test_kea_without_a_router(link: Link6) -> None:
    """No gateway and no prefix. Kea's reason for no address is in ours; a released address is given to the next client."""
    link.kea(pools=[{"pool": "fd00:7::100 - fd00:7::100"}])
    first = link.client(Mode.DHCP, patience=0.5)
    lease = first.bound()
    assert (lease.gateway, lease.names.servers) == ("", (NAMESERVER,))
    assert first.addresses == ["fd00:7::100/128"]
    first.close()
    second = link.client(Mode.DHCP, duid=b"\0\4another", patience=0.5)
    second.until(lambda: second.reasons and "NoAddrsAvail" in second.reasons[-1])
    second.close()
    first = link.client(Mode.DHCP, lease=lease)
    first.release()
    first.close()
    second = link.client(Mode.DHCP, duid=b"\0\4another", patience=0.5)
    second.bound()
    assert second.addresses == ["fd00:7::100/128"]


def test_kea_beside_a_router(link: Link6) -> None:
    """Two messages instead of four. The address is renewed; then kea has forgotten it (NoBinding), and it stays."""
    link.dnsmasq("fd00:7::,ra-only,64,1h")
    brief = {"valid-lifetime": 60, "preferred-lifetime": 4, "rapid-commit": True}
    served = link.kea(**brief)
    driver = link.client(Mode.DHCP)
    lease = driver.bound()
    assert lease.gateway == link.gateway
    assert driver.addresses == ["fd00:7::100/64"]
    driver.until(lambda: driver.lease and driver.lease.expires > lease.expires + 1)
    served.close()
    (link.folder / "kea.leases").unlink()
    link.kea(**{**brief, "valid-lifetime": 600})
    driver.until(lambda: driver.lease and driver.lease.expires > lease.expires + 100)
    assert driver.addresses == ["fd00:7::100/64"]
    assert not [event for event in driver.events if isinstance(event, Lost)]
