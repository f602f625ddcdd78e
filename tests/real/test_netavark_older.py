"""podman 4.3 of Debian 12 with netavark has no drivers: docs/podman.md says so."""

from pathlib import Path

import pytest

from node.netavark import Netavark, temporary, version
from node.topology import Node

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(version()[:2] != (4, 3), reason="podman 4.3 is not installed"),
    pytest.mark.skipif(not Path("/usr/lib/podman/netavark").exists(), reason="netavark is not installed"),
]


def test_podman_4_has_no_drivers(node: Node) -> None:
    """It does not look for them, and says that it does not know ours."""
    with temporary() as folder, Netavark(node, Path(folder)) as podman:
        assert podman("info", "-f", "{{.Host.NetworkBackend}} {{.Plugins.Network}}") == "netavark [bridge macvlan]\n"
        assert "unsupported driver cni" in podman.refused("network", "create", "-d", "cni", "web")
