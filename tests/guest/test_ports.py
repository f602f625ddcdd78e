"""Published ports of the protocols that the machine's kernel has no sockets for: the kernel's own SCTP and DCCP.

tests/guest/run -t 600 python3 -m pytest tests/guest
"""

import subprocess

import pytest

from node.configuration import port
from node.ports import kernel_has, source
from node.published import bridged_packets_are_filtered, neighbour, publish, views
from node.topology import Node

pytestmark = pytest.mark.guest

# Emulated processors are slow, so what has to happen gets plenty of time.
PATIENCE = 30.0


def needs(protocol: str) -> None:
    """Skip where the kernel has no sockets of the protocol."""
    for module in (protocol, f"{protocol}_ipv4", f"{protocol}_ipv6"):
        subprocess.run(["modprobe", "-q", module], check=False, timeout=60)
    if not kernel_has(protocol):
        pytest.skip(f"needs a kernel with {protocol} sockets: make test-guest")


@pytest.mark.parametrize("backend", ["nftables", "iptables"])
@pytest.mark.parametrize("protocol", ["sctp", "dccp"])
def test_everybody_connects_to_a_published_port(node: Node, protocol: str, backend: str) -> None:
    """Whole associations: from outside, the node, a neighbour and the pod itself, both families, with br_netfilter."""
    needs(protocol)
    subprocess.run(["modprobe", "-q", "br_netfilter"], check=False, timeout=60)
    bridged_packets_are_filtered(node, True)
    chain = publish(node, port(8080, 80, protocol), backend=backend)
    beside = neighbour(node)
    for version in (4, 6):
        for name, client, target, seen in views(node, chain, beside, version):
            assert source(protocol, chain.pod, 80, client, target, 8080, seconds=PATIENCE) == seen, (version, name)
    chain.remove()
    assert node.nft() == []
