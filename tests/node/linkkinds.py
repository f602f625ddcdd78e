"""Every kind of link with all its values, as we make it and as ``ip`` makes it: both roads, and what comes of each."""

import errno

import pytest

from cni.errors import KernelError
from cni.kernel import tun
from cni.kernel.kinds import Bridge, Dummy, Ifb, Ipvlan, LinkKind, Macvlan, Tun, Veth, Vlan, Vrf
from cni.kernel.rtnl import Rtnl

from .namespace import Netns, Object

# A kind with its values, and the words that ``ip link add`` or ``ip tuntap add`` makes the same with.
CASES: list[tuple[LinkKind, str]] = [
    (Bridge(), "type bridge"),
    (Bridge(vlan_filtering=True), "type bridge vlan_filtering 1"),
    (Dummy(), "type dummy"),
    (Ifb(), "type ifb"),
    *(
        (Ipvlan(mode, isolation), f"type ipvlan mode {mode} {isolation}")
        for mode in ("l2", "l3", "l3s")
        for isolation in ("bridge", "private", "vepa")
    ),
    *((Macvlan(mode), f"type macvlan mode {mode}") for mode in ("bridge", "passthru", "private", "source", "vepa")),
    (Macvlan("bridge", broadcast_queue=77), "type macvlan mode bridge bcqueuelen 77"),
    (Tun("tun"), "mode tun"),
    (Tun("tap"), "mode tap"),
    (Tun("tap", owner=5, group=6, multi_queue=True), "mode tap user 5 group 6 multi_queue"),
    (Veth("other"), "type veth peer name other"),
    (Vlan(100), "type vlan id 100"),
    (Vlan(4094, "802.1ad"), "type vlan id 4094 protocol 802.1ad"),
    (Vrf(7), "type vrf table 7"),
]
# What every kernel has that the suite runs on; a guest's kernel has the others.
EVERYWHERE = [case for case in CASES if isinstance(case[0], Ifb | Macvlan | Tun | Veth) or case[0] == Bridge()]
ON_A_PARENT = (Ipvlan, Macvlan, Vlan)


def named(case: tuple[LinkKind, str]) -> str:
    """A case's name among the tests."""
    return case[1].removeprefix("type ")


def lacks(case: tuple[LinkKind, str], rtnl: Rtnl) -> bool:
    """Whether the kernel does not have this kind, or this value of it."""
    kind = case[0]
    if isinstance(kind, Tun):
        return False
    try:
        rtnl.add("probe", kind, parent=_parent(rtnl, "uplink0") if isinstance(kind, ON_A_PARENT) else 0)
    except KernelError as error:
        assert error.errno == errno.EOPNOTSUPP, error
        return True
    found = rtnl.link("probe")
    assert found is not None
    rtnl.delete(found.index)
    return False


def skip_without(netns: Netns, made: str, kind: str) -> None:
    """Skip the test on a kernel that lacks a kind of link; ``made`` are the words of ``ip link add probe`` that make one."""
    try:
        netns.ip(f"link add probe {made}", "link del probe")
    except AssertionError:
        pytest.skip(f"needs a kernel with {kind}: make test-guest")


def parents(netns: Netns) -> None:
    """Two links that others can be made on: what is made on one must not decide about what is made on the other."""
    netns.ip("link add uplink0 type veth peer name far0", "link add uplink1 type veth peer name far1")


def _parent(rtnl: Rtnl, name: str) -> int:
    link = rtnl.link(name)
    assert link is not None
    return link.index


def both_roads(netns: Netns, rtnl: Rtnl, case: tuple[LinkKind, str]) -> None:
    """A link that we make and one that ``ip`` makes: ``ip`` sees the same in both, and so do we. The test runs inside."""
    kind, words = case
    on = isinstance(kind, ON_A_PARENT)
    parent = _parent(rtnl, "uplink0") if on else 0
    if isinstance(kind, Tun):
        tun.make("ours", kind)
        netns.ip(f"tuntap add ips {words}")
    else:
        rtnl.add("ours", kind, parent=parent)
        other = words.replace("other", "another")
        netns.ip(f"link add ips {'link uplink1 ' if on else ''}{other}")
    seen = netns.links()
    assert _info(seen["ours"]) == _info(seen["ips"])
    for name in ("ours", "ips"):
        link = rtnl.link(name)
        assert link is not None and (link.kind, link.data) == (kind.name, kind)
        assert seen.get(seen[name].get("link", ""), {}).get("ifindex", 0) == link.other
        assert (link.parent, link.peer) == ((link.other, 0) if on else (0, link.other))
        assert bool(link.other) == (on or isinstance(kind, Veth))
        rtnl.delete(link.index)


def _info(link: Object) -> Object:
    """What is told of the kind, without what differs between two equal links."""
    info: Object = link["linkinfo"]
    for own in ("root_id", "bridge_id", "designated_root", "gc_timer", "hello_timer"):
        info.get("info_data", {}).pop(own, None)
    return {**info, "link_type": link["link_type"], "txqlen": link.get("txqlen")}
