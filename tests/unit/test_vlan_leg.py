"""The node's leg in a VLAN, whoever has made how much of it: with a kernel of links that are written down."""

from errno import EEXIST
from types import SimpleNamespace
from typing import Any

import pytest

from cni.attachment import Attachment
from cni.errors import CheckFailed, CNIError, KernelError
from cni.kernel import vlans
from cni.kernel.kinds import Veth
from cni.kernel.rtnl import NATIVE_VLAN
from cni_bridge.leg import VlanLeg
from node.effects import raising

WHO = Attachment("net1", "c1", "eth0")
BRIDGE, LEG = 7, "br0.100"


class Kernel:
    """Links by name, and the VLANs of ports; a call beyond ``life`` does not come back."""

    def __init__(self, life: int = 1000) -> None:
        self.found: dict[str, Any] = {}
        self.members: dict[int, dict[int, int]] = {}
        self.life = life
        self.written: dict[str, str] = {}

    def live(self) -> None:
        self.life -= 1
        if self.life < 0:
            raise SystemExit

    def place(self, name: str, peer: int = 0, master: int = 0) -> None:
        index = 10 + len(self.found)
        self.found[name] = SimpleNamespace(name=name, index=index, peer=peer, master=master, up=False)
        if master:
            self.members[index] = {1: NATIVE_VLAN}

    def link(self, name: str = "", index: int = 0) -> Any:
        return next((one for one in self.found.values() if one.name == name or one.index == index), None)

    def add(self, name: str, kind: Veth, *, mac: str, mtu: int, master: int) -> None:
        self.live()
        if name in self.found or kind.peer in self.found:
            raise KernelError(EEXIST, "exists")
        index = 10 + len(self.found)
        self.place(name, index + 1, master)
        self.place(kind.peer, index)

    def change(self, index: int, master: int | None = None, up: bool | None = None) -> None:
        self.live()
        link = self.link(index=index)
        link.up = link.up if up is None else up
        if master is not None:
            link.master = master
            self.members[index] = {1: NATIVE_VLAN}

    def vlans(self, index: int) -> dict[int, int]:
        return dict(self.members.get(index, {}))

    def add_vlan(self, index: int, vid: int, flags: int) -> None:
        self.live()
        self.members[index][vid] = flags

    def delete_vlan(self, index: int, vid: int) -> None:
        self.live()
        del self.members[index][vid]


@pytest.fixture(autouse=True)
def _vlans_of_this_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, method in (("of", Kernel.vlans), ("add", Kernel.add_vlan), ("delete", Kernel.delete_vlan)):
        monkeypatch.setattr(vlans, name, method)


def leg_of(kernel: Kernel) -> VlanLeg:
    said: Any = SimpleNamespace(bridge="br0", vlan=100, gateway_device=LEG, preserve_default_vlan=False)
    bridge: Any = SimpleNamespace(index=BRIDGE, mtu=1400)
    site: Any = SimpleNamespace(
        attachment=WHO, rtnl=kernel, sysctls=SimpleNamespace(attempt=kernel.written.__setitem__)
    )
    return VlanLeg(site, said, bridge)


def is_whole(kernel: Kernel) -> bool:
    port, leg = kernel.link(leg_of(kernel).port), kernel.link(LEG)
    return bool(port.up and leg.up and port.master == BRIDGE and kernel.vlans(port.index) == {100: NATIVE_VLAN})


def test_a_maker_that_dies_anywhere_leaves_what_the_next_one_finishes() -> None:
    """At each of the calls that change something."""
    for life in range(20):
        kernel = Kernel(life)
        try:
            leg_of(kernel).make()
        except SystemExit:
            kernel.life = 1000
            assert leg_of(kernel).make() is kernel.link(LEG)
            assert is_whole(kernel), f"died after {life} calls"
            leg_of(kernel).compare(raising)
        else:
            assert life == 5, "as many calls as there are"
            assert is_whole(kernel)
            return
    raise AssertionError("no end of calls")


def test_a_leg_of_a_bridge_that_was_made_anew_is_its_port_again() -> None:
    kernel = Kernel()
    leg_of(kernel).make()
    kernel.link(leg_of(kernel).port).master = 0
    kernel.members.clear()
    leg_of(kernel).make()
    assert is_whole(kernel)


@pytest.mark.parametrize("port_too", [False, True])
def test_another_link_of_that_name_is_used_as_it_is(port_too: bool) -> None:
    """A VLAN device that the administrator made; even when a link has our port's name."""
    kernel = Kernel()
    kernel.place(LEG, peer=99)
    if port_too:
        kernel.place(leg_of(kernel).port, peer=98)
    assert leg_of(kernel).make() is kernel.link(LEG)
    assert not any(link.up or link.master for link in kernel.found.values())


def test_a_port_without_its_leg_is_an_error() -> None:
    """Somebody has renamed the leg: the pair cannot be made, and nothing is taken for it."""
    kernel = Kernel()
    kernel.place(leg_of(kernel).port, peer=99)
    with pytest.raises(CNIError, match=r'failed to create vlan interface "br0\.100": vleg\w+ or br0\.100 is missing'):
        leg_of(kernel).make()


def test_check_wants_both_ends_up_and_the_port_in_its_vlan() -> None:
    kernel = Kernel()
    leg_of(kernel).make()
    leg_of(kernel).compare(raising)
    port = kernel.link(leg_of(kernel).port)
    for link, text in ((kernel.link(LEG), "br0.100 is down"), (port, f"port {port.name} of br0.100 is down")):
        link.up = False
        with pytest.raises(CheckFailed, match=text):
            leg_of(kernel).compare(raising)
        link.up = True
    kernel.members[port.index] = {1: NATIVE_VLAN}
    with pytest.raises(CheckFailed, match=f"vlan 100 is not on port {port.name}"):
        leg_of(kernel).compare(raising)


def test_the_leg_is_no_way_into_the_node() -> None:
    """Neither end takes router advertisements of a pod; the leg's own address needs no detection."""
    kernel = Kernel()
    leg_of(kernel).make()
    folder = "net/ipv6/conf"
    assert kernel.written == {
        f"{folder}/{leg_of(kernel).port}/accept_ra": "0",
        f"{folder}/{LEG}/accept_ra": "0",
        f"{folder}/{LEG}/accept_dad": "0",
    }
