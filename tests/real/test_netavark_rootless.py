"""A user's podman 5 with a list as a network: the driver runs in podman's user namespace, where /var/lib is not its own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node import rootless
from node.configuration import conflist, portmap
from node.netavark import temporary, version
from node.ports import answers
from node.rootless import Rootless
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version() < (5,), reason="podman 5 is not installed"),
    pytest.mark.skipif(bool(rootless.missing()), reason=f"not installed: {rootless.missing()}"),
]
OF_THE_NODE = ("/var/lib/cni", "/run/cni")
# in podman's mount namespace
STATE = "/run/cni/pycni/podman-lib/cni"


def files(*folders: str) -> set[str]:
    """Every file below the folders."""
    return {os.path.join(at, name) for folder in folders for at, _, names in os.walk(folder) for name in names}


def web() -> dict[str, Any]:
    """A list without folders of its own, as a user has it."""
    ipam = {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}
    below = {"type": "bridge", "bridge": "cni-web0", "isGateway": True, "ipMasq": True, "ipam": ipam}
    return conflist(below, portmap(), {"type": "firewall"}, name="web", version="1.1.0")


@pytest.fixture
def podman(node: Node) -> Iterator[Rootless]:
    """A user's podman with the network ``web``. The node has a way to the world, which pasta wants."""
    node.ip(f"route add default via {node.OUTSIDE}")
    with temporary() as name:
        folder = Path(name)
        with rootless.user(folder), Rootless(node, folder) as made:
            made.add_network(web())
            made.create("web")
            yield made


def test_a_user_has_what_root_has(podman: Rootless) -> None:
    """Ports, names, addresses, the ends of a container, GC; records are the user's, and nothing is written on the node."""
    node = podman.node
    before = files(*OF_THE_NODE)
    first = podman.run("--network", "web:alias=alpha", "--ip", "10.88.0.50", "-p", "8080:80")
    second = podman.run("--network", "web")
    assert first.addresses == ["10.88.0.50"]

    def has_port() -> bool:
        return answers("tcp", podman.netns(first), 80, node.outside, node.ADDRESS, 8080)

    assert has_port()
    assert podman.netns(second).run("ping", "-c1", "-W3", "10.88.0.50")
    if os.path.exists("/usr/lib/podman/aardvark-dns"):
        assert "10.88.0.50" in podman("exec", second.name, "busybox", "nslookup", "alpha", "10.88.0.1")
    for command in (
        ("network", "reload", first.name),
        ("restart", "--time", "0", first.name),
        ("network", "disconnect", "web", second.name),
        ("network", "connect", "web", second.name),
    ):
        podman(*command)
    assert has_port()
    assert "10.88.0.50" in podman.inside("ls", f"{STATE}/networks/web")
    records = f"{STATE}/podman/results"
    assert len(podman.inside("ls", records).split()) == 2
    assert list(podman.folder.rglob("podman-locks")), "the folders are the user's own"

    # GC: a record of a container that podman does not know any more
    podman.inside("sh", "-c", f"cp {records}/*{second.id}* /run/cni")
    second.remove()
    podman.inside("sh", "-c", f"mv /run/cni/*{second.id}* {records}")
    own = podman.folder / "podman"
    own.write_text(f'#!/bin/sh\nexec podman {" ".join(podman.storage)} "$@"\n')
    own.chmod(0o755)
    podman.inside(f"{podman.folder}/drivers/cni", "gc", "--podman", str(own))
    (left,) = podman.inside("ls", records).split()
    assert first.id in left and has_port()
    first.remove()
    assert files(*OF_THE_NODE) == before, "nothing was written on the node"


def test_a_link_of_the_node_is_refused(podman: Rootless) -> None:
    """By create: podman's namespaces do not have it."""
    podman.add_network(conflist({"type": "macvlan", "master": "uplink"}, name="links", version="1.0.0"))
    error = podman.refused("network", "create", "-d", "cni", *podman.options("links"), "links")
    assert "macvlan" in error and "run podman as root" in error, error
    assert json.loads(podman("network", "ls", "--format", "json", "--filter", "driver=cni"))[0]["name"] == "web"
