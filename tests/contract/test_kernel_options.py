"""STATUS names the kernel option that a node lacks, and docs/kernel-options.md has each of them."""

import re
from pathlib import Path

import pytest

from cni.kernel.rtnl import Rtnl, missing
from contract.subject import SUBJECTS, Subject, lacking, of
from contract.trial import snapshot
from node.plugin import DIST, PLUGINS, Object
from node.served import plugin, serve
from node.topology import Node

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/kernel-options.md").read_text()
# The kinds of links that a plugin makes. sbr and tap, and bandwidth's queues, have tests of their own.
LINKS = [
    ("bandwidth", "ifb"), ("bridge", "bridge"), ("bridge", "veth"), ("dummy", "dummy"), ("ipvlan", "ipvlan"),
    ("macvlan", "macvlan"), ("ptp", "veth"), ("vlan", "vlan"), ("vrf", "vrf"),
]  # fmt: skip


def rows() -> dict[str, str]:
    """The options of each plugin, from the page's table."""
    found = {}
    for names, options in re.findall(r"^\| ([a-z, -]+) \| (.*) \|$", PAGE, re.M):
        found.update(dict.fromkeys(names.split(", "), options))
    return found


def option(kind: str) -> str:
    """The option for a kind of link, as messages name it."""
    (found,) = re.findall(r"CONFIG_(\w+)", missing(kind))
    return str(found)


def test_the_page_has_every_plugin_and_every_option_of_the_messages() -> None:
    assert set(PLUGINS) == set(rows()) - {"plugin"}
    named = {option(kind) for _, kind in LINKS}
    for room in ("common", "plugins"):
        for source in (ROOT / room).rglob("*.py"):
            named.update(re.findall(r"CONFIG_([A-Z]\w+)", source.read_text()))
    listed = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", PAGE))
    assert named <= listed


def conf(subject: Subject, node: Node) -> Object:
    """A configuration that works, where the kernel has everything."""
    entry = subject.usual(node.data_dir).plugins[-1]
    entry = {key: "uplink" if value == "DEVICE" else value for key, value in entry.items()}
    return {"cniVersion": "1.1.0", "name": "net1", **entry}


@pytest.mark.real
@pytest.mark.parametrize(("type", "kind"), LINKS)
def test_status_names_the_option_of_a_kind_of_link(
    node: Node, monkeypatch: pytest.MonkeyPatch, type: str, kind: str
) -> None:
    monkeypatch.setattr(Rtnl, "makes", lambda self, asked: asked != kind)
    with node.inside():
        error = serve(plugin(type), "STATUS", conf(of(type), node), path=DIST).error
    assert error["code"] == 50
    assert f"CONFIG_{option(kind)}" in error["details"]
    assert f"`{option(kind)}`" in rows()[type]


@pytest.mark.real
def test_a_kernel_that_lacks_them(node: Node) -> None:
    """Here those that this kernel lacks, which the guest has: STATUS says so, and ADD leaves nothing."""
    missing_here = [subject for subject in SUBJECTS if lacking(subject.kind)]
    if not missing_here:
        pytest.skip("this kernel has all kinds of links")
    for subject in missing_here:
        before, pod = snapshot(node), node.pod()
        keys = conf(subject, node)
        with node.inside():
            error = serve(plugin(subject.type), "STATUS", keys, path=DIST).error
            assert error["code"] == 50 and f"CONFIG_{option(subject.kind)}" in error["details"]
            pod.ip("link add eth0 type veth peer name other")
            below = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": pod.path}], "ips": []}
            ifname = "eth0" if subject.on_an_interface else "net1"
            call = {"container": pod.container, "netns": pod.path, "ifname": ifname, "path": DIST}
            outcome = serve(plugin(subject.type), "ADD", {**keys, "prevResult": below}, **call)
        assert f"CONFIG_{option(subject.kind)}" in outcome.error["details"], outcome.stdout
        assert set(pod.links()) == {"lo", "eth0", "other"} and snapshot(node) == before
