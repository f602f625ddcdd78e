"""Kinds of links that not every kernel has, made and read by two roads; the others are in tests/unit/test_kinds.py."""

from collections.abc import Iterator

import pytest

from cni.kernel import rules
from cni.kernel.kinds import Bridge, LinkKind, Vrf
from cni.kernel.rtnl import Rtnl
from node import linkkinds
from node.namespace import Netns

pytestmark = pytest.mark.guest


@pytest.fixture
def rtnl(empty: Netns) -> Iterator[Rtnl]:
    linkkinds.parents(empty)
    made = Rtnl()
    yield made
    made.close()


@pytest.mark.parametrize(
    "case", [case for case in linkkinds.CASES if case not in linkkinds.EVERYWHERE], ids=linkkinds.named
)
def test_a_link_is_what_ip_would_have_made(empty: Netns, rtnl: Rtnl, case: tuple[LinkKind, str]) -> None:
    if linkkinds.lacks(case, rtnl):
        pytest.skip(f"needs a kernel with {linkkinds.named(case)}: make test-guest")
    linkkinds.both_roads(empty, rtnl, case)


def test_a_bridge_begins_to_filter_vlans(empty: Netns, rtnl: Rtnl) -> None:
    if linkkinds.lacks((Bridge(vlan_filtering=True), ""), rtnl):
        pytest.skip("needs a kernel with bridge VLAN filtering: make test-guest")
    rtnl.add("br0", Bridge())
    for link in rtnl.links():
        if link.kind == "bridge":
            rtnl.change(link.index, kind=Bridge(vlan_filtering=True))
    assert empty.link("br0")["linkinfo"]["info_data"]["vlan_filtering"] == 1


def test_the_kernel_makes_a_rule_for_all_vrfs(empty: Netns, rtnl: Rtnl) -> None:
    if linkkinds.lacks((Vrf(7), ""), rtnl):
        pytest.skip("needs a kernel with VRF: make test-guest")
    rtnl.add("vrf0", Vrf(7))
    for version in (4, 6):
        assert [rule.priority for rule in rules.every(rtnl, version) if rule.l3mdev] == [1000]
    assert "l3mdev" in empty.run("ip", "rule")
