"""Kinds of links: those that any kernel has, made and read by two roads; the others are in tests/guest/test_kinds.py."""

import errno
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.errors import KernelError
from cni.kernel import kinds, tun
from cni.kernel.kinds import Bridge, Dummy, Ipvlan, LinkKind, Macvlan, Tun, Veth, Vlan, Vrf
from cni.kernel.namespace import Namespace
from cni.kernel.netlink import Answer, attribute
from cni.kernel.rtnl import Link, Rtnl, link_message
from node import linkkinds
from node.namespace import Netns
from node.topology import NamedNetns

real = pytest.mark.root


@pytest.fixture
def rtnl(empty: Netns) -> Iterator[Rtnl]:
    made = Rtnl()
    yield made
    made.close()


def found(rtnl: Rtnl, name: str) -> Link:
    link = rtnl.link(name)
    assert link is not None
    return link


def test_the_cases_are_of_all_kinds() -> None:
    assert {case[0].name for case in linkkinds.CASES} == set(kinds.TABLE)
    assert [name for name, kind in kinds.TABLE.items() if kind.name != name] == []


@pytest.mark.parametrize("case", linkkinds.CASES, ids=linkkinds.named)
def test_what_is_written_is_read_again(case: tuple[LinkKind, str]) -> None:
    """Without a kernel; a veth's peer is written alone."""
    kind = case[0]
    message = link_message([("IFLA_LINKINFO", kind.info())], index=7)
    message.encode()
    link = Link(Answer(16, 0, 1, bytes(message.data)))
    assert (link.kind, link.data) == (kind.name, kind)
    assert not [row for row in kind.ROWS if row[0] not in vars(type(kind))]


@given(st.sampled_from(sorted(kinds.TABLE)), st.lists(st.tuples(st.integers(1, 60), st.binary(min_size=4, max_size=8))))
def test_what_a_later_kernel_reports_is_no_fault(name: str, reported: list[tuple[int, bytes]]) -> None:
    """Numbers without a word stay numbers; other attributes are passed over."""
    read = kinds.decode(name, b"".join(attribute(number, payload) for number, payload in reported))
    assert read is not None and read.name == name and read == read and repr(read).startswith(type(read).__name__)


def test_equality_and_text() -> None:
    assert Macvlan("bridge") == Macvlan("bridge") != Macvlan("private") and Dummy() != kinds.Ifb()
    assert Veth("one") == Veth("two"), "the kernel reports nothing of a peer"
    assert repr(Vlan(7)) == "Vlan(id=7, protocol='802.1Q')" and repr(Vrf(5)) == "Vrf(table=5)"
    assert len({Ipvlan("l2"), Ipvlan("l2"), Ipvlan("l3")}) == 2
    assert kinds.decode("vxlan", b"") is None
    with pytest.raises(KeyError):
        Ipvlan("l4").encode()


def test_what_a_kernel_may_lack_is_sent_only_where_it_is_wanted() -> None:
    assert Bridge().encode() == [] != Bridge(vlan_filtering=True).encode()
    assert len(Macvlan("bridge").encode()) == 1 < len(Macvlan("bridge", broadcast_queue=1).encode())


@real
@pytest.mark.parametrize("case", linkkinds.EVERYWHERE, ids=linkkinds.named)
def test_a_link_is_what_ip_would_have_made(empty: Netns, rtnl: Rtnl, case: tuple[LinkKind, str]) -> None:
    linkkinds.parents(empty)
    linkkinds.both_roads(empty, rtnl, case)


@real
def test_a_pair_with_an_end_in_another_namespace(empty: Netns, rtnl: Rtnl) -> None:
    """Each end's MTU and MAC; the indexes count in the namespaces that are told."""
    there = NamedNetns("there")
    try:
        inside = Namespace(there.path)
        empty.ip("link add br0 type bridge")
        far = Veth("eth0", mac="02:00:00:00:00:02", mtu=1401, namespace=inside.fd)
        rtnl.add("near", far, mac="02:00:00:00:00:01", mtu=1400, master=found(rtnl, "br0").index)
        ours, theirs = empty.link("near"), there.link("eth0")
        assert (ours["address"], ours["mtu"], ours["master"]) == ("02:00:00:00:00:01", 1400, "br0")
        assert (theirs["address"], theirs["mtu"]) == ("02:00:00:00:00:02", 1401)
        near, eth0 = found(rtnl, "near"), found(inside.rtnl, "eth0")
        assert (near.peer, eth0.peer) == (eth0.index, near.index)
        assert (near.other_namespace, eth0.other_namespace) == (ours["link_netnsid"], theirs["link_netnsid"])
        assert near.other_namespace >= 0 and found(rtnl, "br0").other_namespace == -1
        inside.close()
    finally:
        there.close()


@real
def test_a_link_in_another_namespace_than_its_parent(empty: Netns, rtnl: Rtnl) -> None:
    linkkinds.parents(empty)
    there = NamedNetns("there")
    try:
        inside = Namespace(there.path)
        parent = found(rtnl, "uplink0").index
        rtnl.add("eth0", Macvlan("bridge"), parent=parent, mac="02:00:00:00:00:03", namespace=inside.fd)
        eth0 = found(inside.rtnl, "eth0")
        assert (eth0.data, eth0.parent, eth0.peer, eth0.mac) == (Macvlan("bridge"), parent, 0, "02:00:00:00:00:03")
        assert eth0.other_namespace == there.link("eth0")["link_netnsid"]
        with open("/proc/thread-self/ns/net") as here:
            inside.rtnl.change(eth0.index, name="moved", namespace=here.fileno())
        moved = found(rtnl, "moved")
        assert (moved.parent, moved.other_namespace) == (parent, -1) and set(there.links()) == {"lo"}
        inside.close()
    finally:
        there.close()


@real
def test_everything_of_a_link_is_changed_alone(empty: Netns, rtnl: Rtnl) -> None:
    """And nothing else with it."""
    empty.ip("link add br0 type bridge", "link add it type veth peer name other")
    index = found(rtnl, "it").index
    before = empty.link("it")
    for change, told in (
        ({"mac": "02:00:00:00:00:09"}, {"address": "02:00:00:00:00:09"}),
        ({"mtu": 1300}, {"mtu": 1300}),
        ({"alias": "net1/ctr1/eth0"}, {"ifalias": "net1/ctr1/eth0"}),
        ({"tx_queue_length": 55}, {"txqlen": 55}),
        ({"tx_queue_length": 0}, {"txqlen": None}),
        ({"name": "new"}, {"ifname": "new"}),
        ({"name": "it"}, {"ifname": "it"}),
    ):
        rtnl.change(index, **change)  # type: ignore[arg-type]
        after = next(link for link in empty.links().values() if link["ifindex"] == index)
        assert {key: after.get(key) for key in {*before, *after, *told}} == {
            key: told.get(key, before.get(key)) for key in {*before, *after, *told}
        }
        before = after
    for flag, word in (("up", "UP"), ("promisc", "PROMISC"), ("allmulti", "ALLMULTI")):
        for value in (True, False):
            rtnl.change(index, **{flag: value})  # type: ignore[arg-type]
            assert (word in empty.link("it")["flags"]) is value is getattr(found(rtnl, "it"), flag)
    for master in (found(rtnl, "br0").index, 0):
        rtnl.change(index, master=master)
        assert empty.link("it").get("master") == ("br0" if master else None)
        assert found(rtnl, "it").master == master


@real
def test_a_port_is_changed(empty: Netns, rtnl: Rtnl) -> None:
    empty.ip("link add br0 type bridge", "link add it type veth peer name other", "link set it master br0")
    index, wanted = found(rtnl, "it").index, {"hairpin": False, "isolated": False}
    for key, value in (("hairpin", True), ("isolated", True), ("hairpin", False), ("isolated", False)):
        rtnl.change_port(index, **{key: value})
        wanted[key] = value
        port, link = empty.port("it"), found(rtnl, "it")
        assert wanted == {name: port[name] for name in wanted} == {name: getattr(link, name) for name in wanted}


@real
def test_a_name_that_is_taken(empty: Netns, rtnl: Rtnl) -> None:
    rtnl.add("it", Bridge())
    with pytest.raises(KernelError) as refused:
        rtnl.add("it", Veth())
    with pytest.raises(OSError, match="busy") as busy:
        tun.make("lo", Tun())
    assert (refused.value.errno, busy.value.errno) == (errno.EEXIST, errno.EBUSY)
    tun.make("tap0", Tun())
    with pytest.raises(OSError, match="busy"):
        tun.make("tap0", Tun())
