"""What the neighbours of a pod know: an address that is used again is told to them at once."""

from typing import Any

import pytest

from node.configuration import bridge, host_local
from node.deadline import eventually
from node.topology import Node, Pod
from node.traffic import reaches

Object = dict[str, Any]


def _neighbour(pod: Pod, address: str) -> Object:
    found = [entry for entry in pod._json("ip", "-j", "neigh", "show") if entry.get("dst") == address]
    assert len(found) == 1, f"{pod} does not know {address}"
    return found[0]


@pytest.mark.parametrize("address", ["10.1.2.77", "fd00:1::77"])
@pytest.mark.beyond_old_go("announces before the bridge's port forwards, IPv6 not at all")
def test_a_reused_address_is_announced(node: Node, address: str) -> None:
    """A new pod with an old pod's address and another MAC is reached without waiting for a stale entry to expire."""
    conf = bridge(host_local(node.data_dir, "10.1.2.0/24", "fd00:1::/64"), isGateway=True)
    wanting = {**conf, "runtimeConfig": {"ips": [address]}}
    neighbour = node.attach(conf)
    first = node.attach(wanting)
    assert reaches(neighbour.pod, first.pod, address)
    assert _neighbour(neighbour.pod, address)["lladdr"] == first.mac
    first.delete()
    second = node.attach(wanting)
    assert second.mac != first.result["interfaces"][2]["mac"]
    # nothing else that is sent tells it; the kernel may have the announcement in a queue still
    assert eventually(lambda: _neighbour(neighbour.pod, address)["lladdr"] == second.mac)
    assert reaches(neighbour.pod, second.pod, address, seconds=1.0)
