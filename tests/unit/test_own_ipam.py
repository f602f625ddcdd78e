"""What a plugin refuses about names: itself as its IPAM plugin, an interface that is no text."""

import subprocess

import pytest

from cni.kernel.rtnl import Rtnl
from node.served import plugin, serve

CONF = {"cniVersion": "1.1.0", "name": "n", "type": "bridge", "bridge": "pycni-none", "ipam": {"type": "bridge"}}


@pytest.mark.root
@pytest.mark.parametrize(("verb", "code"), [("ADD", 7), ("STATUS", 7), ("DEL", 0)])
def test_a_plugin_is_not_its_own_ipam_plugin(verb: str, code: int) -> None:
    """It would call itself without end; DEL has nothing of it to remove."""
    netns = "/var/run/netns/pycni-nowhere" if verb == "DEL" else "/proc/1/ns/ipc"
    outcome = serve(plugin("bridge"), verb, CONF, netns=netns)
    assert outcome.code == code, outcome.stdout


def test_an_interface_name_that_is_no_text_is_refused_before_anything() -> None:
    """The kernel would take the bytes; a result cannot tell them. DEL finds no such link."""
    name = b"e\xff".decode("utf-8", "surrogateescape")
    conf = {key: value for key, value in CONF.items() if key != "ipam"}
    outcome = serve(plugin("bridge"), "ADD", conf, ifname=name, netns="/proc/1/ns/ipc")
    assert outcome.code == 4 and outcome.error["msg"] == "interface name is not UTF-8 (CNI_IFNAME)"
    assert "pycni-none" not in subprocess.run(["ip", "link"], capture_output=True, text=True).stdout
    assert Rtnl().link(name) is None
