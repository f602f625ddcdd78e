"""Clusters for the tests of this folder: they are asked for by ``make test-kubernetes``."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.configuration import conflist, host_local, portmap
from node.plugin import SUBJECT, Object
from node.topology import Node

from .cluster import PODS, PODS6, Cluster

PROGRAMS = Path(os.environ.get("PYCNI_KUBERNETES", ""))


def network(node: Node, dual: bool = False, chain: bool = False) -> Object:
    """The conflist that kubeadm's users write for bridge, host-local and portmap."""
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
