"""Clusters for the tests of this folder, which ``make test-kubernetes`` runs."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from forkserver.server import running as forkserver
from node.configuration import conflist, host_local, portmap
from node.plugin import GO, SUBJECT, Object
from node.topology import Node

from .cluster import PODS, PODS6, Cluster

NATIVE = Path(__file__).parents[2] / "dist/native"
PROGRAMS = Path(os.environ.get("PYCNI_KUBERNETES", ""))
# how the plugins are run: folder of their files, in one process or not, with a fork server or not
FORMS = {"plugins": (SUBJECT, False, False), "chain": (SUBJECT, True, False), "served": (SUBJECT, True, True)}
FORMS |= {"native": (str(NATIVE), False, True), "go": (GO, False, False)}


def network(node: Node, dual: bool = False, chain: bool = False) -> Object:
    """The conflist that people write for a node of bridge, host-local and portmap."""
    subnets = (PODS, PODS6) if dual else (PODS,)
    routes = [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}][: 1 + dual]
    plugins = [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipMasq": True,
            "hairpinMode": True,
            "ipam": host_local(node.data_dir, *subnets, routes=routes),
        },
        portmap(snat=True),
    ]
    if chain:
        plugins = [{"type": "chain", "capabilities": {"portMappings": True}, "plugins": plugins}]
    return conflist(*plugins, name="k8s", version="0.4.0")


@contextmanager
def running(runtime: str, form: str, dual: bool = False) -> Iterator[Cluster]:
    """A cluster; what it made is taken away."""
    binaries, chain, served = FORMS[form]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="k8s-")))  # short, for the sockets
        (folder / "leases").mkdir()
        if served:
            server = stack.enter_context(forkserver(folder))
            os.environ["CNI_FORKSERVER"] = server.socket
            stack.callback(os.environ.pop, "CNI_FORKSERVER")
        else:
            os.environ["CNI_FORKSERVER"] = ""
        node = Node(folder / "leases")
        stack.callback(node.close)
        cluster = Cluster(node, folder, PROGRAMS, binaries, network(node, dual, chain), runtime=runtime, dual=dual)
        stack.callback(cluster.close)
        yield cluster


RUNS = [("containerd", form) for form in ("plugins", "chain", "served", "native")]
RUNS += [("dockershim", form) for form in ("plugins", "chain", "native")]


@pytest.fixture(scope="module", params=RUNS, ids="-".join)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster with each runtime, and with the plugins in each of their forms."""
    runtime, form = request.param
    with running(runtime, form) as made:
        yield made


@pytest.fixture(autouse=True)
def emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test made is deleted, and nothing of it may be left on the node."""
    yield
    if "cluster" in request.fixturenames:
        cluster: Cluster = request.getfixturevalue("cluster")
        cluster.empty()
