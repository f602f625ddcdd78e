"""firewall beside a real firewalld, on a bus of the test's own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cni import plan
from node.filtered import Filtered, address, attached
from node.firewalld import Firewalld
from node.plugin import DIST, GO
from node.topology import Node
from node.traffic import reaches

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not shutil.which("firewalld"), reason="firewalld is not installed"),
]

SHORT = 0.4


@pytest.fixture
def firewalld(node: Node, tmp_path: Path) -> Iterator[Firewalld]:
    """One that runs in the node's namespace."""
    folder = tmp_path / "firewalld"
    folder.mkdir()
    found = Firewalld(node, folder)
    try:
        yield found
    finally:
        found.close()


def sources(*pods: Filtered) -> set[str]:
    """What firewalld's zone has for pods."""
    return {f"{address(pod, version)}/{length}" for pod in pods for version, length in ((4, 32), (6, 128))}


def test_a_zone_has_the_addresses(node: Node, firewalld: Firewalld) -> None:
    """By default and by its key; twice; another zone, also after the key changed; CHECK looks (Go's cannot fail)."""
    chosen, asked = attached(node, env=firewalld.env), attached(node, env=firewalld.env, backend="firewalld")
    zoned = attached(node, env=firewalld.env, firewalldZone="internal")
    assert chosen.firewall("ADD").ok
    assert firewalld.sources() == sources(chosen, asked)
    assert firewalld.sources("internal") == sources(zoned)
    assert "CNI" not in node.run("iptables-save") and "pycni" not in node.run("nft", "list", "tables")
    for pod in (chosen, asked, zoned):
        assert pod.firewall("CHECK").ok
    firewalld("--zone=trusted", f"--remove-source={address(asked, 4)}/32")
    failed = asked.firewall("CHECK").error["msg"]
    assert failed == f"failed to find the address {address(asked, 4)}/32 in trusted zone"
    refused = chosen.firewall("ADD", firewalldZone="nowhere").error
    assert "to nowhere zone: INVALID_ZONE" in refused["msg"]
    # corner 35: without the result, and with another zone in the configuration by now
    assert zoned.firewall("DEL", firewalldZone="trusted", prevResult=None).ok
    for pod in (chosen, asked):
        pod.remove_all()
        assert pod.firewall("DEL").ok
    assert firewalld.sources() == firewalld.sources("internal") == set()


def test_a_source_of_another_zone(node: Node, firewalld: Firewalld) -> None:
    """Corner 35: ADD fails with firewalld's text and the remedy, is undone, and leaves the other zone's source."""
    pod = attached(node, env=firewalld.env)
    pod.remove_all()
    source = f"{address(pod, 6)}/128"
    firewalld("--zone=internal", f"--add-source={source}")
    told = pod.firewall("ADD").error
    assert "ZONE_CONFLICT" in told["msg"] and "--get-zone-of-source" in told["details"]
    assert firewalld.sources() == set() and firewalld.sources("internal") == {source}


def test_gos_pods_are_checked_and_removed(node: Node, firewalld: Firewalld) -> None:
    """In both directions; DEL finds Go's sources by the namespace alone, in whatever zone."""
    if not Path(GO, "firewall").is_file():
        pytest.skip("containernetworking-plugins is not installed")
    of_go = [attached(node, env=firewalld.env, binaries=GO, firewalldZone=zone) for zone in ("trusted", "internal")]
    assert of_go[0].firewall("CHECK", DIST).ok
    assert of_go[0].firewall("DEL", DIST).ok
    assert of_go[1].firewall("DEL", DIST, prevResult=None, firewalldZone=None).ok
    assert firewalld.sources() == firewalld.sources("internal") == set()
    ours = attached(node, env=firewalld.env)
    assert ours.firewall("CHECK", GO).ok and ours.firewall("DEL", GO).ok
    assert firewalld.sources() == set()


@pytest.mark.parametrize("backend", ["", "iptables", "nftables"])
def test_what_a_reload_took_is_found_and_made_again(node: Node, firewalld: Firewalld, backend: str) -> None:
    """Facts 1 and 2 of hosts: a reload empties the zone and iptables; CHECK says so, ``ensure`` puts it back.

    firewalld 2 leaves iptables alone, unless it was given rules of its own there.
    """
    lasts = backend == "nftables" or (backend == "iptables" and int(firewalld("--version").partition(".")[0]) > 1)
    pod = attached(node, env=firewalld.env, backend=backend, ingressPolicy="same-bridge")
    outside = attached(node, "br1", env=firewalld.env, backend=backend, ingressPolicy="same-bridge")
    firewalld("--reload")
    checked = pod.firewall("CHECK")
    assert checked.ok == lasts, checked.stdout
    with node.inside(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBUS_SYSTEM_BUS_ADDRESS", firewalld.env["DBUS_SYSTEM_BUS_ADDRESS"])
        for each in (pod, outside):
            repaired, stay = plan.ensure(each.plan())
            assert (bool(repaired), stay) == (not lasts, [])
    assert pod.firewall("CHECK").ok
    assert not reaches(pod.pod, outside.pod, address(outside, 4), SHORT)
    if not backend:
        # the policy is iptables', as Go's
        assert "CNI-ISOLATION-STAGE-1" in node.run("iptables", "-S")
        assert reaches(pod.pod, node.outside, node.OUTSIDE)
    told = pod.firewall("STATUS", cniVersion="1.1.0").stderr
    assert ("backend: firewalld" in told) == bool(backend)
    for each in (pod, outside):
        each.remove_all()
    assert "CNI" not in node.run("iptables-save") and firewalld.sources() == set()


def test_a_pod_outlives_firewalld(node: Node, firewalld: Firewalld) -> None:
    """It ends, and another backend is chosen: CHECK says what is missing, DEL has nothing to do; STATUS names it."""
    pod = attached(node, env=firewalld.env)
    assert pod.firewall("STATUS", cniVersion="1.1.0", backend="firewalld").ok
    firewalld.stop()
    assert not pod.firewall("CHECK").ok
    told = pod.firewall("STATUS", cniVersion="1.1.0", backend="firewalld").error
    assert told["code"] == 50 and "firewalld does not run" in told["msg"]
    assert pod.firewall("ADD", backend="firewalld").error["code"] == 999
    assert pod.firewall("ADD").ok and pod.firewall("CHECK").ok
    assert "CNI-FORWARD" in node.run("iptables-save")
    pod.remove_all()
    assert "CNI" not in node.run("iptables-save")
