"""Which interfaces of a node live on router advertisements, and what is done to them: with sysctls that are written down."""

from types import SimpleNamespace
from typing import Any

import pytest

from cni import advertisements
from cni.errors import CNIError
from cni.site import Node

ZERO = "0" * 32
LEARNT = f"{ZERO} 00 {ZERO} 00 fe800000000000000000000000000099 00000400 00000001 00000000 00450003   uplink"
STATIC = f"{ZERO} 00 {ZERO} 00 fe800000000000000000000000000098 00000400 00000001 00000000 00000003    other"
PREFIX = f"20010db8{ZERO[8:]} 40 {ZERO} 00 {ZERO} 00000100 00000001 00000000 00040001     wlan"


def link(name: str, kind: str = "veth", **more: Any) -> Any:
    return SimpleNamespace(**{"name": name, "kind": kind, "up": True, "master": 0, "loopback": False, **more})


def test_a_route_from_an_advertisement_is_known_by_its_flag() -> None:
    """The default route, and the prefix that is on the link; not what somebody has set."""
    assert advertisements.learnt("\n".join([LEARNT, STATIC, PREFIX, "", "garbage"])) == {"uplink", "wlan"}


@pytest.mark.parametrize(
    ("interface", "depends"),
    [
        (link("uplink"), True),
        (link("veth0"), False),
        (link("docker0", "bridge"), False),
        (link("tun0", "tun"), False),
        (link("ens1", ""), True),
        (link("bond0", "bond"), True),
        (link("ens1.5", "vlan"), True),
        (link("ens1", "", up=False), False),
        (link("ens1", "", master=7), False),
        (link("lo", "", loopback=True), False),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_an_uplink_counts_before_its_first_advertisement(interface: Any, depends: bool) -> None:
    """A pod may come before the router's answer; links of containers count only where they have such a route."""
    assert advertisements.depends(interface, {"uplink"}) is depends


class Sysctls:
    """Files below /proc/sys, some of which cannot be written."""

    def __init__(self, **values: tuple[str, str]) -> None:
        """``accept_ra`` and ``forwarding`` by interface."""
        self.values = {
            f"net/ipv6/conf/{name}/{key}": value
            for name, pair in values.items()
            for key, value in zip(("accept_ra", "forwarding"), pair, strict=True)
        }
        self.locked = False

    def read(self, path: str) -> str:
        if path not in self.values:
            raise FileNotFoundError(2, "No such file or directory", path)
        return self.values[path]

    def write(self, path: str, value: str) -> None:
        if self.locked:
            raise OSError(30, "Read-only file system", path)
        self.values[path] = value


def site(found: Sysctls, lines: list[str], *names: str) -> Any:
    rtnl = SimpleNamespace(links=lambda: [link(name, "") for name in names])
    return SimpleNamespace(node=Node(), rtnl=rtnl, sysctls=found, say=lines.append)


def test_only_interfaces_that_would_lose_are_touched() -> None:
    """One line for all of them; one without IPv6, or that is gone by now, is passed over."""
    found = Sysctls(a=("1", "0"), b=("0", "0"), c=("2", "0"), d=("1", "1"), e=("1", "0"))
    lines: list[str] = []
    advertisements.keep(site(found, lines, "a", "b", "c", "d", "e", "gone"))
    accepts = {path.split("/")[3]: value for path, value in found.values.items() if path.endswith("accept_ra")}
    assert accepts == {"a": "2", "b": "0", "c": "2", "d": "1", "e": "2"}
    assert len(lines) == 1 and "accept_ra is 2 on a, e," in lines[0]


def test_what_cannot_be_kept_is_not_lost() -> None:
    """The error comes before forwarding is turned on, and names the way out."""
    found = Sysctls(a=("1", "0"))
    found.locked = True
    with pytest.raises(CNIError, match="a would lose its IPv6 routes") as caught:
        advertisements.keep(site(found, [], "a"))
    assert "net/ipv6/conf/a/accept_ra to 2" in caught.value.details
