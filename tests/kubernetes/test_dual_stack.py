"""Both families: pods, Services, node ports and host ports."""

from collections.abc import Iterator

import pytest

from node.topology import Node

from . import objects
from .client import name_of
from .cluster import Cluster
from .conftest import running
from .test_everyday import reached

pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module", params=[("containerd", "plugins"), ("dockershim", "chain")], ids="-".join)
def dual(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with the gate IPv6DualStack."""
    runtime, form = request.param
    with running(runtime, form, dual=True) as made:
        yield made


def test_both_families(dual: Cluster) -> None:
    dual.api.create("pods", objects.pod("a", objects.container(80, 8080)))
    dual.api.create("pods", objects.pod("b"))
    for family, name in (("IPv4", "four"), ("IPv6", "six")):
        body = objects.service(name, "a", 80, type="NodePort", ipFamilies=[family], ipFamilyPolicy="SingleStack")
        dual.api.create("services", body)
    pods = {pod["metadata"]["name"]: pod for pod in dual.wait_for(2)}
    beside, own = dual.netns(pods["b"]), dual.netns(pods["a"])
    addresses = [each["ip"] for each in pods["a"]["status"]["podIPs"]]
    assert len(addresses) == 2
    for where in addresses:
        assert name_of(beside, where, 80) == "a"
    for name, target in (("four", Node.ADDRESS), ("six", Node.ADDRESS6)):
        spec = dual.api.get("services", name)["spec"]
        for at in (dual.node, beside, own):
            assert reached(at, spec["clusterIP"], 80, "a"), (name, at)
        assert reached(dual.node.outside, target, spec["ports"][0]["nodePort"], "a"), name
        for at in (dual.node.outside, dual.node, beside, own):
            assert name_of(at, target, 8080) == "a", (name, at)
    assert name_of(dual.node, "127.0.0.1", 8080) == "a"
    dual.empty()
